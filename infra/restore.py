"""`raak restore`: databases, keys and secrets as they were when a backup was made.

Each database is filled in one transaction, and none is committed before all are full. In the same
transaction its service begins an epoch and requests a resync, so that nobody takes what is new for
old, and services agree again as soon as they run.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path

from infra import embedded
from infra.backup import KEY_FILES, OWN_FOLDERS, TABLES, VERSION_TABLE
from infra.backup_folder import (
    BackupFailed,
    BackupManifest,
    DatabaseManifest,
    read_chunks,
    secrets_of,
    sync_folder,
    table_file,
)
from infra.databases import ProcessDatabase, databases_from_urls, grant_runtime_rights
from infra.instance import EmbeddedInstance
from infra.processes import PROCESS_SETTINGS, SERVICES
from infra.provisioning import provision
from services.chassis import epochs, resync
from services.chassis.database import Connection, translate_outages
from services.chassis.database_address import DatabaseAddress, quote_name
from services.chassis.errors import RaakError
from services.chassis.migrations import (
    Migration,
    connect,
    create_database,
    explain_refusals,
    is_known,
    open_migration,
)

NEW, BEFORE = "postgres.new", "before-{:%Y%m%dT%H%M%S}"

LOOKS, LOOK_EVERY_S = 10, 0.2
"""A connection that was closed a moment ago is not one of a running Raak."""

_OTHERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'raak' AND pid <> pg_backend_pid()
"""


class RestoreRefused(RaakError, code="RESTORE_REFUSED", status=409):
    """A backup is not restored over this."""


class RestoreIncomplete(RaakError, code="RESTORE_INCOMPLETE"):
    """A restore was cut off between the databases."""


def read_backup(folder: Path) -> BackupManifest:
    """The manifest of a backup that this release can restore.

    Raises BackupFailed for a damaged or partial one, RestoreRefused for one of a later release.
    """
    manifest = BackupManifest.read(folder)
    for process in PROCESS_SETTINGS:
        if process not in manifest.databases:
            raise BackupFailed(
                f"The backup has no database of {process}.", hint="Take another backup."
            )
        _check_revision(process, manifest.databases[process].revision, "The backup")
    return manifest


def _check_revision(process: str, revision: str, what: str) -> None:
    if not is_known(process, revision):
        raise RestoreRefused(
            f"{what} is of a later release: it has the revision {revision!r} of {process}.",
            hint="Install the release that has written it, or a later one.",
        )


# Databases


async def restore_databases(
    databases: Sequence[ProcessDatabase],
    folder: Path,
    manifest: BackupManifest,
    now: datetime,
    *,
    can_replace: bool = False,
) -> None:
    """Make databases what they were; those that hold data only if these may be replaced.

    Raises RestoreRefused, with nothing changed, if Raak runs on one of them.
    """
    restored: list[str] = []
    with translate_outages():
        for database in databases:
            await create_database(database.owner)
        try:
            async with AsyncExitStack() as stack:
                for database in databases:
                    migration = await stack.enter_async_context(_transact(database, restored))
                    await _check_target(migration, can_replace=can_replace)
                    await _fill(migration, folder, manifest.databases[database.process], now)
        except BaseException as error:
            if restored:
                raise RestoreIncomplete(
                    f"Only {', '.join(restored)} could be restored ({type(error).__name__}).",
                    hint="Do not start Raak; run `raak restore --replace` again.",
                ) from error
            raise
        for database in databases:
            await _finish(database)


@asynccontextmanager
async def _transact(database: ProcessDatabase, restored: list[str]) -> AsyncIterator[Migration]:
    """A transaction as who owns the tables; notes the process when it has committed."""
    with explain_refusals(database.owner):
        async with open_migration(database.process, database.owner) as migration:
            yield migration
        restored.append(database.process)


async def _check_target(migration: Migration, *, can_replace: bool) -> None:
    """Raise RestoreRefused if a database is in use, of a later release, or holds data."""
    process, connection = migration.process, migration.connection
    for _ in range(LOOKS):
        if not (others := await connection.fetchval(_OTHERS)):
            break
        await asyncio.sleep(LOOK_EVERY_S)
    else:
        raise RestoreRefused(
            f"Raak works on the database of {process} ({others} connections).",
            hint="Stop the services and the gateway first.",
        )
    tables = await _list_tables(connection)
    if VERSION_TABLE in tables:
        revision = await connection.fetchval(f"SELECT version_num FROM {VERSION_TABLE}")
        if revision is not None:
            _check_revision(process, revision, "The database")
    for table in tables:
        is_filled = f"SELECT EXISTS (SELECT FROM {quote_name(table)})"
        if table != VERSION_TABLE and not can_replace and await connection.fetchval(is_filled):
            raise RestoreRefused(
                f"The database of {process} holds data already (in {table!r}).",
                hint="Take a backup of it, and say --replace to have it replaced.",
            )


