"""The whole process, over a real bus: what decision publishes is measured once."""

import random
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from services.chassis.bus import Bus
from services.contracts.base import Event
from services.contracts.enums import Role
from services.measurement.app import create
from services.measurement.settings import MeasurementSettings
from tests.integration.conftest import Running, send
from tests.unit.measurement import facts
from tests.waiting import until

RESULTS = """{ actionResults { action decided presented accepted acceptedValue { cents } } }"""


@pytest.fixture
async def client(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    """An analyst at the running process."""
    async with running(create, MeasurementSettings, Role.ANALYST) as client:
        yield client


async def ask(client: httpx.AsyncClient, query: str) -> Any:
    """Post a query; the answer's data."""
    answer = (await client.post("/graphql", json={"query": query})).json()
    assert "errors" not in answer
    return answer["data"]


async def test_what_the_bus_brings_in_any_order_and_twice_is_measured_once(
    client: httpx.AsyncClient, bus: Bus
) -> None:
    decision_events = [facts.decision(uuid4(), "vinyl") for _ in range(50)]
    outcome_events = [facts.outcome(one, "ACCEPTED", cents=100) for one in decision_events]
    events: list[Event] = [*decision_events, *outcome_events, *decision_events, *outcome_events]
    random.Random(3).shuffle(events)

    await send(bus, *events)
    expected = [
        {
            "action": "vinyl",
            "decided": 50,
            "presented": 50,
            "accepted": 50,
            "acceptedValue": [{"cents": 5000}],
        }
    ]

    async def all_is_counted() -> bool:
        return bool((await ask(client, RESULTS))["actionResults"] == expected)

    async def nothing_is_pending() -> bool:
        return not any(
            [await bus.count_pending(fact) for fact in {type(event) for event in events}]
        )

    await until(all_is_counted)
    await until(nothing_is_pending)

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
