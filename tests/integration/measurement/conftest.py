"""A fresh database of measurement, and the graph over it."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from services.chassis.database import Database
from services.chassis.principal import Principal
from services.contracts.enums import Role
from services.measurement.schema import Context, schema
from tests.callers import caller
from tests.conftest import DatabaseFor

ANALYST = caller(Role.ANALYST, "ann")

Graph = Callable[..., Any]


@pytest.fixture
async def database(database_for: DatabaseFor) -> AsyncIterator[Database]:
    """A fresh, migrated database of measurement."""
    async with database_for("measurement") as database:
        yield database


@pytest.fixture
def graph(database: Database) -> Graph:
    """Asks the schema: `await graph(query, principal, **variables)` gives data and errors."""

    async def ask(query: str, principal: Principal = ANALYST, **variables: Any) -> dict[str, Any]:
        context = Context(principal, database)
        return {"data": None, "errors": []} | await schema.answer(query, variables, context)

    return ask
