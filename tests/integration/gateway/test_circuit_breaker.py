"""A real service dies and returns; what clients see of it, and how long they wait for it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from statistics import median
from typing import Any

from strawberry.asgi import GraphQL

from gateway.supergraph import (
    ExecutionOptions,
    HttpTransport,
    ResilientTransport,
    RoutingTransport,
    compose,
    execute,
    plan_document,
)
from gateway.supergraph.transport.circuit_breaker import ResilienceSettings
from tests.integration.gateway.serving import Server, serving
from tests.unit.gateway.supergraph import shop

PLAN = plan_document(compose(shop.SDLS), "{ customers { id offers { title } } }")
MUTATION = 'mutation { reprice(id: "o1", price: 1) { id } }'
RULES = ResilienceSettings(open_s=0.2, max_open_s=0.4)


class Clients:
    """Those who ask for customers with their offers, which a service over HTTP answers."""

    def __init__(self, offers: Server, http: HttpTransport) -> None:
        self.offers = offers
        self._resilient = ResilientTransport(http, settings=RULES)
        self._transport = RoutingTransport({"offers": self._resilient}, shop.InProcess())

    @property
    def breaker(self) -> str:
        return self._resilient.circuit_states()["offers"]

    async def ask(self) -> tuple[str, float]:
        """The code of the error, or `OK`, and the milliseconds it took."""
        started = time.perf_counter()
        answer: dict[str, Any] = await execute(
            PLAN, None, self._transport, ExecutionOptions(within_s=10.0)
        )
        took_ms = (time.perf_counter() - started) * 1_000
        assert len(answer["data"]["customers"]) == 3, "the others' data is always there"
        codes = {error["extensions"]["code"] for error in answer.get("errors", ())}
        return codes.pop() if codes else "OK", took_ms

    async def until(self, code: str, within_s: float = 30.0) -> float:
        """Ask until that is the answer; the seconds it took."""
        started = time.perf_counter()
        async with asyncio.timeout(within_s):
            while (await self.ask())[0] != code:
                await asyncio.sleep(0.01)
        return time.perf_counter() - started


@asynccontextmanager
async def clients() -> AsyncIterator[Clients]:
    async with (
        serving(GraphQL(shop.SCHEMAS["offers"])) as offers,
        HttpTransport({"offers": offers.url}, within_s=5.0) as http,
    ):
        yield Clients(offers, http)


async def test_a_service_that_dies_is_left_alone_and_found_again_when_it_returns() -> None:
    async with clients() as asking:
        assert (await asking.ask())[0] == "OK"
        await asking.offers.stop()

        while_dead = [await asking.ask() for _ in range(50)]
        state_when_dead = asking.breaker
        await asking.offers.start()
        found_after_s = await asking.until("OK")
        afterwards = [await asking.ask() for _ in range(20)]

    assert {code for code, _ in while_dead} == {"SUBGRAPH_UNAVAILABLE"}
    assert state_when_dead in ("open", "half-open")
    assert median(ms for _, ms in while_dead) < 500, "a tenth of what one waits for an answer"
    assert found_after_s < 10
    assert {code for code, _ in afterwards} == {"OK"}
    assert asking.breaker == "closed"


async def test_a_service_that_dies_under_load_costs_no_client_more_than_its_fields() -> None:
    async with clients() as asking:
        answers: list[tuple[str, float]] = []

        async def go_on() -> None:
            for _ in range(40):
                answers.append(await asking.ask())
                await asyncio.sleep(0.005)

        loads = [asyncio.create_task(go_on()) for _ in range(4)]
        await asyncio.sleep(0.1)
        await asking.offers.stop()
        await asyncio.sleep(0.1)
        await asking.offers.start()
        await asyncio.gather(*loads)
        await asking.until("OK")

    assert {code for code, _ in answers} == {"OK", "SUBGRAPH_UNAVAILABLE"}
    assert len(answers) == 160
    assert max(ms for _, ms in answers) < 10_000


class Frozen:
    """A service that has taken a request and says nothing for a while."""

    def __init__(self, for_s: float) -> None:
        self.attempts = 0
        self._for_s = for_s

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        self.attempts += 1
        await receive()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._for_s):
                await receive()  # until nobody waits any more
                return
        body = b'{"data": {"offers": [], "reprice": null}}'
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


async def frozen_answer(
    query: str, for_s: float, within_s: float
) -> tuple[dict[str, Any], float, int]:
    """The answer of a frozen service, the seconds it took, and how often it was asked."""
    planned = plan_document(compose(shop.SDLS), query)
    service = Frozen(for_s)
    async with (
        serving(service) as offers,
        HttpTransport({"offers": offers.url}, within_s=0.5) as http,
    ):
        resilient = ResilientTransport(http, within_s=http.within_s)
        started = time.perf_counter()
        answer: dict[str, Any] = await execute(
            planned, None, resilient, ExecutionOptions(within_s=within_s)
        )
        return answer, time.perf_counter() - started, service.attempts


async def test_a_frozen_service_is_waited_for_once() -> None:
    answer, took_s, attempts = await frozen_answer("{ offers { id } }", for_s=20, within_s=20)

    assert answer["errors"][0]["extensions"]["code"] == "SUBGRAPH_TIMEOUT"
    assert attempts == 1
    assert took_s < 10, "it was not waited for until the end of the request"


async def test_a_mutation_is_waited_for_longer_than_a_query() -> None:
    answer, _, attempts = await frozen_answer(MUTATION, for_s=1.0, within_s=20)

    assert "SUBGRAPH_TIMEOUT" not in str(answer)
    assert attempts == 1


async def test_who_waits_in_vain_for_a_mutation_is_told_that_it_may_have_happened() -> None:
    answer, _, attempts = await frozen_answer(MUTATION, for_s=20, within_s=0.5)

    [error] = answer["errors"]
    assert error["message"] == (
        "The service 'offers' did not answer in time; it may have been done all the same."
    )
    assert error["extensions"]["code"] == "SUBGRAPH_TIMEOUT"
    assert "Check whether it was done" in error["extensions"]["hint"]
    assert attempts == 1
