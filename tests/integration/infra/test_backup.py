"""A backup of all databases as of one moment, and what is restored from it."""

import asyncio
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest
from typer.testing import CliRunner, Result

from infra import backup as backups
from infra import embedded
from infra import restore as restores
from infra.backup_folder import MANIFEST, BackupFailed, BackupManifest, write_backup
from infra.cli import app
from infra.databases import ProcessDatabase, databases_from_urls
from infra.instance import LISTENERS, EmbeddedInstance, make_keys
from infra.processes import PROCESSES, SERVICES
from infra.restore import RestoreRefused
from infra.standalone import migrate_all
from services.chassis.database import open_database
from services.chassis.database_address import DatabaseAddress
from services.chassis.migrations import connect
from tests.conftest import HASTY
from tests.stack import free_ports
from tests.waiting import until

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
MANY = 20_000
STEP = "INSERT INTO inbox (consumer, event_id) VALUES ($1, gen_random_uuid())"
FILL = """
INSERT INTO inbox (consumer, event_id)
SELECT 'many', gen_random_uuid() FROM generate_series(1, $1)
"""
ODD = "a tab\t, a line\n, a backslash \\N and half of a smile \U0001f600"


def new_instance(folder: Path) -> EmbeddedInstance:
    """One with keys and secrets, which are made at their first use."""
    instance = EmbeddedInstance(folder / "raak", free_ports(len(LISTENERS)))
    assert all(key.is_file() for key in instance.keys)
    assert instance.database_urls
    assert instance.secret("key-secret")
    return instance


@contextmanager
def serving(instance: EmbeddedInstance) -> Iterator[list[ProcessDatabase]]:
    """Its PostgreSQL with its databases, for a block."""
    folder, port = instance.folder / "postgres", instance.ports["postgres"]
    with embedded.postgres(folder, port, instance.secret("postgres"), HASTY):
        databases = databases_from_urls(instance.database_urls)
        asyncio.run(migrate_all(databases, DatabaseAddress.parse(instance.postgres_url)))
        note = {"port": instance.port, "pid": os.getpid(), "started": 0}  # who ran it has ended
        (instance.folder / "instance.json").write_text(json.dumps(note))
        yield databases


async def execute(databases: list[ProcessDatabase], statement: str, *values: Any) -> None:
    """Do the same in the database of every service, one after the other."""
    for one in databases:
        if one.process in SERVICES:
            connection = await connect(one.owner)
            await connection.execute(statement, *values)
            await connection.close()


async def sum_tables(databases: list[ProcessDatabase]) -> dict[str, str]:
    """What is in each table, but for what a restore adds."""
    sums = {}
    for one in databases:
        connection = await connect(one.owner)
        for row in await connection.fetch(backups.TABLES):
            if row["name"] not in ("epoch", "resync"):
                query = f"SELECT t::text FROM {row['name']} AS t ORDER BY 1"
                rows = [line[0] for line in await connection.fetch(query)]
                sums[f"{one.process}.{row['name']}"] = sha256("\n".join(rows).encode()).hexdigest()
        await connection.close()
    return sums


async def column(databases: list[ProcessDatabase], query: str) -> list[list[Any]]:
    """The values of a query's column, in the database of every service."""
    found = []
    for one in databases:
        if one.process in SERVICES:
            connection = await connect(one.owner)
            found.append([row[0] for row in await connection.fetch(query)])
            await connection.close()
    return found


