"""The whole process, over a real bus: what decision publishes is measured once."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
from fastapi import FastAPI

from services.chassis.bus import Bus, OutgoingMessage
from services.chassis.principal import ALGORITHM, AUDIENCE, ISSUER, Principal
from services.contracts.base import Event
from services.contracts.words import Role
from services.measurement.app import create
from services.measurement.settings import MeasurementSettings
from tests.unit.measurement import facts

RESULTS = """{ actionResults { action decided presented accepted acceptedValue { cents } } }"""


@pytest.fixture
async def app(
    database_url_for: Callable[[str], AbstractAsyncContextManager[str]],
    nats_url: str,
    key_files: tuple[Path, Path],
) -> AsyncIterator[FastAPI]:
    """The running process."""
    async with database_url_for("measurement") as url:
        settings = MeasurementSettings(
            database_url=url, nats_url=nats_url, verify_key_file=key_files[1]
        )
        app = create(settings)
        async with app.router.lifespan_context(app):
            yield app


@pytest.fixture
async def client(app: FastAPI, key_files: tuple[Path, Path]) -> AsyncIterator[httpx.AsyncClient]:
    """A client with an analyst's internal token."""
    claims = Principal(Role.ANALYST, "ann").claims()
    claims |= {"iss": ISSUER, "aud": AUDIENCE, "exp": 4_000_000_000}
    token = jwt.encode(claims, key_files[0].read_text(), ALGORITHM)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app),
        base_url="http://measurement",
        headers={"Authorization": f"Bearer {token}"},
    ) as client:
        yield client


async def ask(client: httpx.AsyncClient, query: str) -> Any:
    """Post a query; the answer's data."""
    answer = (await client.post("/graphql", json={"query": query})).json()
    assert "errors" not in answer
    return answer["data"]


async def send(bus: Bus, events: list[Event]) -> None:
    """Publish events; each time anew for the bus, as after a relay's retry."""
    await bus.publish(
        [OutgoingMessage(e.address(), str(uuid4()), e.to_cloudevent()) for e in events]
    )


async def test_what_the_bus_brings_in_any_order_and_twice_is_measured_once(
    client: httpx.AsyncClient, bus: Bus
) -> None:
    made = [facts.decision(uuid4(), "vinyl") for _ in range(50)]
    taken = [facts.outcome(one, "ACCEPTED", cents=100) for one in made]
    events: list[Event] = [*made, *taken, *made, *taken]
    random.Random(3).shuffle(events)

    await send(bus, events)
    expected = [
        {
            "action": "vinyl",
            "decided": 50,
            "presented": 50,
            "accepted": 50,
            "acceptedValue": [{"cents": 5000}],
        }
    ]
    async with asyncio.timeout(20):
        while (await ask(client, RESULTS))["actionResults"] != expected:
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.3)  # anything counted twice would show by now

    assert (await ask(client, RESULTS))["actionResults"] == expected


async def test_the_process_is_ready_and_answers_nobody_without_a_token(
    client: httpx.AsyncClient,
) -> None:
    ready = await client.get("/health/ready")
    refused = await client.post(
        "/graphql", json={"query": RESULTS}, headers={"Authorization": "none"}
    )

    assert ready.json() == {"status": "ready"}
    assert refused.status_code == 401
