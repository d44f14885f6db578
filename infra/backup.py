"""`raak backup`: all databases as of one moment, with keys and secrets.

The moment: every table of every database is locked against writers, until each database has begun
to be read as it is then. What is on its way between services is in their databases, so NATS needs
no backup: events that were not acknowledged are sent again.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from infra import embedded
from infra.backup_folder import (
    BackupFailed,
    BackupManifest,
    BackupWriter,
    DatabaseManifest,
    table_file,
    write_backup,
)
from infra.databases import ProcessDatabase, databases_from_environment, databases_from_urls
from infra.instance import EmbeddedInstance
from infra.processes import PROCESS_SETTINGS
from services.chassis.database import Connection, is_outage, translate_outages
from services.chassis.database_address import quote_name
from services.chassis.migrations import MIGRATION_LOCK, connect, explain_refusals

OWN_FOLDERS = ("keys", "secrets")
KEY_FILES = {"signing_key_file": "signing.pem", "token_signing_key_file": "tokens.pem"}
"""Private keys by the settings that name their files, and the names they have in a backup."""

ADDRESSES = {
    "database_url", "database_server_url", "migration_database_url", "nats_url", "otlp_endpoint",
}  # fmt: skip
"""Secret settings that say where something is; a backup is restored elsewhere, too."""

PATIENCES_MS = (800, 800, 800, 2500, 2500)
"""How long writers may be held up, attempt by attempt. Waiting less than PostgreSQL's
`deadlock_timeout` of a second costs nobody a transaction; past it, autovacuum gives way."""
PAUSE_S = 1.0

TABLES = """
SELECT relation.relname AS name, array_agg(attname::text ORDER BY attnum) AS columns
FROM pg_class relation JOIN pg_attribute ON attrelid = relation.oid
WHERE relation.relnamespace = 'public'::regnamespace AND relation.relkind = 'r'
    AND attnum > 0 AND NOT attisdropped
