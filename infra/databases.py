"""The database of each process: who works in it, and who migrates it."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import NamedTuple

import asyncpg

from infra.instance import EmbeddedInstance
from infra.processes import PROCESS_SETTINGS, PROCESSES
from services.chassis.database import (
    Connection,
    Database,
    DatabaseRefused,
    describe_failure,
    open_database,
)
from services.chassis.database_address import DatabaseAddress, InvalidDatabaseUrl, quote_name
from services.chassis.migrations import MIGRATION_LOCK, connect, explain_refusals, migrate


class ProcessDatabase(NamedTuple):
    """A process's database as the process enters it, and as who owns its tables does."""

    process: str
    runtime: DatabaseAddress
    owner: DatabaseAddress

    @property
    def has_owner_apart(self) -> bool:
        return self.owner.user != self.runtime.user


class NoDatabases(InvalidDatabaseUrl, code="NO_DATABASES"):
    """The environment does not say where the databases are."""


def databases_from_urls(urls: Mapping[str, str]) -> list[ProcessDatabase]:
    """Databases whose processes own them, by the processes' names."""
    addresses = {
        name: DatabaseAddress.parse(url, f"RAAK_{name.upper()}_DATABASE_URL")
        for name, url in urls.items()
    }
    return [ProcessDatabase(name, address, address) for name, address in addresses.items()]


def databases_from_environment(
    processes: Sequence[str] = PROCESSES,
) -> list[ProcessDatabase] | None:
    """Those of processes that the environment names; None if it names none.

    Raises NoDatabases if it names some only, and InvalidSettings for what cannot be read.
    """
    named = {"database_url", "database_server_url"}
    settings = {name: PROCESS_SETTINGS[name]() for name in processes}
    missing = [name for name, one in settings.items() if not named & one.model_fields_set]
    if len(missing) == len(settings):
        return None
    if missing:
        variables = ", ".join(f"RAAK_{name.upper()}_DATABASE_URL" for name in missing)
        raise NoDatabases(
            f"{variables} and RAAK_DATABASE_SERVER_URL are not set.",
            hint="Set each, or the server's, on which the databases raak_<process> are then.",
        )
    found = [
        ProcessDatabase(name, one.database_address, one.migration_address)
        for name, one in settings.items()
    ]
    for one in found:
        if one.runtime.database != one.owner.database:
            raise InvalidDatabaseUrl(
                f"{one.owner.variable} names the database {one.owner.database!r}, and"
                f" {one.runtime.variable} {one.runtime.database!r}.",
                hint="Name the same database in both, with different users.",
            )
    return found


def administrator_from_environment() -> DatabaseAddress | None:
    """Who may make databases and roles, as RAAK_DATABASE_SERVER_URL or its file says."""
    settings = PROCESS_SETTINGS["gateway"]()
    if "database_server_url" not in settings.model_fields_set:
        return None
    return DatabaseAddress.parse(settings.database_server_url, "RAAK_DATABASE_SERVER_URL")


def find_databases(data: Path, processes: Sequence[str] = PROCESSES) -> list[ProcessDatabase]:
    """Those of the environment, else of the instance in a folder; raises NoInstance."""
    found = databases_from_environment(processes)
    if found is not None:
        return found
    urls = EmbeddedInstance.load(data).database_urls
    return databases_from_urls({name: urls[name] for name in processes})


def open_process_database(
    database: ProcessDatabase, patience_s: float = 3.0
) -> AbstractAsyncContextManager[Database]:
    """A database as its process enters it, for as long as a command runs."""
    address = database.runtime
    return open_database(
        address.url, connections=2, patience_s=patience_s, variable=address.variable
    )


async def migrate_database(database: ProcessDatabase) -> None:
    """Bring a database to its newest revision, and let its process work in it."""
    owner = database.owner
    await migrate(database.process, owner.url, variable=owner.variable)
    if database.has_owner_apart:
        await grant_runtime_rights(database)


_RUNTIME_RIGHTS = """
GRANT CONNECT ON DATABASE {database} TO {role};
GRANT USAGE ON SCHEMA public TO {role};
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role};
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {role};
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role};
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO {role};
REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM {role};
"""
_MAY_CONNECT = "SELECT has_database_privilege($1, current_database(), 'CONNECT')"


async def grant_runtime_rights(database: ProcessDatabase) -> None:
    """Let a process read and write the tables of its database, and those to come; no more."""
    role, name = quote_name(database.runtime.user), quote_name(database.owner.database)
    inside = await connect(database.owner)
    try:
        with explain_refusals(database.owner):
            async with inside.transaction():
                await inside.execute("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK)
                await inside.execute(_RUNTIME_RIGHTS.format(role=role, database=name))
            await _check_may_connect(inside, database)
    except asyncpg.UndefinedObjectError as error:
        raise DatabaseRefused(
            f"{database.runtime.variable}: PostgreSQL at {database.owner.server} has no user"
            f" {database.runtime.user!r}.",
            hint=f"As an administrator, CREATE ROLE {role} LOGIN PASSWORD '…';",
        ) from error
    finally:
        await inside.close()


async def _check_may_connect(inside: Connection, database: ProcessDatabase) -> None:
    """Who migrates may not be able to grant this: PostgreSQL then only warns."""
    if not await inside.fetchval(_MAY_CONNECT, database.runtime.user):
        error = asyncpg.InsufficientPrivilegeError("it may not connect")
        raise describe_failure(database.runtime, error)
