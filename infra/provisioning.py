"""Roles and databases: what an administrator does on a PostgreSQL server before all migrate.

Each database has an owner of its own, and no process may enter another's.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable

import asyncpg

from infra.databases import ProcessDatabase
from services.chassis.database import Connection
from services.chassis.database_address import DatabaseAddress, quote_name
from services.chassis.errors import RaakError
from services.chassis.migrations import MAINTENANCE_DATABASE, connect

PROVISIONING_LOCK = 0x726F6C65  # "role": an advisory lock, so that two deployments do not interfere
LOCK_TIMEOUT = "5s"
SCRAM_ROUNDS = 4_096


class NotProvisioned(RaakError, code="DATABASE_NOT_PROVISIONED"):
    """A server does not let us make roles and databases."""


async def provision(server: DatabaseAddress, databases: Iterable[ProcessDatabase]) -> None:
    """Make the databases and their roles; repeating it sets the passwords again.

    `server` has who may make them. Raises NotProvisioned.
    """
    databases = list(databases)
    connection = await connect(server.with_database(MAINTENANCE_DATABASE))
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", PROVISIONING_LOCK)
        is_superuser = await connection.fetchval(_IS_SUPERUSER)
        for database in databases:
            await _make_roles(connection, server, database, is_superuser=is_superuser)
            await _make_database(connection, database.owner)
            await _hand_over(server, database.owner)
        if is_superuser:
            await _close_shared_databases(connection, {one.owner.database for one in databases})
    except asyncpg.InsufficientPrivilegeError as error:
        raise NotProvisioned(
            f"{server.user!r} may not make roles and databases ({error}).",
            hint=f"Have {server.variable} name a superuser, or one with CREATEROLE and CREATEDB; or"
            " make them yourself, and leave it out.",
        ) from error
    finally:
        await connection.close()


def select_databases(
    server: DatabaseAddress, databases: Iterable[ProcessDatabase]
) -> list[ProcessDatabase]:
    """Those that are on a server and belong to somebody else."""
    return [
        one
        for one in databases
        if one.owner.user != server.user and one.owner.is_on_server_of(server)
    ]


_IS_SUPERUSER = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
_IS_MEMBER = "SELECT pg_has_role(current_user, $1, 'SET')"


async def _make_roles(
    connection: Connection,
    server: DatabaseAddress,
    database: ProcessDatabase,
    *,
    is_superuser: bool,
) -> None:
    """Make who owns a database and who works in it; who is no superuser has to be one of them."""
    logins = {one.user: one for one in (database.runtime, database.owner)}
    for login in logins.values():
        if login.user != server.user:
            await _make_role(connection, login)
    owner = database.owner.user
    if not is_superuser and not await connection.fetchval(_IS_MEMBER, owner):
        await connection.execute(f"GRANT {quote_name(owner)} TO CURRENT_USER")


async def _make_role(server: Connection, login: DatabaseAddress) -> None:
    exists = await server.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", login.user)
    verb = "ALTER" if exists else "CREATE"
    secret = f"PASSWORD '{scram(login.password)}'" if login.password else ""
    await server.execute(f"{verb} ROLE {quote_name(login.user)} LOGIN {secret}")


async def _make_database(server: Connection, login: DatabaseAddress) -> None:
    role, database = quote_name(login.user), quote_name(login.database)
    query = "SELECT true FROM pg_database WHERE datname = $1"
    if await server.fetchval(query, login.database):
        await server.execute(f"ALTER DATABASE {database} OWNER TO {role}")
    else:
        await server.execute(f"CREATE DATABASE {database} OWNER {role}")
    await server.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")


_OTHERS_TABLES = """
SELECT format('ALTER TABLE %s OWNER TO %I', relation.oid::regclass, $1::text)
FROM pg_class relation
JOIN pg_namespace schema ON schema.oid = relation.relnamespace
JOIN pg_roles owner ON owner.oid = relation.relowner
WHERE owner.rolname <> $1 AND relation.relkind IN ('r', 'p', 'v', 'm', 'S')
    AND schema.nspname !~ '^pg_' AND schema.nspname <> 'information_schema'
    AND NOT EXISTS (
        SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = relation.oid
        AND (deptype = 'e' OR relation.relkind = 'S' AND deptype IN ('a', 'i'))
    )
"""
"""But for what follows its table (sequences of columns) or belongs to an extension."""


async def _hand_over(server: DatabaseAddress, login: DatabaseAddress) -> None:
    """Give a role what others own in its database, as a superuser who migrated or restored it."""
    inside = await connect(server.with_database(login.database))
    try:
        async with inside.transaction():
            await inside.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            for statement in await inside.fetch(_OTHERS_TABLES, login.user):
                await inside.execute(statement[0])
    finally:
        await inside.close()


async def _close_shared_databases(server: Connection, ours: set[str]) -> None:
    """Close the databases that every server has, if all others are ours."""
    rows = await server.fetch("SELECT datname FROM pg_database WHERE NOT datistemplate")
    if {row["datname"] for row in rows} <= ours | {"postgres"}:
        await server.execute("REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC")


def scram(password: str) -> str:
    """A password's verifier (RFC 5803), so that no statement contains the password."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, SCRAM_ROUNDS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    parts = (salt, stored, hmac.digest(salted, b"Server Key", "sha256"))
    salt_text, stored_text, server_text = (base64.b64encode(part).decode() for part in parts)
    return f"SCRAM-SHA-256${SCRAM_ROUNDS}:{salt_text}${stored_text}:{server_text}"
