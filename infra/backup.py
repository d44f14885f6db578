"""Backups of an embedded instance: all its databases at one moment, with its keys and secrets.

What is on its way between services is in their databases, so NATS needs no backup: a restored
instance begins with an empty one, and events that were not delivered are sent again.
"""

import asyncio
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from hashlib import file_digest
from pathlib import Path

from infra import embedded
from infra.instance import EmbeddedInstance
from infra.processes import SERVICES
from services.chassis import epochs, resync
from services.chassis.database import open_database
from services.chassis.errors import RaakError
from services.chassis.migrations import migrate

OWN_FOLDERS = ("keys", "secrets")
NEW, BEFORE = "postgres.new", "before-{:%Y%m%dT%H%M%S}"
DATA = ("base.tar", "pg_wal.tar", "backup_manifest")


class BackupFailed(RaakError, code="BACKUP_FAILED"):
    """A backup could not be written, or not be read."""


class RestoreRefused(RaakError, code="RESTORE_REFUSED", status=409):
    """A backup is not restored over this."""


def backup(instance: EmbeddedInstance, file: Path) -> None:
    """Write a backup of a running instance to a file that only its owner can read.

    Raises BackupFailed, and leaves no file.
    """
    if file.exists():
        raise BackupFailed(f"{str(file)!r} is there already.", hint="Name another file.")
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=f".{file.name}-") as name:
        folder = Path(name)
        _run(
            "pg_basebackup",
            f"--pgdata={folder / 'data'}",
            "--format=tar",
            "--wal-method=stream",
            "--checkpoint=fast",
            "--manifest-checksums=SHA256",
            "--host=127.0.0.1",
            f"--port={instance.ports['postgres']}",
            "--username=raak",
            "--no-password",
            environment={"PGPASSWORD": instance.secret("postgres")},
        )
        draft = folder / "whole.tar"
        draft.touch(mode=0o600)
        with tarfile.open(draft, "w") as whole:
            for part in DATA:
                whole.add(folder / "data" / part, part)
            for part in OWN_FOLDERS:
                if (instance.folder / part).exists():
                    whole.add(instance.folder / part, part)
        draft.rename(file)


def restore(instance: EmbeddedInstance, file: Path, now: datetime) -> Path | None:
    """Restore a folder's instance from a backup, in a new epoch; gives where the old data are put.

    Raises RestoreRefused if it is running, and BackupFailed, with nothing changed, for a bad file.
    """
    if instance.is_running() or not embedded.port_is_free(instance.ports["postgres"]):
        raise RestoreRefused(
            f"Raak is running in {str(instance.folder)!r}.",
            hint="Stop it first, so that nothing writes to the data that are put aside.",
        )
    instance.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=instance.folder, prefix=".restoring-") as name:
        unpacked, new = Path(name), instance.folder / NEW
        _unpack(file, unpacked)
        with _remove_on_failure(new):
            _make_data(unpacked, new)
            password = (unpacked / "secrets" / "postgres").read_text()
            asyncio.run(_begin_epochs(new, instance.ports["postgres"], password, now))
        aside = _put_aside(instance.folder, now)
        for part in OWN_FOLDERS:
            if (unpacked / part).exists():
                (unpacked / part).rename(instance.folder / part)
        new.rename(instance.folder / "postgres")
    return aside


@contextmanager
def _remove_on_failure(folder: Path) -> Iterator[None]:
    """Let a block make a folder anew: the whole of it, or none."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def check_complete(folder: Path) -> None:
    """Raise RestoreRefused if a restore was cut off after it had put the old data aside."""
    if (folder / NEW).exists() and not (folder / "postgres").exists():
        raise RestoreRefused(
            f"A restore into {str(folder)!r} did not end.", hint="Run `raak restore` again."
        )


def _unpack(file: Path, folder: Path) -> None:
    """Unpack what `raak backup` has packed; raises BackupFailed for anything else."""
    try:
        with tarfile.open(file) as tar:
            # what leads out of the folder is refused, where Python (3.11.4 and later) can tell
            tar.extraction_filter = getattr(tarfile, "data_filter", None)
            tar.extractall(folder)  # noqa: S202  # it is the operator's own
    except (OSError, tarfile.TarError) as error:
        raise BackupFailed(
            f"{str(file)!r} cannot be read ({type(error).__name__}).",
            hint="Name a file that `raak backup` has written.",
        ) from error


def _make_data(unpacked: Path, folder: Path) -> None:
    """Make PostgreSQL's data folder, and have it checked."""
    missing = [part for part in (*DATA, "secrets/postgres") if not (unpacked / part).is_file()]
    if missing:
        raise BackupFailed(
            f"The backup has no {missing[0]}.", hint="Name a file that `raak backup` has written."
        )
    _unpack(unpacked / "base.tar", folder)
    _unpack(unpacked / "pg_wal.tar", folder / "pg_wal")
    _check(folder, unpacked / "backup_manifest")
    folder.chmod(0o700)
    if os.geteuid() == 0:
        embedded.give_to_postgres(folder)


def _check(folder: Path, manifest: Path) -> None:
    """Compare files with PostgreSQL's manifest: the wheel's pg_verifybackup crashes."""
    try:
        sent = {one["Path"]: one["Checksum"] for one in json.loads(manifest.read_bytes())["Files"]}
    except (ValueError, LookupError, TypeError) as error:
        raise _damaged(manifest.name) from error
    for name, checksum in sent.items():
        path = folder / name
        if not path.is_file() or _sha256(path) != checksum:
            raise _damaged(name)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _damaged(name: str) -> BackupFailed:
    return BackupFailed(f"The backup is damaged at {name!r}.", hint="Take another backup.")


async def _begin_epochs(folder: Path, port: int, password: str, now: datetime) -> None:
    with embedded.postgres(folder, port, password) as url:
        for service in SERVICES:
            await migrate(service, f"{url}/raak_{service}")
            async with (
                open_database(f"{url}/raak_{service}", connections=2) as database,
                database.transaction() as connection,
            ):
                await epochs.begin(connection)
                await resync.request_resync(connection, now, afresh=True)


def _put_aside(folder: Path, now: datetime) -> Path | None:
    """PostgreSQL's data go first: from then on `check_complete` knows that a restore has begun."""
    aside = folder / BEFORE.format(now)
    for part in ("postgres", "nats", *OWN_FOLDERS):
        if (folder / part).exists():
            aside.mkdir(exist_ok=True)
            (folder / part).rename(aside / part)
    return aside if aside.exists() else None


def _run(program: str, *arguments: str, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        [str(embedded.postgres_programs() / program), *arguments],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BackupFailed(
            f"{program} failed: {done.stderr.strip()[-500:]}",
            hint="Look whether Raak runs, and whether the disk is full.",
        )