Whole = tuple[EmbeddedInstance, Path, dict[str, str]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """An instance that was used before and after a backup, the backup, and sums as of then."""
    base = tmp_path_factory.mktemp("kept")
    instance, folder = new_instance(base), base / "backups" / "monday"
    (instance.folder / "nats").mkdir(parents=True)
    with serving(instance) as databases:
        asyncio.run(execute(databases, STEP, ODD))
        asyncio.run(execute(databases, FILL, MANY))
        asyncio.run(execute(databases, "SELECT setval('outbox_id_seq', 4711)"))
        sums = asyncio.run(sum_tables(databases))
        backups.backup(instance.folder, folder, NOW)
        asyncio.run(execute(databases, STEP, "after"))
    return instance, folder, sums


def test_a_backup_is_for_its_owner_only_and_says_what_it_has(whole: Whole) -> None:
    _, folder, _ = whole

    manifest = json.loads((folder / MANIFEST).read_text())

    assert manifest["databases"].keys() == set(PROCESSES)
    assert manifest["databases"]["profile"]["rows"]["inbox"] == MANY + 1
    assert manifest["databases"]["profile"]["sequences"]["outbox_id_seq"] == 4711
    assert manifest["postgres"].startswith("18.")
    assert list(folder.parent.iterdir()) == [folder]
    for path in (folder, *folder.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)


def test_what_was_lost_is_restored_to_the_sum_in_a_new_epoch_with_a_resync(
    whole: Whole, tmp_path: Path
) -> None:
    """On another machine, so to say."""
    instance, folder, sums = whole
    other = EmbeddedInstance(tmp_path / "other", free_ports(len(LISTENERS)))

    aside = restores.restore_instance(other, folder, NOW)

    assert aside is None
    assert other.secret("key-secret") == instance.secret("key-secret")
    assert other.keys[0].read_text() == instance.keys[0].read_text()
    with serving(other) as databases:
        assert asyncio.run(sum_tables(databases)) == sums
        assert asyncio.run(column(databases, "SELECT nextval('outbox_id_seq')")) == [[4712]] * 4
        assert asyncio.run(column(databases, "SELECT number FROM epoch")) == [[1]] * 4
        unfinished = "SELECT since FROM resync WHERE finished_at IS NULL"
        assert asyncio.run(column(databases, unfinished)) == [[NOW]] * 4


def test_what_was_there_is_put_aside(whole: Whole, tmp_path: Path) -> None:
    _, folder, sums = whole
    other = new_instance(tmp_path)
    with serving(other) as databases:
        asyncio.run(execute(databases, STEP, "precious"))

    aside = restores.restore_instance(other, folder, NOW)

    assert aside is not None
    assert sorted(path.name for path in aside.iterdir()) == ["keys", "postgres", "secrets"]
    with serving(other) as databases:
        assert asyncio.run(sum_tables(databases)) == sums


def damage(folder: Path, name: str, change: Any) -> Path:
    path = folder / name
    content = path.read_bytes()
    path.unlink()
    if change is not None:
        path.write_bytes(change(content))
    return folder


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("profile/inbox.copy", lambda data: data[:-9] + b"x" + data[-8:], "damaged at 'profile/in"),
        ("profile/inbox.copy", lambda data: data[:-9], "damaged at 'profile/inbox.copy'"),
        ("gateway/api_key.copy", None, "damaged at 'gateway/api_key.copy'"),
        ("secrets/key-secret", lambda data: data[::-1], "damaged at 'secrets/key-secret'"),
        (MANIFEST, None, "no whole backup"),
        (MANIFEST, lambda data: data[: len(data) // 2], "no whole backup"),
        (MANIFEST, lambda data: data.replace(b'"format": 1', b'"format": 2'), "has the format 2"),
        (MANIFEST, lambda data: data.replace(b'"journey": {', b'"j": {', 1), "database of journey"),
        (
            MANIFEST,
            lambda data: data.replace(b'"revision": "0', b'"revision": "9'),
            "later release",
        ),
    ],
)
def test_a_damaged_or_partial_backup_or_one_of_a_later_release_changes_nothing(
    whole: Whole, tmp_path: Path, name: str, change: Any, said: str
) -> None:
    instance = whole[0]
    copy = tmp_path / "backup"
    shutil.copytree(whole[1], copy)
    before = sorted(instance.folder.iterdir())

    with pytest.raises((BackupFailed, RestoreRefused), match=said):
        restores.restore_instance(instance, damage(copy, name, change), NOW)

    assert sorted(instance.folder.iterdir()) == before


@pytest.mark.parametrize("step", range(5))
def test_a_restore_cut_off_at_any_step_leaves_what_was_there_or_is_told_of(
    whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """At the renaming of any of what is put aside and put in its place."""
    instance = new_instance(tmp_path)
    for part in ("postgres", "nats"):
        (instance.folder / part).mkdir()
    old = instance.secret("postgres")
    steps, rename = iter(range(step)), Path.rename

    def rename_until_cut_off(path: Path, target: Path) -> Path:
        if path.parent.name != "raak" and not path.parent.name.startswith(".restoring"):
            return rename(path, target)
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(restores, "_fill_new_server", lambda _, new, *__: new.mkdir())
    monkeypatch.setattr(Path, "rename", rename_until_cut_off)
    with pytest.raises(KeyboardInterrupt):
        restores.restore_instance(instance, whole[1], NOW)

    if (instance.folder / "postgres").exists():
        assert instance.secret("postgres") == old
    else:
        with pytest.raises(RestoreRefused, match="did not end"):
            restores.check_complete(instance.folder)


def test_nothing_is_restored_over_a_running_instance(whole: Whole, tmp_path: Path) -> None:
    instance = new_instance(tmp_path)
    instance.write_note(psutil.Process())

    with pytest.raises(RestoreRefused, match="is running"):
        restores.restore_instance(instance, whole[1], NOW)


def test_a_backup_is_not_written_over_another_and_one_that_fails_leaves_nothing(
    whole: Whole, tmp_path: Path
) -> None:
    instance, folder, _ = whole

    with pytest.raises(BackupFailed, match="there already"):
        backups.backup(instance.folder, folder, NOW)
    with pytest.raises(BackupFailed, match="does not run"):
        backups.backup(instance.folder, tmp_path / "tuesday", NOW)

    assert list(tmp_path.iterdir()) == []


# A server that the environment names


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ProcessDatabase]]:
    with serving(new_instance(tmp_path_factory.mktemp("server"))) as databases:
        yield databases


