"""The journey service as a process is put together."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx

from services.chassis.migrations import check
from services.journey.app import create
from services.journey.settings import JourneySettings

DatabaseUrlFor = Callable[[str], AbstractAsyncContextManager[str]]


async def test_the_service_starts_is_ready_and_answers_nobody_but_the_gateway(
    database_url_for: DatabaseUrlFor, nats_url: str, key_files: tuple[Path, Path]
) -> None:
    async with database_url_for("journey") as url:
        settings = JourneySettings(
            database_url=url, nats_url=nats_url, verify_key_file=key_files[1]
        )
        app = create(settings)
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://journey") as client,
        ):
            ready = await client.get("/health/ready")
            asked = await client.post("/graphql", json={"query": "{ journeyDefinitions { key } }"})

    assert ready.json() == {"status": "ready"}
    assert asked.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def test_the_tables_are_what_the_migrations_make(database_url_for: DatabaseUrlFor) -> None:
    async with database_url_for("journey") as url:
        await check("journey", url)
