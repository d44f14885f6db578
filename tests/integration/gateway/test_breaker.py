"""A real service dies and returns; what clients see of it, and how long they wait for it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median
from typing import Any

from strawberry.asgi import GraphQL

from gateway.supergraph import (
    HttpTransport,
    PlanCache,
    Resilient,
    Terms,
    Transports,
    compose,
    execute,
)
from gateway.supergraph.resilience import Rules
from tests.integration.gateway.serving import Server, serving
from tests.unit.gateway.supergraph import shop

PLAN = PlanCache(compose(shop.SDLS)).plan("{ customers { id offers { title } } }")
RULES = Rules(rest_s=0.2, longest_rest_s=0.4)


class Clients:
    """Those who ask for customers with their offers, which a service over HTTP answers."""

    def __init__(self, offers: Server, http: HttpTransport) -> None:
        self.offers = offers
        self._resilient = Resilient(http, rules=RULES)
        self._transport = Transports({"offers": self._resilient}, shop.InProcess())

    @property
    def breaker(self) -> str:
        return self._resilient.states()["offers"]

    async def ask(self) -> tuple[str, float]:
        """The code of the error, or `OK`, and the milliseconds it took."""
        started = time.perf_counter()
        answer: dict[str, Any] = await execute(PLAN, None, self._transport, Terms(within_s=2.0))
        took_ms = (time.perf_counter() - started) * 1_000
        assert len(answer["data"]["customers"]) == 3, "the others' data is always there"
        codes = {error["extensions"]["code"] for error in answer.get("errors", ())}
        return codes.pop() if codes else "OK", took_ms

    async def until(self, code: str, within_s: float = 3.0) -> float:
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
        HttpTransport({"offers": offers.url}, within_s=0.5) as http,
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
    assert median(ms for _, ms in while_dead) < 50
    assert found_after_s < 1
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
    assert max(ms for _, ms in answers) < 1_500