@pytest.fixture
def served(
    server: list[ProcessDatabase], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[ProcessDatabase]:
    """Databases of a server that the environment names, with a row in each."""
    for one in server:
        monkeypatch.setenv(one.owner.variable, one.owner.url)
    monkeypatch.setenv("RAAK_GATEWAY_KEY_SECRET", "k" * 32)
    keys = make_keys(tmp_path / "keys")
    monkeypatch.setenv("RAAK_GATEWAY_SIGNING_KEY_FILE", str(keys.signing))
    monkeypatch.setenv("RAAK_GATEWAY_TOKEN_SIGNING_KEY_FILE", str(keys.tokens))
    asyncio.run(execute(server, "DELETE FROM inbox"))
    asyncio.run(execute(server, STEP, "before"))
    return server


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_databases_of_the_environment_are_backed_up_and_replaced_when_that_is_said(
    served: list[ProcessDatabase], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sums = asyncio.run(sum_tables(served))
    folder = str(tmp_path / "monday")
    saved = run("backup", folder)
    asyncio.run(execute(served, STEP, "after"))
    monkeypatch.setenv("RAAK_GATEWAY_KEY_SECRET", "o" * 32)

    refused, restored = run("restore", folder), run("restore", folder, "--replace")

    assert (saved.exit_code, restored.exit_code) == (0, 0), (saved, restored)
    assert isinstance(refused.exception, RestoreRefused)
    assert "--replace" in refused.exception.hint
    assert "RAAK_GATEWAY_KEY_SECRET is not what it was" in restored.output
    assert "signs tokens" not in restored.output
    assert asyncio.run(sum_tables(served)) == sums
    assert asyncio.run(column(served, "SELECT count(*) FROM resync")) == [[1]] * 4


def test_a_restore_that_fails_in_the_last_database_changes_none(
    served: list[ProcessDatabase], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("backup", str(tmp_path / "monday"))
    asyncio.run(execute(served, STEP, "after"))
    sums = asyncio.run(sum_tables(served))
    file = tmp_path / "monday" / "gateway" / "change.copy"
    file.write_text("no\trow\tof\tthis\ttable\n")
    monkeypatch.setattr(BackupManifest, "_check_files", lambda *_: None)

    failed = run("restore", str(tmp_path / "monday"), "--replace")

    assert isinstance(failed.exception, asyncpg.PostgresError)
    assert asyncio.run(sum_tables(served)) == sums


async def test_databases_in_use_are_not_replaced(
    served: list[ProcessDatabase], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(run, "backup", str(tmp_path / "monday"))
    monkeypatch.setattr(restores, "LOOKS", 1)

    async with open_database(served[2].runtime.url):
        refused = await asyncio.to_thread(run, "restore", str(tmp_path / "monday"), "--replace")

    assert isinstance(refused.exception, RestoreRefused)
    assert "journey (" in refused.exception.problem


def test_a_database_of_a_later_release_is_not_replaced(
    served: list[ProcessDatabase], tmp_path: Path
) -> None:
    run("backup", str(tmp_path / "monday"))
    asyncio.run(execute(served, "UPDATE alembic_version SET version_num = '9' || version_num"))

    refused = run("restore", str(tmp_path / "monday"), "--replace")

    asyncio.run(execute(served, "UPDATE alembic_version SET version_num = substr(version_num, 2)"))
    assert isinstance(refused.exception, RestoreRefused)
    assert "later release" in refused.exception.problem


async def test_all_databases_are_of_one_moment_while_somebody_writes(
    served: list[ProcessDatabase], tmp_path: Path
) -> None:
    """One who writes to one database after the other, as an event on its way does."""
    writers = [await connect(one.runtime) for one in served if one.process in SERVICES]
    written = 0

    async def write() -> None:
        nonlocal written
        while True:
            for writer in writers:
                await writer.execute(STEP, "moment")
            written += 1

    writing = asyncio.create_task(write())
    await until(lambda: written > 20)
    with write_backup(tmp_path / "monday") as folder:
        await backups.write_databases(served, folder, NOW)
    at_the_end = written
    await until(lambda: written > at_the_end)  # nobody is held up for longer
    writing.cancel()
    await asyncio.wait([writing])
    for writer in writers:
        await writer.close()

    found = BackupManifest.read(tmp_path / "monday").databases
    rows = [found[process].rows["inbox"] for process in SERVICES]
    assert rows == sorted(rows, reverse=True)
    assert rows[0] - rows[-1] <= 1 < rows[0]


async def test_a_table_that_is_never_free_ends_the_backup_and_leaves_nothing(
    served: list[ProcessDatabase], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "PATIENCES_MS", (20, 20))
    monkeypatch.setattr(backups, "PAUSE_S", 0)

    async with open_database(served[0].runtime.url) as database, database.transaction() as held:
        await held.execute(STEP, "for long")
        refused = await asyncio.to_thread(run, "backup", str(tmp_path / "monday"))

    assert isinstance(refused.exception, BackupFailed)
    assert "for too long" in refused.exception.problem
    assert await asyncio.to_thread(lambda: list(tmp_path.glob("*monday*"))) == []
