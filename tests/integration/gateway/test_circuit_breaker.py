"""A real service dies and returns; what clients see of it, and how long they wait for it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
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
from tests.waiting import WITHIN_S, until

PLAN = plan_document(compose(shop.SDLS), "{ customers { id offers { title } } }")
MUTATION = 'mutation { reprice(id: "o1", price: 1) { id } }'
RULES = ResilienceSettings(open_s=0.2, max_open_s=0.4)
NEVER_S = 3_600.0


class Clients:
    """Those who ask for customers with their offers, which a service over HTTP answers."""

    def __init__(self, offers: Server, http: HttpTransport) -> None:
        self.offers = offers
        self.now = asyncio.get_running_loop().time()
        self._resilient = ResilientTransport(http, settings=RULES, clock=lambda: self.now)
        self._transport = RoutingTransport({"offers": self._resilient}, shop.InProcess())

    @property
    def breaker(self) -> str:
        return self._resilient.circuit_states()["offers"]

    async def ask(self) -> str:
        """The code of the error, or `OK`."""
        answer: dict[str, Any] = await execute(
            PLAN, None, self._transport, ExecutionOptions(within_s=NEVER_S)
        )
        assert len(answer["data"]["customers"]) == 3, "the others' data is always there"
        codes = {error["extensions"]["code"] for error in answer.get("errors", ())}
        return codes.pop() if codes else "OK"


@asynccontextmanager
async def clients() -> AsyncIterator[Clients]:
    async with (
        serving(GraphQL(shop.SCHEMAS["offers"])) as offers,
        HttpTransport({"offers": offers.url}, within_s=WITHIN_S) as http,
    ):
        yield Clients(offers, http)


async def test_a_service_that_dies_is_left_alone_and_found_again_when_it_returns() -> None:
    async with clients() as asking:
        assert await asking.ask() == "OK"
        await asking.offers.stop()

        while_dead = {await asking.ask() for _ in range(50)}
        state_when_dead = asking.breaker
        await asking.offers.start()
        while_open = await asking.ask()
        asking.now += RULES.max_open_s
        afterwards = {await asking.ask() for _ in range(20)}

    assert while_dead == {"SUBGRAPH_UNAVAILABLE"}
    assert state_when_dead == "open"
    assert while_open == "SUBGRAPH_UNAVAILABLE", "it is not even asked"
    assert afterwards == {"OK"}
    assert asking.breaker == "closed"


async def test_a_service_that_dies_under_load_costs_no_client_more_than_its_fields() -> None:
    async with clients() as asking:
        answers, is_over = Counter[str](), asyncio.Event()

        async def go_on() -> None:
            while not is_over.is_set():
                answers[await asking.ask()] += 1
                asking.now += 0.005
                await asyncio.sleep(0)

        loads = [asyncio.create_task(go_on()) for _ in range(4)]
        await until(lambda: answers["OK"] > 20)
        await asking.offers.stop()
        await until(lambda: answers["SUBGRAPH_UNAVAILABLE"] > 20)
        before = answers["OK"]
        await asking.offers.start()
        await until(lambda: answers["OK"] > before + 20)
        is_over.set()
        await asyncio.gather(*loads)

    assert set(answers) == {"OK", "SUBGRAPH_UNAVAILABLE"}


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
    query: str, for_s: float = NEVER_S, within_s: float = NEVER_S
) -> tuple[dict[str, Any], int]:
    """The answer of a frozen service, and how often it was asked."""
    planned = plan_document(compose(shop.SDLS), query)
    service = Frozen(for_s)
    async with (
        serving(service) as offers,
        HttpTransport({"offers": offers.url}, within_s=0.5) as http,
        asyncio.timeout(WITHIN_S),
    ):
        resilient = ResilientTransport(http, within_s=http.within_s)
        answer: dict[str, Any] = await execute(
            planned, None, resilient, ExecutionOptions(within_s=within_s)
        )
        return answer, service.attempts


async def test_a_frozen_service_is_waited_for_once() -> None:
    answer, attempts = await frozen_answer("{ offers { id } }")

    assert answer["errors"][0]["extensions"]["code"] == "SUBGRAPH_TIMEOUT"
    assert attempts == 1


async def test_a_mutation_is_waited_for_longer_than_a_query() -> None:
    answer, attempts = await frozen_answer(MUTATION, for_s=1.0)

    assert "SUBGRAPH_TIMEOUT" not in str(answer)
    assert attempts == 1


async def test_who_waits_in_vain_for_a_mutation_is_told_that_it_may_have_happened() -> None:
    answer, attempts = await frozen_answer(MUTATION, within_s=0.5)

    [error] = answer["errors"]
    assert error["message"] == (
        "The service 'offers' did not answer in time; it may have been done all the same."
    )
    assert error["extensions"]["code"] == "SUBGRAPH_TIMEOUT"
    assert "Check whether it was done" in error["extensions"]["hint"]
    assert attempts == 1
