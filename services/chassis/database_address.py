"""Addresses of PostgreSQL as libpq knows them, and what to do when one does not work."""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from socket import gaierror
from typing import Any, NamedTuple, Self
from urllib.parse import quote, unquote, urlsplit

import asyncpg

from services.chassis.errors import RaakError

SCHEMES = ("postgresql", "postgres", "postgresql+asyncpg")
OLDEST_SERVER = 17
"""The first PostgreSQL with `transaction_timeout`."""

UNLESS = {
    "channel_binding": ("prefer", "disable"),
    "gssencmode": ("prefer", "disable"),
    "hostaddr": (),
    "require_auth": (),
    "requirepeer": (),
    "sslcertmode": ("allow", "disable"),
}
"""What libpq would demand of a server and our driver cannot, and the values that demand nothing."""

CLIENT_ONLY = {
    *UNLESS,
    "client_encoding",
    "connect_timeout",
    "fallback_application_name",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "load_balance_hosts",
    "sslcompression",
    "sslsni",
    "tcp_user_timeout",
}
"""What libpq keeps to itself; a server would refuse it as a setting it does not know."""

FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
SYSTEM = "system"
"""The `sslrootcert` that stands for the authorities this machine trusts."""


class InvalidDatabaseUrl(RaakError, code="INVALID_DATABASE_URL"):
    """An address of a database cannot be read, or asks for what cannot be done."""


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """Where a database is and who comes; `variable` is where the address was read from.

    Its text has no password.
    """

    variable: str
    user: str
    database: str
    hosts: tuple[tuple[str, str], ...]
    parameters: Mapping[str, str] = field(repr=False)
    password: str = field(repr=False)

    @classmethod
    def parse(cls, url: str, variable: str = "the address") -> Self:
        """Read an address; raises InvalidDatabaseUrl, which does not repeat it."""
        try:
            parts = urlsplit(url)
            parameters = _split_query(parts.query)
            login, _, where = parts.netloc.rpartition("@")
            user, _, password = login.partition(":")
            hosts = tuple(_split_host(one) for one in where.split(",")) if where else ()
        except ValueError:
            raise InvalidDatabaseUrl(
                f"{variable} cannot be read as an address of PostgreSQL.",
                hint="Write postgresql://USER:PASSWORD@HOST:5432/DATABASE?sslmode=verify-full, with"
                " % codes for @ : / ? # and % in the user and the password (%40 is @).",
            ) from None
        if parts.scheme not in SCHEMES:
            raise InvalidDatabaseUrl(
                f"{variable} begins with {parts.scheme[:20]!r}, which is not PostgreSQL's.",
                hint="Let it begin with postgresql://.",
            )
        if "ssl" in parameters and parts.scheme.endswith("asyncpg"):
            parameters["sslmode"] = parameters.pop("ssl")
        if "host" in parameters and not hosts:
            ports = parameters.pop("port", "").split(",")
            names = parameters.pop("host").split(",")
            ports = ports * len(names) if len(ports) == 1 else ports
            hosts = tuple(zip(names, ports, strict=False))
        named = parameters.pop("dbname", "") or unquote(parts.path.removeprefix("/"))
        address = cls(
            variable,
            parameters.pop("user", "") or unquote(user),
            named,
            hosts,
            parameters,
            parameters.pop("password", "") or unquote(password),
        )
        address._check()
        return address

    def _check(self) -> None:
        for name, harmless in UNLESS.items():
            value = self.parameters.get(name)
            if value is not None and value not in harmless:
                raise InvalidDatabaseUrl(
                    f"{self.variable} has {name}={value}, which our driver cannot do.",
                    hint=f"Leave out {name}; sslmode=verify-full proves who the server is.",
                )
        mode = self.parameters.get("sslmode", "prefer")
        if mode.replace("-", "_") not in ssl_modes():
            raise InvalidDatabaseUrl(
                f"{self.variable} has sslmode={mode}.",
                hint=f"Take {', '.join(one.replace('_', '-') for one in ssl_modes())}.",
            )
        for name in FILES:
            path = self.parameters.get(name, "")
            if path and not (name == "sslrootcert" and path == SYSTEM):
                if not os.access(path, os.R_OK):
                    raise InvalidDatabaseUrl(
                        f"{self.variable} has {name}={path}, a file that cannot be read.",
                        hint="Name a file that this process sees and may read.",
                    )
            elif path and mode != "verify-full":
                raise InvalidDatabaseUrl(
                    f"{self.variable} has sslrootcert=system and sslmode={mode}.",
                    hint="Take sslmode=verify-full: everybody gets a certificate from them.",
                )

    def with_database(self, database: str) -> Self:
        return replace(self, database=database)

    @property
    def url(self) -> str:
        """The address with all that our driver reads, and nothing that it would not."""
        query = {
            **{k: v for k, v in self.parameters.items() if k not in CLIENT_ONLY},
            **({"host": ",".join(h for h, _ in self.hosts)} if self._has_socket else {}),
            **({"port": ",".join(p for _, p in self.hosts)} if self._has_socket_port else {}),
        }
        login = f"{_encode(self.user)}:{_encode(self.password)}".rstrip(":")
        where = "" if self._has_socket else ",".join(map(_join_host, self.hosts))
        rest = "&".join(f"{k}={_encode(v)}" for k, v in query.items())
        return (
            f"postgresql://{login}{'@' if login else ''}{where}"
            f"{'/' if self.database else ''}{_encode(self.database)}"
            f"{'?' if rest else ''}{rest}"
        )

    @property
    def _has_socket(self) -> bool:
        return any(host.startswith("/") for host, _ in self.hosts)

    @property
    def _has_socket_port(self) -> bool:
        return self._has_socket and all(port for _, port in self.hosts)

    @property
    def arguments(self) -> dict[str, Any]:
        """What asyncpg's `connect` and `create_pool` take."""
        if self.parameters.get("sslrootcert") != SYSTEM:
            return {"dsn": self.url}
        others = {k: v for k, v in self.parameters.items() if k not in ("sslrootcert", "sslmode")}
        return {"dsn": replace(self, parameters=others).url, "ssl": ssl.create_default_context()}

    @property
    def server(self) -> str:
        """The hosts, as messages name them."""
        return ", ".join(map(_join_host, self.hosts)) or "this machine"

    def is_on_server_of(self, other: Self) -> bool:
        return {(host, port or "5432") for host, port in self.hosts} == {
            (host, port or "5432") for host, port in other.hosts
        }


