"""A fresh database of journey, an engine with a clock of its own, and the graph over both."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from services.chassis.database import Database
from services.chassis.principal import Principal
from services.contracts.enums import Role
from services.journey.schema import Context, schema
from services.journey.service.engine import Engine
from tests.callers import caller
from tests.conftest import DatabaseFor
from tests.integration.journey.world import World

MARKETER = caller(Role.MARKETER, "mia")

Graph = Callable[..., Any]


@pytest.fixture
async def database(database_for: DatabaseFor) -> AsyncIterator[Database]:
    """A fresh, migrated database of journey."""
    async with database_for("journey") as database:
        yield database


@pytest.fixture
def world(database: Database) -> World:
    """The service without its process: things happen when a test says so."""
    return World(database)


@pytest.fixture
def graph(world: World) -> Graph:
    """Asks the schema: `await graph(query, principal, **variables)` gives data and errors."""

    async def ask(query: str, principal: Principal = MARKETER, **variables: Any) -> dict[str, Any]:
        context = Context(principal, world.database, world.engine)
        return {"data": None, "errors": []} | await schema.answer(query, variables, context)

    return ask


@pytest.fixture
def patient(world: World) -> Engine:
    """An engine that waits for snapshots."""
    return Engine(clock=world.clock, enter_late=timedelta(days=7), patience_s=60)