GROUP BY relation.relname ORDER BY relation.relname
"""
VERSION_TABLE = "alembic_version"
"""What Alembic alone writes, and a restore does."""
_REVISION = f"SELECT version_num FROM {VERSION_TABLE}"
_SEQUENCES = """
SELECT sequencename, coalesce(last_value, 0) FROM pg_sequences WHERE schemaname = 'public'
"""


class Snapshot(NamedTuple):
    """A database, read as it was at the moment of the backup."""

    process: str
    connection: Connection


def backup(data: Path, folder: Path, now: datetime) -> None:
    """Write a backup of the databases the environment names, else of a running instance.

    Raises BackupFailed, DatabaseRefused or DatabaseUnavailable, and leaves no folder.
    """
    databases = databases_from_environment()
    with write_backup(folder) as writer:
        if databases is None:
            instance = EmbeddedInstance.load(data)
            _check_running(instance)
            databases = databases_from_urls(instance.database_urls)
            for part in OWN_FOLDERS:
                writer.copy_folder(instance.folder / part, part)
        else:
            _write_settings(writer)
        asyncio.run(write_databases(databases, writer, now))


def _check_running(instance: EmbeddedInstance) -> None:
    if embedded.port_is_free(instance.ports["postgres"]):
        raise BackupFailed(
            f"Raak does not run in {str(instance.folder)!r}.", hint="Start it with `raak up`."
        )


def _write_settings(writer: BackupWriter) -> None:
    """Write the secrets and keys that the environment names."""
    for process, kind in PROCESS_SETTINGS.items():
        settings = kind()
        for name, field in kind.model_fields.items():
            value = getattr(settings, name)
            if value and not field.repr and name not in ADDRESSES:
                text = value if isinstance(value, str) else ",".join(value)
                writer.write(f"secrets/{process}-{name}", text.encode())
            elif name in KEY_FILES and value is not None and value.is_file():
                writer.write(f"keys/{KEY_FILES[name]}", value.read_bytes())


async def write_databases(
    databases: Sequence[ProcessDatabase], writer: BackupWriter, now: datetime
) -> None:
    with translate_outages():
        async with open_snapshots(databases) as snapshots:
            found = {one.process: await _write_database(one, writer) for one in snapshots}
            postgres = snapshots[0].connection.get_server_version()
    manifest = BackupManifest(
        release=version("raak"),
        made_at=now.isoformat(),
        postgres=f"{postgres.major}.{postgres.minor}",
        databases=found,
        files=dict(writer.files),
    )
    writer.write_manifest(manifest)


@asynccontextmanager
async def open_snapshots(databases: Sequence[ProcessDatabase]) -> AsyncIterator[list[Snapshot]]:
    """All databases as of one moment, for as long as the block reads them.

    Raises BackupFailed if a statement or a migration holds a table for too long.
    """
    async with AsyncExitStack() as stack:
        readers: list[Connection] = []
        lockers: list[Connection] = []
        for database in databases:
            for connections in (readers, lockers):
                connections.append(await connect(database.owner))
                stack.push_async_callback(connections[-1].close)
        for patience_ms in PATIENCES_MS:
            if await _begin_snapshots(databases, readers, lockers, patience_ms):
                break
            await asyncio.sleep(PAUSE_S)
        else:
            raise BackupFailed(
                "Some statement, migration or vacuum holds a table for too long.",
                hint="Try again when it is over; pg_stat_activity shows it.",
            )
        processes = (database.process for database in databases)
        yield [Snapshot(*one) for one in zip(processes, readers, strict=True)]


async def _begin_snapshots(
    databases: Sequence[ProcessDatabase],
    readers: Sequence[Connection],
    lockers: Sequence[Connection],
    patience_ms: int,
) -> bool:
    """Begin to read all databases while nobody writes; False if a lock is not to be had."""
    async with AsyncExitStack() as transactions:
        for locker in lockers:
            await transactions.enter_async_context(locker.transaction())
        outcomes = await asyncio.gather(
            *(_lock(*one, patience_ms) for one in zip(databases, lockers, strict=True)),
            return_exceptions=True,
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not is_outage(outcome):
                raise outcome
        if any(outcomes):
            return False
        for reader in readers:
            await reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            await reader.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            await reader.fetchval("SELECT 1")  # from here on it reads what is there now
    return True


async def _lock(database: ProcessDatabase, connection: Connection, patience_ms: int) -> None:
    """Keep writers out of all tables until the transaction ends."""
    with explain_refusals(database.owner):
        tables = [row["name"] for row in await connection.fetch(TABLES)]
        if VERSION_TABLE not in tables:
            raise BackupFailed(
                f"The database {database.owner.database!r} has no tables of Raak.",
                hint=f"Look at {database.owner.variable}, or run `raak migrate`.",
            )
        await connection.execute(f"SET LOCAL statement_timeout = {patience_ms:d}")
        await connection.fetchval("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK)
        names = ", ".join(quote_name(name) for name in tables)
        await connection.execute(f"LOCK TABLE {names} IN SHARE MODE")


async def _write_database(snapshot: Snapshot, writer: BackupWriter) -> DatabaseManifest:
    process, connection = snapshot
    tables = {
        row["name"]: list(row["columns"])
        for row in await connection.fetch(TABLES)
        if row["name"] != VERSION_TABLE
    }
    rows = {}
    for table, columns in tables.items():
        with writer.open(table_file(process, table)) as file:
            status = await connection.copy_from_table(
                table, columns=columns, output=file.take, schema_name="public"
            )
        rows[table] = int(status.rpartition(" ")[2])  # such as "COPY 3"
    sequences = {row[0]: row[1] for row in await connection.fetch(_SEQUENCES)}
    revision = await connection.fetchval(_REVISION)
    return DatabaseManifest(revision, tables, rows, sequences)
