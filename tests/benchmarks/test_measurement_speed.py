"""Measurement must keep up with what the others publish, and be as fast when it is full.

Measured: handlers over lists of 1,000 new events in one transaction, as the chassis hands them
over, on real PostgreSQL (without fsync), three propositions a decision; a first page of touchpoints
and a year's results from 200,000 touchpoints and 73,000 daily counts.
Target: 5,000 decisions/s, 10,000 of every other event; a page in 2 ms, results in 100 ms.
Run: pytest -m benchmark --benchmark-compare-fail=median:20%
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from uuid import uuid4

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from services.chassis.database import Database, open_database
from services.contracts.base import Event
from services.contracts.decision import DecisionRecorded
from services.contracts.profile import IdentityPayload
from services.measurement import service
from services.measurement.domain.results import Dimension
from tests.integration.measurement.story import handle
from tests.unit.measurement import facts

LIST = 1_000
CUSTOMERS = [uuid4() for _ in range(LIST)]

Runner = tuple[asyncio.Runner, Database]


@pytest.fixture
def running(
    database_url_for: Callable[[str], AbstractAsyncContextManager[str]],
) -> Iterator[Runner]:
    """A loop of our own, and a fresh database in it."""
    stack = AsyncExitStack()

    async def opened() -> Database:
        url = await stack.enter_async_context(database_url_for("measurement"))
        return await stack.enter_async_context(open_database(url))

    with asyncio.Runner() as runner:
        yield runner, runner.run(opened())
        runner.run(stack.aclose())


Scene = tuple[list[Event], list[Event]]
"""Events handled before, and the list that is measured."""


def make_decisions() -> list[DecisionRecorded]:
    """New decisions with three propositions each, for unknown customers."""
    return [facts.decision(uuid4(), "vinyl", "concert", "cassette") for _ in range(LIST)]


def decisions() -> Scene:
    """Decisions."""
    return [], [*make_decisions()]


def outcomes() -> Scene:
    """Reactions with a value, to decisions that are known."""
    decision_events = make_decisions()
    return [*decision_events], [
        facts.outcome(one, "ACCEPTED", cents=100) for one in decision_events
    ]


def messages() -> Scene:
    """Messages."""
    return [], [facts.message(customer) for customer in CUSTOMERS]


def orders() -> Scene:
    """Events that all matter."""
    return [], [facts.event(c, "order_completed", properties={"total": 5}) for c in CUSTOMERS]


def page_views() -> Scene:
    """Events that do not matter, as most do not."""
    return [], [facts.event(customer) for customer in CUSTOMERS]


def merges() -> Scene:
    """Visitors with a decision each, who become known."""
    decision_events = make_decisions()
    return [*decision_events], [
        facts.merge(one.customer_id, uuid4()) for one in decision_events if one.customer_id
    ]


def snapshots() -> Scene:
    """Customers with a new identity."""
    identities = [IdentityPayload(type="crm_id", value=str(uuid4())) for _ in CUSTOMERS]
    return [], [facts.snapshot(*pair) for pair in zip(CUSTOMERS, identities, strict=True)]


@pytest.mark.benchmark
@pytest.mark.parametrize(
    "scene", [decisions, outcomes, messages, orders, page_views, merges, snapshots]
)
def test_handling_a_list_of_new_events(
    benchmark: BenchmarkFixture, running: Runner, scene: Callable[[], Scene]
) -> None:
    runner, database = running

    async def handle_list(events: list[Event]) -> None:
        async with database.transaction() as connection:
            await handle(connection, events)

    def prepare() -> tuple[tuple[list[Event]], dict[str, object]]:
        before, measured = scene()
        if before:
            runner.run(handle_list(before))
        return (measured,), {}

    benchmark.pedantic(  # type: ignore[no-untyped-call]
        lambda events: runner.run(handle_list(events)), setup=prepare, rounds=15, warmup_rounds=1
    )

    if benchmark.stats is not None:
        benchmark.extra_info["events a second"] = round(LIST / benchmark.stats.stats.median)


_MUCH = """
INSERT INTO touchpoint (customer_id, touched_at, touchpoint_id, kind, recorded_for, detail)
SELECT customer, now() - n * interval '1 minute', gen_random_uuid(), 'MESSAGE', customer, '{}'
FROM unnest($1::uuid[]) AS customer, generate_series(1, 200) AS n
"""
_A_YEAR = """
INSERT INTO daily_count
SELECT day::date, 'action-' || a, 'treatment', channel, 'home', 100, 90, 10, 5, 3, 2, 1
FROM generate_series(now() - interval '364 days', now(), '1 day') AS day,
    generate_series(1, 100) AS a, unnest('{WEB,APP}'::text[]) AS channel
"""


@pytest.mark.benchmark
def test_a_page_of_one_among_many(benchmark: BenchmarkFixture, running: Runner) -> None:
    runner, database = running

    async def fill() -> None:
        async with database.transaction() as connection:
            await connection.execute(_MUCH, CUSTOMERS)
            await connection.execute("ANALYZE touchpoint")

    async def read() -> int:
        async with database.connection() as connection:
            (page,) = await service.load_touchpoint_pages(connection, [(CUSTOMERS[7], None, 51)])
        return len(page)

    runner.run(fill())
    found = benchmark(lambda: runner.run(read()))

    assert found == 51


@pytest.mark.benchmark
def test_a_years_results_of_a_hundred_actions(benchmark: BenchmarkFixture, running: Runner) -> None:
    runner, database = running

    async def fill() -> None:
        async with database.transaction() as connection:
            await connection.execute(_A_YEAR)
            await connection.execute("ANALYZE daily_count")

    async def read() -> int:
        async with database.connection() as connection:
            by = [Dimension.ACTION, Dimension.CHANNEL]
            return len(await service.load_action_results(connection, by, (None, None), None, None))

    runner.run(fill())
    found = benchmark(lambda: runner.run(read()))

    assert found == 200
