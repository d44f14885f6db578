"""Which errors say that PostgreSQL is away for a while, and which that something is wrong."""

import ast
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import exc as sqlalchemy_errors

from services.chassis import database
from services.chassis.database import (
    DatabaseUnavailable,
    is_contention,
    is_outage,
    reason,
    server_settings,
    translate_outages,
)
from tests.postgres_errors import AT_FAULT, OUTAGE_ERRORS, raised

PROJECT = Path(__file__).parents[3]


def test_every_error_of_the_classes_of_outages_is_one() -> None:
    errors = [raised(kind) for kind in OUTAGE_ERRORS]

    assert len(errors) >= 30
    assert [error for error in errors if not is_outage(error)] == []
    assert [error for error in errors if not isinstance(error, database.OUTAGE_ERRORS)] == []
    assert {asyncpg.DiskFullError, asyncpg.DeadlockDetectedError} <= {type(one) for one in errors}
    assert all(is_outage(error) for error in (OSError(), TimeoutError(), ConnectionResetError()))


def test_no_other_error_is_one() -> None:
    errors = [raised(kind) for kind in AT_FAULT]
    ours = [asyncpg.InterfaceError("a wrong call"), asyncpg.InternalClientError(), ValueError()]

    assert len(errors) >= 150
    assert [error for error in [*errors, *ours] if is_outage(error)] == []
    assert [error for error in [*errors, *ours] if isinstance(error, database.OUTAGE_ERRORS)] == []


def test_an_error_that_asyncpg_has_no_class_for_is_told_by_its_state() -> None:
    disk, syntax = (
        asyncpg.PostgresError.new({"S": "ERROR", "C": state, "M": "from a newer server"})
        for state in ("53X99", "42X99")
    )

    assert (is_outage(disk), is_outage(syntax)) == (True, False)


def test_a_transaction_that_an_outage_left_no_way_to_undo_is_one() -> None:
    assert [is_outage(_undone_after(error)) for error in (TimeoutError(), ValueError())] == [
        True,
        False,
    ]
    assert is_outage(_undone_after(raised(asyncpg.AdminShutdownError)))


def _undone_after(error: Exception) -> Exception:
    """What asyncpg raises of the ROLLBACK while it still waits for the statement that failed."""
    try:
        try:
            raise error
        finally:
            raise asyncpg.InterfaceError("another operation is in progress")
    except asyncpg.InterfaceError as undoing:
        return undoing


def test_what_migrations_wrap_is_unwrapped() -> None:
    full = _wrapped(raised(asyncpg.DiskFullError))
    double = _wrapped(raised(asyncpg.UniqueViolationError))
    lost = sqlalchemy_errors.DBAPIError("SELECT 1", {}, Exception(), connection_invalidated=True)

    assert [is_outage(error) for error in (full, double, lost)] == [True, False, True]
    assert reason(full) == "DiskFullError"


def test_others_in_the_way_are_told_from_a_server_that_cannot() -> None:
    in_the_way = {kind.__name__ for kind in OUTAGE_ERRORS if is_contention(raised(kind))}

    assert {"DeadlockDetectedError", "SerializationError", "LockNotAvailableError"} <= in_the_way
    assert not in_the_way & {"DiskFullError", "AdminShutdownError", "ReadOnlySQLTransactionError"}


def test_an_outage_is_told_as_ours_with_what_it_was() -> None:
    full = raised(asyncpg.DiskFullError)

    with (
        pytest.raises(DatabaseUnavailable, match=r"\(DiskFullError\)") as outage,
        translate_outages(),
    ):
        raise full

    assert (outage.value.status, outage.value.__cause__) == (503, full)
    assert reason(outage.value) == "DiskFullError"


@pytest.mark.parametrize("silence_s", [2, 10, 600])
def test_a_vanished_machine_is_let_go_within_the_time_that_was_set(silence_s: int) -> None:
    settings = server_settings(silence_s)

    idle, interval, count = (
        int(settings[f"tcp_keepalives_{one}"]) for one in ("idle", "interval", "count")
    )
    assert idle >= 1
    assert interval >= 1
    assert idle + interval * count <= max(silence_s, 4)
    assert settings["tcp_user_timeout"] == settings["idle_in_transaction_session_timeout"]


def test_whoever_catches_everything_near_a_database_lets_an_outage_pass() -> None:
    """An `except Exception` that takes a full disk for a flaw of the data loses the data."""
    careless = [
        f"{path.relative_to(PROJECT)}:{handler.lineno}"
        for folder in ("services", "gateway")
        for path in (PROJECT / folder).rglob("*.py")
        if "services.chassis.database" in (source := path.read_text())
        for handler in _careless(ast.parse(source))
    ]

    assert careless == []


def _careless(module: ast.Module) -> Iterator[ast.ExceptHandler]:
    """Handlers of everything that ask of no error whether it is an outage, nor raise it again."""
    for tried in ast.walk(module):
        if not isinstance(tried, ast.Try):
            continue
        is_guarded = False
        for handler in tried.handlers:
            kinds = ast.unparse(handler.type) if handler.type else "Exception"
            is_guarded |= "OUTAGE_ERRORS" in kinds
            body = "\n".join(map(ast.unparse, handler.body))
            if kinds == "Exception" and not (
                is_guarded or "is_outage(" in body or body.endswith("raise")
            ):
                yield handler


def _wrapped(error: asyncpg.PostgresError) -> sqlalchemy_errors.DBAPIError:
    """An error as SQLAlchemy's dialect wraps it."""
    adapted = Exception(str(error))
    adapted.sqlstate = error.sqlstate  # type: ignore[attr-defined]
    adapted.__cause__ = error
    return sqlalchemy_errors.DBAPIError("SELECT 1", {}, adapted)
