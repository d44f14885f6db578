"""Alembic for one database: what every `migrations/env.py` calls, and what `raak migrate` runs."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import sqlalchemy as sa
from alembic import command, context
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from services.chassis.database import (
    COMPUTING_S,
    DATABASE_URL,
    DatabaseRefused,
    describe_failure,
    server_settings,
    sqlstate,
    translate_outages,
    wait_for_server,
)
from services.chassis.database_address import DatabaseAddress, quote_name

PROCESS_FOLDERS = (Path(__file__).parents[1], Path(__file__).parents[2])
"""Where a process may live: among the services, or beside them, as the gateway does."""
MIGRATION_LOCK = 0x6D696772  # "migr": an advisory lock, so that two deployments do not interfere

MAINTENANCE_DATABASE = "postgres"
"""The database that every server has."""
CONNECT_S = 10.0
PATIENCE_S = 30.0

# to build an index takes what it takes, and to compare tables on a busy machine more than a silence
_SETTINGS = server_settings() | {
    "transaction_timeout": "0",
    "idle_in_transaction_session_timeout": f"{COMPUTING_S}s",
}


def run(metadata: sa.MetaData) -> None:
    """Run the migrations Alembic was called for: the body of `migrations/env.py`."""
    connection = context.config.attributes.get("connection")
    if connection is None:
        raise RuntimeError("Migrations are run by `raak migrate`.")
    context.configure(connection=connection, target_metadata=metadata, compare_type=True)
    with context.begin_transaction():
        connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
        context.run_migrations()


def migrations_of(process: str) -> Path:
    """The folder of a process's migrations; raises StopIteration for one without a database."""
    return next(
        folder for room in PROCESS_FOLDERS if (folder := room / process / "migrations").is_dir()
    )


async def migrate(
    process: str, url: str, revision: str = "head", variable: str = DATABASE_URL
) -> None:
    """Make the process's database if it is not there, and bring it to a revision.

    Raises DatabaseRefused or DatabaseUnavailable, with nothing changed, if PostgreSQL is away, a
    right is missing, or a lock not to be had.
    """
    address = DatabaseAddress.parse(url, variable)
    with translate_outages(), explain_refusals(address):
        await create_database(address)
        await _run_alembic(process, address, lambda config: _upgrade_or_downgrade(config, revision))


@contextmanager
def explain_refusals(address: DatabaseAddress) -> Iterator[None]:
    """Raise DatabaseRefused for a right that is missing in the block."""
    try:
        yield
    except (asyncpg.InsufficientPrivilegeError, DBAPIError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if sqlstate(cause) != asyncpg.InsufficientPrivilegeError.sqlstate:
            raise
        cause = getattr(cause, "__cause__", None) or cause
        assert cause is not None
        raise describe_failure(address, cause) from error


async def check(process: str, url: str) -> None:
    """Raise alembic's CommandError when the tables differ from what the migrations made."""
    await _run_alembic(process, DatabaseAddress.parse(url), command.check)


def _upgrade_or_downgrade(config: Config, revision: str) -> None:
    if revision == "base" or revision.startswith("-"):
        command.downgrade(config, revision)
    else:
        command.upgrade(config, revision)


def is_known(process: str, revision: str) -> bool:
    """Whether this release has a revision; those of a later one it has not."""
    scripts = ScriptDirectory.from_config(_config(process))
    return revision in {script.revision for script in scripts.walk_revisions()}


@dataclass(frozen=True, slots=True)
class Migration:
    """A transaction in a process's database, in which Alembic and others work."""

    process: str
    engine_connection: AsyncConnection
    connection: "asyncpg.Connection[asyncpg.Record]"

    async def run(self, act: Callable[[Config], None]) -> None:
        config = _config(self.process)

        def with_connection(connection: Connection) -> None:
            config.attributes["connection"] = connection
            act(config)

        await self.engine_connection.run_sync(with_connection)

    async def upgrade(self, revision: str = "head") -> None:
        await self.run(lambda config: command.upgrade(config, revision))


def _config(process: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_of(process)))
    return config


@asynccontextmanager
async def open_migration(process: str, address: DatabaseAddress) -> AsyncIterator[Migration]:
    """A transaction that commits when the block ends well."""
    engine = create_async_engine(
        "postgresql+asyncpg://", poolclass=NullPool, async_creator=lambda: connect(address)
    )
    try:
        async with engine.begin() as connection:
            await connection.exec_driver_sql("SELECT 1")  # the driver begins the transaction now
            raw = (await connection.get_raw_connection()).driver_connection
            assert raw is not None
            yield Migration(process, connection, raw)
    finally:
        await engine.dispose()


async def _run_alembic(
    process: str, address: DatabaseAddress, act: Callable[[Config], None]
) -> None:
    async with open_migration(process, address) as migration:
        await migration.run(act)


async def create_database(address: DatabaseAddress) -> None:
    """Create the database an address names, unless it exists or another process is doing so.

    Only a role that may create databases needs it to be made; others find it provisioned.
    """
    try:
        connection = await connect(address)
    except DatabaseRefused as refusal:
        if not isinstance(refusal.__cause__, asyncpg.InvalidCatalogNameError):
            raise
        missing = refusal
    else:
        await connection.close()
        return
    try:
        connection = await connect(address.with_database(MAINTENANCE_DATABASE))
    except DatabaseRefused:
        raise missing from missing.__cause__
    try:
        await connection.execute(f"CREATE DATABASE {quote_name(address.database)}")
    except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
        pass
    except asyncpg.InsufficientPrivilegeError:
        raise missing from missing.__cause__
    finally:
        await connection.close()


async def connect(address: DatabaseAddress) -> "asyncpg.Connection[asyncpg.Record]":
    """A connection to a database, once its server is up.

    Raises DatabaseRefused or DatabaseUnavailable.
    """
    return await wait_for_server(
        address,
        lambda: asyncpg.connect(**address.arguments, server_settings=_SETTINGS, timeout=CONNECT_S),
        PATIENCE_S,
    )
