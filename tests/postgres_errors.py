"""Every error of PostgreSQL that asyncpg has a class for, and those that say it is away."""

import asyncpg
from asyncpg import exceptions

NOT_CONNECTED = ("08",)
NOT_NOW = ("40", "53", "57", "58", "25006", "25P03", "25P04", "55P03")


def _known() -> list[type[asyncpg.PostgresError]]:
    named = [getattr(exceptions, name) for name in exceptions.__all__]
    return [
        one
        for one in named
        if isinstance(one, type)
        and issubclass(one, asyncpg.PostgresError)
        and getattr(one, "sqlstate", None)
    ]


OUTAGE_ERRORS = [one for one in _known() if one.sqlstate.startswith(NOT_CONNECTED + NOT_NOW)]
AT_FAULT = [one for one in _known() if one not in OUTAGE_ERRORS]


def raised(kind: type[asyncpg.PostgresError]) -> asyncpg.PostgresError:
    """An error of this class, as PostgreSQL sends it."""
    return kind.new({"S": "ERROR", "V": "ERROR", "C": kind.sqlstate, "M": "as in a test"})


def raising(kind: type[asyncpg.PostgresError]) -> str:
    """A statement at which PostgreSQL raises it."""
    return f"DO $$ BEGIN RAISE EXCEPTION 'as in a test' USING ERRCODE = '{kind.sqlstate}'; END $$"