def ssl_modes() -> list[str]:
    return ["disable", "allow", "prefer", "require", "verify_ca", "verify_full"]


def _split_query(query: str) -> dict[str, str]:
    """As libpq reads it: a plus is a plus."""
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    if not all(name and equals for name, equals, _ in pairs):
        raise ValueError("a parameter has no value")
    return {unquote(name): unquote(value) for name, _, value in pairs}


def _split_host(text: str) -> tuple[str, str]:
    """A host and its port, which may be missing; raises ValueError."""
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise ValueError("a bracket is not closed")
        port = port.removeprefix(":")
    else:
        host, _, port = text.partition(":")
    if port and not (port.isascii() and port.isdigit() and int(port) < 65_536):
        raise ValueError("a port is not a number")
    return unquote(host), port


def _join_host(one: tuple[str, str]) -> str:
    host, port = one
    name = f"[{host}]" if ":" in host else host
    return f"{name}:{port}" if port else name


def _encode(text: str) -> str:
    return quote(text, safe="")


def quote_name(name: str) -> str:
    """A name of a role, database or table, as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'


class Remedy(NamedTuple):
    """What a failed connection means, and what helps; waiting does not if it is lasting."""

    problem: str
    hint: str
    is_lasting: bool = True


_REMEDIES: Mapping[str, Remedy] = {
    "host": Remedy(
        "no host {server} is known", "Look at the host's name in {variable}.", is_lasting=False
    ),
    "certificate": Remedy(
        "the certificate of {server} is not trusted ({reason})",
        "Name the file with its authority's certificate (your vendor gives it), for the host as the"
        " certificate has it: ?sslmode=verify-full&sslrootcert=FILE in {variable}.",
    ),
    "tls": Remedy(
        "{server} does not speak TLS as {variable} asks for ({reason})",
        "Switch TLS on at the server; sslmode=prefer does without it where there is none.",
    ),
    "28P01": Remedy(
        "PostgreSQL at {server} refuses user {user!r} or the password",
        "Correct the user and the password in {variable}; as an administrator,"
        " ALTER ROLE {role} LOGIN PASSWORD '…';",
    ),
    "28": Remedy(
        "PostgreSQL at {server} does not let user {user!r} in ({reason})",
        "Look at the user in {variable}, whether it may log in, and at pg_hba.conf or the network"
        " rules of your vendor; a server that wants TLS wants ?sslmode=require or more.",
    ),
    "3D000": Remedy(
        "PostgreSQL at {server} has no database {database!r}",
        "CREATE DATABASE {name} OWNER {role}; or have RAAK_DATABASE_SERVER_URL name who may make"
        " it, and run `raak migrate`.",
    ),
    "42501": Remedy(
        "user {user!r} may not do this in the database {database!r} ({reason})",
        "GRANT CONNECT ON DATABASE {name} TO {role}; and for who migrates, inside it,"
        " GRANT USAGE, CREATE ON SCHEMA public TO {role}; tables are changed by their owner alone:"
        " let RAAK_<PROCESS>_MIGRATION_DATABASE_URL name that one.",
    ),
    "transaction_timeout": Remedy(
        f"PostgreSQL at {{server}} is older than {OLDEST_SERVER}",
        f"Upgrade the server to PostgreSQL {OLDEST_SERVER} or later.",
    ),
    "42": Remedy(
        "PostgreSQL at {server} refuses a parameter ({reason})",
        "Leave it out of {variable}.",
    ),
    "22": Remedy(
        "PostgreSQL at {server} refuses the value of a parameter ({reason})",
        "Correct it in {variable}.",
    ),
    "client": Remedy("it cannot be used ({reason})", "Correct {variable}."),
    "": Remedy(
        "PostgreSQL at {server} does not answer ({kind})",
        "Start it, or correct {variable}; look whether a firewall or a network rule lets this"
        " machine in.",
        is_lasting=False,
    ),
}
"""By SQLSTATE or the beginning of it, or by what kind of error it is."""


def _find_remedy(error: BaseException) -> Remedy:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _REMEDIES["certificate"]
    if isinstance(error, ssl.SSLError) or "SSL upgrade" in str(error):
        return _REMEDIES["tls"]
    if isinstance(error, gaierror):
        return _REMEDIES["host"]
    if isinstance(error, asyncpg.InterfaceError | ValueError):
        return _REMEDIES["client"]
    state: str = getattr(error, "sqlstate", None) or ""
    if state == "42704" and "transaction_timeout" in str(error):
        return _REMEDIES["transaction_timeout"]
    return _REMEDIES.get(state) or _REMEDIES.get(state[:2]) or _REMEDIES[""]


def explain(address: DatabaseAddress, error: BaseException) -> Remedy:
    """What a failure means for who set the address, without any password."""
    remedy = _find_remedy(error)
    facts = {
        "variable": address.variable,
        "server": address.server,
        "user": address.user,
        "role": quote_name(address.user),
        "database": address.database,
        "name": quote_name(address.database),
        "kind": type(error).__name__,
        "reason": _reason(error),
    }
    problem = f"{{variable}}: {remedy.problem}."
    return remedy._replace(problem=problem.format(**facts), hint=remedy.hint.format(**facts))


def _reason(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message.rstrip(".")
    is_plain = isinstance(error, ValueError) and not isinstance(error, asyncpg.InterfaceError)
    return type(error).__name__ if is_plain else str(error).partition("\n")[0].rstrip(".")