async def _fill(
    migration: Migration, folder: Path, manifest: DatabaseManifest, now: datetime
) -> None:
    """Make the tables as they were, fill them, and bring them to this release's revision."""
    process, connection = migration.process, migration.connection
    await connection.execute("SET LOCAL lock_timeout = '5s'")
    for table in await _list_tables(connection):
        await connection.execute(f"DROP TABLE {quote_name(table)} CASCADE")
    await migration.upgrade(manifest.revision)
    for table, columns in manifest.tables.items():
        status = await connection.copy_to_table(
            table,
            columns=columns,
            source=read_chunks(folder / table_file(process, table)),
            schema_name="public",
        )
        assert status == f"COPY {manifest.rows[table]}", f"{process}.{table}: {status}"
    for sequence, value in manifest.sequences.items():
        if value:
            await connection.execute(
                "SELECT setval(format('public.%I', $1::text)::regclass, $2)", sequence, value
            )
    await migration.upgrade()
    if process in SERVICES:
        await epochs.begin(connection)
        await resync.request_resync(connection, now, afresh=True)


async def _list_tables(connection: Connection) -> list[str]:
    return [row["name"] for row in await connection.fetch(TABLES)]


async def _finish(database: ProcessDatabase) -> None:
    """Give its process its rights, and PostgreSQL the statistics it plans by."""
    if database.has_owner_apart:
        await grant_runtime_rights(database)
    connection = await connect(database.owner)
    await connection.execute("ANALYZE")
    await connection.close()


def list_differences(folder: Path) -> Iterator[str]:
    """What of the environment's secrets and keys is not as it was, and what comes of it."""
    secrets = secrets_of(folder)
    for process, kind in PROCESS_SETTINGS.items():
        settings = kind()
        for name in kind.model_fields:
            before, now = secrets.get(f"{process}-{name}"), getattr(settings, name)
            text = now if isinstance(now, str) else ",".join(now) if isinstance(now, tuple) else ""
            if before is not None and text != before:
                variable = kind.variables(name)[0]
                yield f"{variable} is not what it was: it is in {folder}/secrets/{process}-{name}."
    gateway = PROCESS_SETTINGS["gateway"]().model_dump()
    for name, file in KEY_FILES.items():
        before_file, now_file = folder / "keys" / file, gateway.get(name)
        if before_file.is_file() and (now_file is None or not _has_content(now_file, before_file)):
            variable = PROCESS_SETTINGS["gateway"].variables(name)[0]
            yield f"{variable} is not the key it was: that is in {before_file}."


def _has_content(file: Path, other: Path) -> bool:
    return file.is_file() and file.read_bytes() == other.read_bytes()


# An embedded instance


def restore_instance(instance: EmbeddedInstance, folder: Path, now: datetime) -> Path | None:
    """Restore a folder's instance from a backup; gives where the old data are put.

    Raises RestoreRefused if it is running, and BackupFailed for a bad backup, with nothing changed.
    """
    if instance.is_running() or not embedded.port_is_free(instance.ports["postgres"]):
        raise RestoreRefused(
            f"Raak is running in {str(instance.folder)!r}.",
            hint="Stop it first, so that nothing writes to the data that are put aside.",
        )
    manifest = read_backup(folder)
    instance.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=instance.folder, prefix=".restoring-") as name:
        staged, new = EmbeddedInstance(Path(name), instance.port), instance.folder / NEW
        for part in OWN_FOLDERS:
            if (folder / part).is_dir():
                shutil.copytree(folder / part, staged.folder / part)
        with _remove_on_failure(new):
            _fill_new_server(staged, new, folder, manifest, now)
        aside = _put_aside(instance.folder, now)
        for part in OWN_FOLDERS:
            if (staged.folder / part).exists():
                (staged.folder / part).rename(instance.folder / part)
        new.rename(instance.folder / "postgres")
        sync_folder(instance.folder)
    return aside


def _fill_new_server(
    staged: EmbeddedInstance, new: Path, folder: Path, manifest: BackupManifest, now: datetime
) -> None:
    databases = databases_from_urls(staged.database_urls)

    async def fill() -> None:
        await provision(DatabaseAddress.parse(staged.postgres_url), databases)
        await restore_databases(databases, folder, manifest, now)

    with embedded.postgres(new, staged.ports["postgres"], staged.secret("postgres")):
        asyncio.run(fill())
    os.sync()  # initdb leaves that to us


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


def _put_aside(folder: Path, now: datetime) -> Path | None:
    """PostgreSQL's data go first: from then on `check_complete` knows that a restore has begun."""
    aside = folder / BEFORE.format(now)
    for part in ("postgres", "nats", *OWN_FOLDERS):
        if (folder / part).exists():
            aside.mkdir(mode=0o700, exist_ok=True)
            (folder / part).rename(aside / part)
    return aside if aside.exists() else None
