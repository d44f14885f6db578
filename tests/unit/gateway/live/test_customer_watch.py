"""One watcher's ear: in order, bounded, and honest about what was left out."""

import asyncio

import pytest

from gateway.live.activity import ActivityKind
from gateway.live.customer_feed import LiveUnavailable
from gateway.live.customer_watch import CustomerWatch, WatchedCustomer, create_notice
from tests.unit.gateway.live.events import ANN

EVENT, GAP = ActivityKind.EVENT, ActivityKind.GAP


def watch(most: int = 10) -> CustomerWatch:
    return CustomerWatch(WatchedCustomer(ANN), most)


async def test_activities_come_in_order() -> None:
    heard = watch()
    told = [create_notice(EVENT, ANN) for _ in range(3)]
    for activity in told:
        heard.put(activity)

    assert [await heard.next() for _ in range(3)] == told


async def test_a_watcher_waits_for_the_next() -> None:
    heard = watch()
    waiting = asyncio.create_task(heard.next())
    await asyncio.sleep(0)

    heard.put(create_notice(EVENT, ANN))

    assert (await waiting).kind is EVENT


async def test_what_does_not_fit_is_dropped_and_replaced_by_a_gap() -> None:
    heard = watch(most=3)
    for _ in range(3):
        heard.put(create_notice(EVENT, ANN))
    last = create_notice(EVENT, ANN)
    heard.put(last)

    gap, newest = await heard.next(), await heard.next()

    assert (gap.kind, gap.customer_id) == (GAP, ANN)
    assert newest == last


async def test_a_failed_watch_first_gives_what_waits() -> None:
    heard = watch()
    heard.put(create_notice(EVENT, ANN))
    heard.fail(LiveUnavailable("NATS is away.", hint="Wait."))

    assert (await heard.next()).kind is EVENT
    with pytest.raises(LiveUnavailable):
        await heard.next()
