"""A service with no business: just outbox, inbox and a table of what it was told."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from infra import embedded
from services.chassis.database import Database, open_database
from tests.conftest import HASTY, copy_database, free_port
from tests.integration.chassis.outages import Restartable, started
from tests.integration.chassis.sample_events import connect, furnish


@pytest.fixture(scope="session")
async def template(postgres_url: str) -> str:
    """The name of a database with outbox, inbox and `told(customer_id, text)`."""
    name = "template_chassis"
    server = await connect(f"{postgres_url}/postgres")
    await server.execute(f"CREATE DATABASE {name}")
    await server.close()
    await furnish(f"{postgres_url}/{name}")
    return name


@pytest.fixture
async def database_url(postgres_url: str, template: str) -> AsyncIterator[str]:
    """The address of a fresh copy of it."""
    name = f"chassis_{uuid4().hex[:12]}"
    server = await connect(f"{postgres_url}/postgres")
    await server.execute(copy_database(template, name))
    yield f"{postgres_url}/{name}"
    await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await server.close()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """That database, open."""
    async with open_database(database_url) as database:
        yield database


@pytest.fixture
async def nats(tmp_path: Path) -> AsyncIterator[Restartable]:
    """A NATS of this test's own."""
    port = free_port()
    async with started(
        Restartable(lambda: embedded.nats(tmp_path / "nats", port, "secret"))
    ) as server:
        yield server


@pytest.fixture
async def postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Restartable]:
    """A PostgreSQL of this test's own, with the tables of a listener in `postgres`."""
    folder, port = tmp_path_factory.mktemp("pg") / "postgres", free_port()
    async with started(
        Restartable(lambda: embedded.postgres(folder, port, "secret", HASTY))
    ) as server:
        await furnish(f"{server.url}/postgres")
        yield server
