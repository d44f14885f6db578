"""Journeys must not notice an import, keep up with a busy shop, and fire timers in crowds.

Measured on real PostgreSQL (without fsync), one replica, lists of 1,000 events in one transaction,
as the chassis hands them over: events no journey listens to; events that are listened to but let
nobody in, because they are old (an import) or do not fit; events that let 1,000 customers in, each
with an instance, a step and an event to publish; snapshots while a journey watches segments;
timers that each take an instance through a branch and a message to its next wait. The state machine
without a database is the last one.
Target: 100,000 events/s that nobody listens to, 15,000 of an import, 2,000 entries/s, 2,000
timers/s; a step of the machine under 50 us.
Run: pytest -m benchmark --benchmark-compare-fail=median:20%
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from services.chassis.database import open_database
from services.contracts.base import Event
from services.journey.domain.instance import TimerStimulus
from services.journey.domain.state_machine import advance
from services.journey.service.timers import TimerRunner
from tests.integration.journey.world import World
from tests.unit.journey.journeys import CART, LAPSING, NOON, ROUND, Walk, compile_journey, facts_of

LIST = 1_000

Stage = tuple[asyncio.Runner, World]


@pytest.fixture
def stage(
    database_url_for: Callable[[str], AbstractAsyncContextManager[str]],
) -> Iterator[Stage]:
    """A loop of our own, and the journey service over a fresh database in it."""
    stack = AsyncExitStack()

    async def opened() -> World:
        url = await stack.enter_async_context(database_url_for("journey"))
        world = World(await stack.enter_async_context(open_database(url)))
        for journey in (CART, LAPSING, ROUND):
            await world.publish(journey)
        return world

    with asyncio.Runner() as runner:
        yield runner, runner.run(opened())
        runner.run(stack.aclose())


def unheard(world: World, customers: list[UUID]) -> list[Event]:
    """Events no journey listens to, as most are."""
    return [world.event(customer, "page_viewed", page="/lp") for customer in customers]


def imported(world: World, customers: list[UUID]) -> list[Event]:
    """A history: listened to, but years old."""
    old = timedelta(days=700)
    return [
        world.event(customer, "product_added", old, 1, value=25, cart_id="c")
        for customer in customers
    ]


def unfit(world: World, customers: list[UUID]) -> list[Event]:
    """Listened to, of today, but not what the journey is about."""
    return [world.event(customer, "product_added", value=5, cart_id="c1") for customer in customers]


def entering(world: World, customers: list[UUID]) -> list[Event]:
    """Each lets a customer in."""
    return [
        world.event(customer, "product_added", value=25, cart_id="c1") for customer in customers
    ]


def changing(world: World, customers: list[UUID]) -> list[Event]:
    """New snapshots of unknown customers, in no segment a journey is about."""
    traits = {"email": "ann@example.com", "country": "NL"}
    return [
        world.snapshot(customer, 1, traits=traits, segments=("vip", "loyal"))
        for customer in customers
    ]


@pytest.mark.benchmark
@pytest.mark.parametrize("scene", [unheard, imported, unfit, entering, changing])
def test_hearing_a_list_of_events(
    benchmark: BenchmarkFixture,
    stage: Stage,
    scene: Callable[[World, list[UUID]], list[Event]],
) -> None:
    runner, world = stage

    def prepare() -> tuple[tuple[list[Event]], dict[str, object]]:
        return (scene(world, [uuid4() for _ in range(LIST)]),), {}

    benchmark.pedantic(  # type: ignore[no-untyped-call]
        lambda events: runner.run(world.handle_events(*events)),
        setup=prepare,
        rounds=15,
        warmup_rounds=1,
    )

    print_rate(benchmark, "events a second")


@pytest.mark.benchmark
def test_firing_timers(benchmark: BenchmarkFixture, stage: Stage) -> None:
    runner, world = stage
    timers = TimerRunner(world.engine, world.database, batch=LIST)

    async def wait_an_hour() -> None:
        customers = [uuid4() for _ in range(LIST)]
        await world.handle_events(
            *(world.snapshot(one, 1, consents={"p": True}) for one in customers)
        )
        world.now += timedelta(days=30)
        await world.handle_events(*(world.event(one, "e") for one in customers))
        async with world.database.transaction() as connection:
            await connection.execute(
                "UPDATE run SET due_at = NULL WHERE NOT customer_id = ANY($1)", customers
            )
        world.now += timedelta(hours=1)

    fired: list[int] = []
    benchmark.pedantic(  # type: ignore[no-untyped-call]
        lambda: fired.append(runner.run(timers.fire_due())),
        setup=lambda: runner.run(wait_an_hour()),
        rounds=10,
        warmup_rounds=1,
    )

    assert set(fired) == {LIST}
    print_rate(benchmark, "timers a second")


@pytest.mark.benchmark
def test_the_machine_alone(benchmark: BenchmarkFixture) -> None:
    journey = compile_journey(CART)
    instance = Walk(journey).instance
    due = NOON + timedelta(hours=2)
    facts = facts_of(due, consent={"email_marketing": True}, traits={"email": "ann@example.com"})

    moved = benchmark(advance, journey, instance, TimerStimulus(), facts, due)

    assert moved.instance.step == "answer"


def print_rate(benchmark: BenchmarkFixture, what: str) -> None:
    """Say how many a second that is."""
    if benchmark.stats is not None:
        benchmark.extra_info[what] = round(LIST / benchmark.stats.stats.median)
