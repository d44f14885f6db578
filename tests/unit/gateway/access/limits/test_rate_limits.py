"""Rate limits: how often a caller may ask, and how much at once."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.limits.load_shedding import Admission, LoadShedder, Priorities
from gateway.access.limits.rate_limits import (
    RateLimited,
    RateLimiter,
    RateLimits,
    TokenBuckets,
    caller_key,
)
from gateway.supergraph import SubgraphResponse
from services.chassis.principal import Principal
from services.contracts.enums import Role
from tests.unit.gateway.clock import Clock
from tests.unit.gateway.small_graph import InProcess, asking, endpoint, graph


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_rested_caller_may_send_a_burst_and_then_as_fast_as_the_rate(clock: Clock) -> None:
    buckets = TokenBuckets(10, 3, 100, clock)

    assert [buckets.take("ann") for _ in range(4)] == [0, 0, 0, pytest.approx(0.1)]

    clock.now += 0.1
    assert [buckets.take("ann") for _ in range(2)] == [0, pytest.approx(0.1)]


def test_a_caller_that_waits_as_long_as_it_was_told_is_let_in(clock: Clock) -> None:
    limits = RateLimiter(RateLimits(rate_per_s=3, burst=1), clock)
    limits.arrive("ann")

    with pytest.raises(RateLimited) as refusal:
        limits.arrive("ann")
    clock.now += refusal.value.retry_after_s

    limits.arrive("ann")
    assert refusal.value.retry_after_s == pytest.approx(1 / 3)
    assert refusal.value.as_json()["retryAfterMs"] == 334


def test_callers_have_buckets_of_their_own(clock: Clock) -> None:
    limits = RateLimiter(RateLimits(rate_per_s=1, burst=1), clock)
    limits.arrive("ann")

    limits.arrive("bob")

    with pytest.raises(
        RateLimited, match=r"The limit is 1 requests a second, 1 at once \(rate_per_s"
    ):
        limits.arrive("ann")


def test_more_than_a_bucket_holds_is_never_there(clock: Clock) -> None:
    assert TokenBuckets(1, 2, 100, clock).take("ann", 3) == pytest.approx(1.0)


def test_being_refused_does_not_make_the_wait_longer(clock: Clock) -> None:
    buckets = TokenBuckets(1, 1, 100, clock)
    buckets.take("ann")

    waits = [buckets.take("ann") for _ in range(50)]

    assert waits == [pytest.approx(1.0)] * 50


def test_what_a_request_costs_is_waited_for_by_the_next_one(clock: Clock) -> None:
    limits = RateLimiter(RateLimits(rate_per_s=10, burst=5, cost_per_token=100), clock)
    limits.arrive("ann")

    limits.charge("ann", 900)  # eight tokens beyond its first, of which five at most count

    with pytest.raises(RateLimited) as refusal:
        limits.arrive("ann")
    assert refusal.value.retry_after_s == pytest.approx(0.2)


def test_a_cheap_request_costs_no_more_than_its_token(clock: Clock) -> None:
    limits = RateLimiter(RateLimits(rate_per_s=10, burst=2, cost_per_token=100), clock)

    for _ in range(2):
        limits.arrive("ann")
        limits.charge("ann", 100)


def test_there_are_never_more_buckets_than_set_and_the_busiest_are_kept(clock: Clock) -> None:
    buckets = TokenBuckets(0.001, 2, 10, clock)
    buckets.take("busy", 2)

    for n in range(10_000):
        assert buckets.take("busy") > 0
        buckets.take(n)

    assert len(buckets._full_at) == 10


@given(
    rate=st.floats(0.1, 1_000),
    burst=st.integers(1, 50),
    steps=st.lists(st.tuples(st.floats(0, 2), st.integers(1, 3)), max_size=60),
)
def test_no_window_ever_sees_more_than_its_burst_and_rate(
    rate: float, burst: int, steps: list[tuple[float, int]]
) -> None:
    clock = Clock()
    buckets = TokenBuckets(rate, burst, 10, clock)
    taken: list[tuple[float, int]] = []

    for pause, tokens in steps:
        clock.now += pause
        if buckets.take("ann", tokens) == 0:
            taken.append((clock.now, tokens))

    for first in range(len(taken)):
        inside = 0
        for at, tokens in taken[first:]:
            inside += tokens
            assert inside <= burst + rate * (at - taken[first][0]) + 1e-6


def test_a_caller_has_so_many_requests_under_way_and_no_more(clock: Clock) -> None:
    limits = RateLimiter(RateLimits(max_concurrent=2), clock)
    limits.enter("ann")
    limits.enter("ann")

    with pytest.raises(
        RateLimited, match=r"2 requests under way. The limit is 2 \(max_concurrent\)"
    ):
        limits.enter("ann")

    limits.enter("bob")
    limits.leave("ann")
    limits.enter("ann")


def test_a_caller_is_a_subject_with_the_customer_it_speaks_for() -> None:
    ann, bob = (
        Principal(Role.VISITOR, "shop", (("type", "email"), ("value", name)))
        for name in ("ann@example.com", "bob@example.com")
    )
    narrowed = Principal(Role.VISITOR, "shop", ann.customer, frozenset({"read"}))

    assert caller_key(ann) != caller_key(bob)
    assert caller_key(ann) == caller_key(narrowed)


class Slow(InProcess):
    """Services that let others go first."""

    async def fetch(self, *args: Any, **how: Any) -> SubgraphResponse:
        await asyncio.sleep(0)
        return await super().fetch(*args, **how)


async def test_of_a_batch_what_is_above_the_callers_concurrency_is_refused_not_queued() -> None:
    services = Slow()
    limits = RateLimiter(RateLimits(max_concurrent=2))
    admission = Admission(limits, LoadShedder(), Priorities({}))
    answering = replace(graph(services), admission=admission)

    async with asking(endpoint(services, served=lambda: answering, max_batch=3)) as client:
        response = await client.post("/graphql", json=[{"query": "{ segments }"}] * 3)
        again = await client.post("/graphql", json=[{"query": "{ segments }"}] * 2)

    *answered, refused = response.json()
    assert answered == again.json() == [{"data": {"segments": ["loyal"]}}] * 2
    assert refused["errors"][0]["extensions"]["code"] == "RATE_LIMITED"
    assert len(services.asked) == 4
