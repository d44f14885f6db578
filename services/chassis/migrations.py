"""Alembic for one database: what every `migrations/env.py` calls, and what `raak migrate` runs."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import asyncpg
import sqlalchemy as sa
from alembic import command, context
from alembic.config import Config
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from services.chassis.database import COMPUTING_S, is_away, server_settings, translate_outages

PROCESS_FOLDERS = (Path(__file__).parents[1], Path(__file__).parents[2])
"""Where a process may live: among the services, or beside them, as the gateway does."""
MIGRATION_LOCK = 0x6D696772  # "migr": an advisory lock, so that two deployments do not interfere

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


async def migrate(process: str, url: str, revision: str = "head") -> None:
    """Make the process's database if it is not there, and bring it to a revision.

    Raises DatabaseUnavailable, with nothing changed, if PostgreSQL is away or a lock not to be had.
    """
    with translate_outages():
        await _create_database(url)
        await _run_alembic(process, url, lambda config: _upgrade_or_downgrade(config, revision))


async def check(process: str, url: str) -> None:
    """Raise alembic's CommandError when the tables differ from what the migrations made."""
    await _run_alembic(process, url, command.check)


def _upgrade_or_downgrade(config: Config, revision: str) -> None:
    if revision == "base" or revision.startswith("-"):
        command.downgrade(config, revision)
    else:
        command.upgrade(config, revision)


async def _run_alembic(process: str, url: str, act: Callable[[Config], None]) -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations_of(process)))

    def with_connection(connection: Connection) -> None:
        config.attributes["connection"] = connection
        act(config)

    engine = create_async_engine(
        url.replace("postgresql://", "postgresql+asyncpg://", 1),
        poolclass=NullPool,
        connect_args={"server_settings": _SETTINGS},
    )
    try:
        async with engine.begin() as connection:
            await connection.run_sync(with_connection)
    finally:
        await engine.dispose()


async def _create_database(url: str) -> None:
    """Create the database an address names, unless it exists or another process is doing so.

    Only a role that may create databases needs it to be made; others find it provisioned.
    """
    try:
        connection = await connect(url)
    except asyncpg.InvalidCatalogNameError:
        pass
    else:
        await connection.close()
        return
    name = url.rpartition("/")[2]
    connection = await connect(url, "postgres")
    try:
        await connection.execute(f'CREATE DATABASE "{name}"')
    except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
        pass
    finally:
        await connection.close()


async def connect(url: str, database: str | None = None) -> "asyncpg.Connection[asyncpg.Record]":
    """A connection to a database, else to that of the address, once its server is up."""
    for _ in range(60):
        try:
            return await asyncpg.connect(url, database=database, server_settings=_SETTINGS)
        except (OSError, asyncpg.PostgresError) as error:
            if not is_away(error):
                raise
            await asyncio.sleep(0.5)
    return await asyncpg.connect(url, database=database, server_settings=_SETTINGS)
