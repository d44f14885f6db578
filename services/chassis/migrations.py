"""Alembic for one service: what every `migrations/env.py` calls, and what `raak migrate` runs."""

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

SERVICES = Path(__file__).parents[1]
ONE_AT_A_TIME = 0x6D696772  # "migr": an advisory lock, so that two deployments do not meet


def run(metadata: sa.MetaData) -> None:
    """Bring a service's database where Alembic was told to: the body of `migrations/env.py`."""
    connection = context.config.attributes.get("connection")
    if connection is None:
        raise RuntimeError("Migrations are run by `raak migrate`.")
    context.configure(connection=connection, target_metadata=metadata, compare_type=True)
    with context.begin_transaction():
        connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({ONE_AT_A_TIME})"))
        context.run_migrations()


async def migrate(service: str, url: str, revision: str = "head") -> None:
    """Make the service's database if it is not there, and bring it to a revision."""
    await _create(url)
    await _through_alembic(service, url, lambda config: _move(config, revision))


async def check(service: str, url: str) -> None:
    """Raise alembic's CommandError when the tables differ from what the migrations made."""
    await _through_alembic(service, url, command.check)


def _move(config: Config, revision: str) -> None:
    if revision == "base" or revision.startswith("-"):
        command.downgrade(config, revision)
    else:
        command.upgrade(config, revision)


async def _through_alembic(service: str, url: str, act: Callable[[Config], None]) -> None:
    config = Config()
    config.set_main_option("script_location", str(SERVICES / service / "migrations"))

    def with_connection(connection: Connection) -> None:
        config.attributes["connection"] = connection
        act(config)

    engine = create_async_engine(
        url.replace("postgresql://", "postgresql+asyncpg://", 1), poolclass=NullPool
    )
    try:
        async with engine.begin() as connection:
            await connection.run_sync(with_connection)
    finally:
        await engine.dispose()


async def _create(url: str) -> None:
    """Create the database an address names, unless it exists or another process is doing so."""
    server, _, name = url.rpartition("/")
    for _ in range(60):
        try:
            connection = await asyncpg.connect(f"{server}/postgres")
        except (OSError, asyncpg.CannotConnectNowError):
            await asyncio.sleep(0.5)
        else:
            break
    else:
        connection = await asyncpg.connect(f"{server}/postgres")
    try:
        await connection.execute(f'CREATE DATABASE "{name}"')
    except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
        pass
    finally:
        await connection.close()
