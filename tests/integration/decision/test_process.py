"""The whole process, over a real bus: it decides by snapshots, and publishes its decisions."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from nats.aio.msg import Msg

from services.chassis.bus import Bus
from services.contracts.decision import DecisionRecorded, DecisionSeriesNeeded, OutcomeRecorded
from services.contracts.enums import Role
from services.decision.app import create
from services.decision.settings import DecisionSettings
from tests.integration.conftest import Running, send
from tests.integration.decision.conftest import (
    CATALOGUE,
    OFFERS,
    PUBLISH,
    REPORT,
    by,
    keys,
    merged,
    snapshot,
)
from tests.waiting import until


@pytest.fixture
async def client(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    """An administrator of the running process."""
    async with running(create, DecisionSettings, Role.ADMIN) as client:
        yield client


async def ask(client: httpx.AsyncClient, query: str, **variables: Any) -> Any:
    """Post an operation; the answer."""
    request = {"query": query, "variables": variables}
    return (await client.post("/graphql", json=request)).json()


async def test_a_snapshot_from_the_bus_is_decided_by_and_the_decision_is_published_on_it(
    client: httpx.AsyncClient, bus: Bus
) -> None:
    ada, visitor = uuid4(), uuid4()
    heard: asyncio.Queue[Msg] = asyncio.Queue()
    for fact in (DecisionRecorded, OutcomeRecorded, DecisionSeriesNeeded):
        await bus.subscribe("test", fact.fact, heard.put)
    published = await ask(client, PUBLISH, yaml=CATALOGUE)
    await send(bus, snapshot(ada), snapshot(ada), snapshot(visitor), merged(visitor, ada))

    decision: Any = None

    async def all_is_known() -> bool:
        nonlocal decision
        answer = await ask(client, OFFERS, customer={"id": str(visitor)})
        decision = (answer["data"] or {}).get("nextBestActions")
        return (
            decision and decision["customer"]["id"] == str(ada) and not decision["degraded"]
        ) is True

    await until(all_is_known)
    proposition = decision["propositions"][0]["id"]
    report = {"proposition": proposition, "kind": "ACCEPTED", "idempotencyKey": "k"}
    reported = await ask(client, REPORT, input=report)

    assert published["data"]["publishCatalogue"]["added"] == ["jazz", "newsletter", "loyalty"]
    assert keys(decision) == ["jazz", "newsletter"]
    assert "errors" not in reported
    needed = await next_of(heard, DecisionSeriesNeeded)
    decided = await next_of(heard, DecisionRecorded, lambda e: str(e.decision_id) == decision["id"])
    outcome = await next_of(heard, OutcomeRecorded)
    assert [one["event"] for one in needed.series] == ["order_completed"]
    assert [ranked.action for ranked in decided.propositions] == keys(decision)
    assert str(outcome.proposition_id) == proposition


async def next_of(
    heard: asyncio.Queue[Msg], fact: Any, wanted: Callable[[Any], bool] = lambda event: True
) -> Any:
    """The next event of a fact that was heard."""
    skipped: list[Msg] = []
    async with asyncio.timeout(10):
        while True:
            message = await heard.get()
            if message.subject.startswith(fact.type()):
                event = fact.from_cloudevent(message.data)
                if wanted(event):
                    break
            skipped.append(message)
    for message in skipped:
        heard.put_nowait(message)
    return event


async def test_the_process_is_ready_and_answers_nobody_without_a_token(
    client: httpx.AsyncClient,
) -> None:
    ready = await client.get("/health/ready")
    refused = await client.post(
        "/graphql",
        json={"query": OFFERS, "variables": {"customer": by("anonymous_id", "b1")}},
        headers={"Authorization": "none"},
    )

    assert ready.json() == {"status": "ready"}
    assert refused.status_code == 401
