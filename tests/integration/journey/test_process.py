"""The journey service as a process is put together."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from services.chassis.migrations import check
from services.contracts.enums import Role
from services.journey.app import create
from services.journey.settings import JourneySettings
from tests.integration.conftest import Running

DatabaseUrlFor = Callable[[str], AbstractAsyncContextManager[str]]


async def test_the_process_is_ready_and_answers_nobody_without_a_token(running: Running) -> None:
    async with running(create, JourneySettings, Role.ADMIN) as client:
        ready = await client.get("/health/ready")
        refused = await client.post(
            "/graphql",
            json={"query": "{ journeyDefinitions { key } }"},
            headers={"Authorization": "none"},
        )

    assert ready.json() == {"status": "ready"}
    assert refused.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def test_the_tables_are_what_the_migrations_make(database_url_for: DatabaseUrlFor) -> None:
    async with database_url_for("journey") as url:
        await check("journey", url)
