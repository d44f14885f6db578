"""The limits of callers at a real gateway, over real connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.access.authentication.caller_tokens import issue_token
from gateway.access.authentication.service_tokens import load_private_key
from gateway.app import create
from gateway.settings import GatewaySettings
from services.contracts.enums import Role
from tests.integration.gateway.serving import serving
from tests.waiting import until

SDL = """
extend schema @link(url: "https://specs.apollo.dev/federation/v2.11", import: ["@key"])
type Query { segments: String }
type Mutation { track: String }
"""
REPORT, INGEST = "{ segments }", "mutation { track }"
ANSWER = {"data": {"segments": "loyal"}}
SAID = {"data": {"segments": "loyal", "track": "heard"}}
MOST_REPORTS = 4
"""At once: two fifths of eight, rounded up."""


@dataclass
class Gateway:
    """A gateway before a service that answers when it is let."""

    client: httpx.AsyncClient
    may_answer: asyncio.Event
    asked: asyncio.Semaphore
    """Released for every request that reached the service."""
    signing_key: Path

    async def ask(
        self, subject: str = "ann", token: str | None = None, query: str = REPORT
    ) -> httpx.Response:
        key = load_private_key(self.signing_key.read_text())
        token = token or issue_token(key, Role.ADMIN, subject)
        headers = {"Authorization": f"Bearer {token}"}
        return await self.client.post("/graphql", json={"query": query}, headers=headers)


@pytest.fixture
async def gateway(key_files: tuple[Path, Path]) -> AsyncIterator[Gateway]:
    signing, verify = key_files
    may_answer, asked = asyncio.Event(), asyncio.Semaphore(0)
    may_answer.set()

    async def graphql(request: Request) -> Response:
        await request.body()
        asked.release()
        await may_answer.wait()
        return Response(orjson.dumps(SAID), media_type="application/json")

    async with AsyncExitStack() as stack:
        routes = [Route("/graphql", graphql, methods=["POST"])]
        service = await stack.enter_async_context(serving(Starlette(routes=routes)))
        settings = GatewaySettings(
            profile_url=service.url,
            signing_key_file=signing,
            caller_key_file=verify,
            rate_per_s=1,
            burst=3,
            max_concurrent=2,
            max_failed_authentications=3,
            max_in_flight=8,
        )
        server = await stack.enter_async_context(serving(create(settings, {"profile": SDL})))
        client = httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=30)
        gateway = Gateway(await stack.enter_async_context(client), may_answer, asked, signing)
        for query in (REPORT, INGEST):
            await gateway.ask(f"the first to ask {query}", query=query)  # pays for planning it
            await asked.acquire()
        yield gateway
        may_answer.set()


async def is_let_in(gateway: Gateway, subject: str) -> bool:
    return bool((await gateway.ask(subject)).json() == ANSWER)


def refusal(response: httpx.Response) -> tuple[int, str, int]:
    """Status, code and the milliseconds to wait, which the header rounds up."""
    [error] = response.json()["errors"]
    wait_ms: int = error["extensions"]["retryAfterMs"]
    assert int(response.headers["retry-after"]) == max(1, -(-wait_ms // 1000))
    return response.status_code, error["extensions"]["code"], wait_ms


async def test_a_caller_that_asks_too_often_waits_as_told_and_is_let_in(
    gateway: Gateway,
) -> None:
    answers = [await gateway.ask() for _ in range(4)]
    while answers[-1].status_code == 200 and len(answers) < 100:  # a slow machine asks slowly
        answers.append(await gateway.ask())
    refused = next(answer for answer in answers if answer.status_code != 200)
    status, code, wait_ms = refusal(refused)

    await asyncio.sleep(wait_ms / 1000)

    assert (status, code) == (429, "RATE_LIMITED")
    assert 0 < wait_ms <= 1_000
    assert (await gateway.ask()).json() == ANSWER
    assert (await gateway.ask("bob")).json() == ANSWER


async def test_who_waits_for_too_many_answers_gets_no_more_until_they_are_there(
    gateway: Gateway,
) -> None:
    gateway.may_answer.clear()
    waiting = [asyncio.create_task(gateway.ask()) for _ in range(2)]
    for _ in waiting:
        await gateway.asked.acquire()

    assert refusal(await gateway.ask()) == (429, "RATE_LIMITED", 1_000)

    gateway.may_answer.set()
    assert [answer.json() for answer in await asyncio.gather(*waiting)] == [ANSWER] * 2
    await until(lambda: is_let_in(gateway, "ann"))


async def test_under_overload_reports_are_refused_clearly_and_ingest_is_let_in(
    gateway: Gateway,
) -> None:
    gateway.may_answer.clear()
    waiting = [asyncio.create_task(gateway.ask(f"caller {n}")) for n in range(MOST_REPORTS)]
    for _ in waiting:
        await gateway.asked.acquire()

    refused = await gateway.ask("one more")
    ingest = asyncio.create_task(gateway.ask("a shop", query=INGEST))
    await asyncio.wait_for(gateway.asked.acquire(), 30)
    gateway.may_answer.set()

    status, code, wait_ms = refusal(refused)
    assert (status, code) == (503, "OVERLOADED")
    assert 1_000 <= wait_ms <= 3_000
    assert "reporting: 4 requests are under way" in refused.json()["errors"][0]["message"]
    assert [answer.json() for answer in await asyncio.gather(*waiting)] == [ANSWER] * MOST_REPORTS
    assert (await ingest).json() == {"data": {"track": "heard"}}


async def test_guessing_tokens_ends_soon_and_hurts_nobody_who_is_known(gateway: Gateway) -> None:
    good = issue_token(load_private_key(gateway.signing_key.read_text()), Role.ADMIN, "ann")
    assert (await gateway.ask(token=good)).json() == ANSWER

    statuses = [(await gateway.ask(token=f"guess.{n}.x")).status_code for n in range(5)]

    assert statuses == [401, 401, 401, 429, 429]
    assert (await gateway.ask(token=good)).json() == ANSWER


async def test_a_client_that_goes_away_gives_its_place_back(gateway: Gateway) -> None:
    gateway.may_answer.clear()
    waiting = [asyncio.create_task(gateway.ask("cid")) for _ in range(2)]
    for _ in waiting:
        await gateway.asked.acquire()
    for task in waiting:
        task.cancel()
    gateway.may_answer.set()

    await until(lambda: is_let_in(gateway, "cid"))


async def test_health_and_metrics_answer_however_often_they_are_asked(gateway: Gateway) -> None:
    await gateway.ask()
    for _ in range(20):
        assert (await gateway.client.get("/health/live")).status_code == 200

    metrics = (await gateway.client.get("/metrics")).text

    for name in ("raak_shed_total", "raak_in_flight_limit", "raak_event_loop_lag_seconds"):
        assert f"# HELP {name}" in metrics
