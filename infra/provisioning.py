"""Roles and databases: what a superuser does on a PostgreSQL server before processes migrate.

Each process has a role of its own, which owns its database and may not enter another's.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from typing import NamedTuple, Self
from urllib.parse import unquote, urlsplit

import asyncpg

from services.chassis.database import Connection
from services.chassis.errors import RaakError
from services.chassis.migrations import connect

PROVISIONING_LOCK = 0x726F6C65  # "role": an advisory lock, so that two deployments do not interfere
LOCK_TIMEOUT = "5s"
SCRAM_ROUNDS = 4_096


class NotProvisioned(RaakError, code="DATABASE_NOT_PROVISIONED"):
    """A server does not let us make roles and databases."""


class Login(NamedTuple):
    """The role and database of a process."""

    role: str
    password: str
    database: str

    @classmethod
    def from_url(cls, url: str) -> Self:
        address = urlsplit(url)
        role, password = unquote(address.username or ""), unquote(address.password or "")
        return cls(role, password, unquote(address.path.removeprefix("/")))


async def provision(server_url: str, urls: Iterable[str]) -> None:
    """Make the roles and databases that addresses name; repeating it sets the passwords again.

    `server_url` is a superuser's. Raises NotProvisioned.
    """
    logins = [Login.from_url(url) for url in urls]
    server = await connect(server_url, "postgres")
    try:
        await server.execute("SELECT pg_advisory_lock($1)", PROVISIONING_LOCK)
        for login in logins:
            await _make_role(server, login)
            await _make_database(server, login)
            await _hand_over(server_url, login)
        await _close_shared_databases(server, {login.database for login in logins})
    except asyncpg.InsufficientPrivilegeError as error:
        raise NotProvisioned(
            f"{Login.from_url(server_url).role!r} may not make roles and databases ({error}).",
            hint="Have RAAK_DATABASE_SERVER_URL name a superuser; or make them yourself, and leave"
            " it out.",
        ) from error
    finally:
        await server.close()


def select_process_urls(server_url: str, urls: Iterable[str]) -> list[str]:
    """The addresses that are on a server and have another user."""
    server = urlsplit(server_url)
    return [
        url
        for url in urls
        if (address := urlsplit(url)).username != server.username
        and (address.hostname, address.port) == (server.hostname, server.port)
    ]


async def _make_role(server: Connection, login: Login) -> None:
    exists = await server.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", login.role)
    verb = "ALTER" if exists else "CREATE"
    secret = f"PASSWORD '{scram(login.password)}'" if login.password else ""
    await server.execute(f"{verb} ROLE {_quote(login.role)} LOGIN {secret}")


async def _make_database(server: Connection, login: Login) -> None:
    role, database = _quote(login.role), _quote(login.database)
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


async def _hand_over(server_url: str, login: Login) -> None:
    """Give a role what others own in its database, as a superuser who migrated or restored it."""
    inside = await connect(server_url, login.database)
    try:
        async with inside.transaction():
            await inside.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            for statement in await inside.fetch(_OTHERS_TABLES, login.role):
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


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
