"""What is heard of one customer on a real NATS, through merges, outages and repetitions."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from gateway.live import customer_feed
from gateway.live.activity import Activity, ActivityKind, CustomerDiff
from gateway.live.customer_feed import CustomerFeed, LiveUnavailable, UnprovedLink
from gateway.live.customer_watch import CustomerWatch
from infra import embedded
from services.chassis.bus import Bus, open_bus
from services.chassis.server import supervise
from services.chassis.streams import OutgoingMessage
from services.contracts.base import Event
from services.contracts.enums import LinkSource
from services.contracts.profile import CustomerChanged, CustomersMerged, EventRecorded
from tests.conftest import free_port
from tests.unit.gateway.live.events import changed, decision_recorded, merged, recorded
from tests.waiting import until

WATCHING, EVENT, GAP = ActivityKind.WATCHING, ActivityKind.EVENT, ActivityKind.GAP


class Town:
    """A feed, a bus to publish on, and two customers nobody else knows."""

    def __init__(self, feed: CustomerFeed, bus: Bus) -> None:
        self.feed = feed
        self.ann, self.ben = uuid4(), uuid4()
        self._bus = bus

    async def happens(self, *events: Event) -> None:
        """Publish as a service does; each by itself, so that they come in this order."""
        for event in events:
            await self._bus.publish(
                [OutgoingMessage(event.address(), str(uuid4()), event.to_cloudevent())]
            )

    async def watched(self, *customers: UUID) -> None:
        """Return when exactly these are listened for."""
        await until(lambda: self.feed.customer_ids == set(customers))


async def heard(watch: CustomerWatch, number: int = 1) -> list[Activity]:
    """The next activities."""
    async with asyncio.timeout(10):
        return [await watch.next() for _ in range(number)]


async def kinds(watch: CustomerWatch, number: int) -> list[ActivityKind]:
    return [activity.kind for activity in await heard(watch, number)]


def subscriptions(feed: CustomerFeed) -> int:
    """How many subscriptions the feed has at NATS: that for merges, and one a customer."""
    assert feed._client is not None
    return sum(sub._subject.startswith("raak.") for sub in feed._client._subs.values())


@asynccontextmanager
async def living_in(url: str, waiting: int = 100) -> AsyncIterator[Town]:
    feed = CustomerFeed(url, waiting)
    async with open_bus(url) as bus, supervise({"feed": feed.run}):
        await bus.ensure_streams(
            [EventRecorded, CustomerChanged, CustomersMerged, type(decision_recorded())]
        )
        await until(lambda: feed.is_connected)
        yield Town(feed, bus)
        assert feed.customer_ids == set(), "somebody is still listened for"


@pytest.fixture
async def town(nats_url: str) -> AsyncIterator[Town]:
    async with living_in(nats_url) as town:
        yield town


async def test_what_happens_comes_in_order_after_watching(town: Town) -> None:
    async with town.feed.watch(town.ann) as watch:
        events = [recorded(customer=town.ann), decision_recorded(town.ann), recorded("b", town.ann)]
        await town.happens(*events)

        first, *activities = await heard(watch, 4)

    assert first.kind is WATCHING
    assert [activity.content for activity in activities] == events
    assert {activity.customer_id for activity in activities} == {town.ann}


async def test_nothing_of_another_customer_comes(town: Town) -> None:
    async with town.feed.watch(town.ann) as anns, town.feed.watch(town.ben) as bens:
        for _ in range(20):
            await town.happens(recorded("a", town.ann), recorded("b", town.ben))

        of_ann, of_ben = await heard(anns, 21), await heard(bens, 21)

    assert {activity.customer_id for activity in of_ann} == {town.ann}
    assert {activity.customer_id for activity in of_ben} == {town.ben}


async def test_all_watches_on_a_customer_share_one_subscription_until_the_last_ends(
    town: Town,
) -> None:
    async with AsyncExitStack() as watchers:
        watches = [await watchers.enter_async_context(town.feed.watch(town.ann)) for _ in range(5)]
        assert subscriptions(town.feed) == 2
        await town.happens(recorded(customer=town.ann))
        assert [await kinds(watch, 2) for watch in watches] == [[WATCHING, EVENT]] * 5

    await town.watched()
    await until(lambda: subscriptions(town.feed) == 1)


async def test_many_come_and_go_at_once_and_nothing_is_left(town: Town) -> None:
    async def look(number: int) -> None:
        customer = (town.ann, town.ben)[number % 2]
        async with town.feed.watch(customer) as watch:
            await heard(watch)

    tasks = [asyncio.create_task(look(number)) for number in range(100)]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks[::3]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    await town.watched()
    await until(lambda: subscriptions(town.feed) == 1)


async def test_an_event_that_is_sent_again_comes_once(town: Town) -> None:
    async with town.feed.watch(town.ann) as watch:
        once, last = recorded("once", town.ann), recorded("last", town.ann)
        await town.happens(once, once, once, last)

        _, first, second = await heard(watch, 3)

    assert (first.content, second.content) == (once, last)


async def test_a_change_is_found_by_comparing_with_the_last_snapshot(town: Town) -> None:
    await town.happens(changed(1, town.ann, town="Delft", name="Ann"))
    async with town.feed.watch(town.ann) as watch:
        await town.happens(
            changed(2, town.ann, town="Delft", name="Ann"),  # nothing new but an event
            changed(3, town.ann, town="Breda", name="Ann"),
            changed(1, town.ann, town="Delft", name="Ann"),  # late
            recorded(customer=town.ann),
        )

        _, change, event = await heard(watch, 3)

    assert change.content == CustomerDiff(traits=("town",))
    assert event.kind is EVENT


async def test_all_is_new_about_a_customer_nothing_was_said_of(town: Town) -> None:
    async with town.feed.watch(town.ann) as watch:
        await town.happens(changed(1, town.ann, town="Delft"))

        _, change = await heard(watch, 2)

    assert change.content == CustomerDiff(traits=("town",), identities=("email",))


async def test_a_watch_on_a_customer_that_is_merged_goes_on_with_the_one_that_remains(
    town: Town,
) -> None:
    async with town.feed.watch(town.ben) as bens, town.feed.watch(town.ann) as anns:
        await heard(bens), await heard(anns)
        await town.happens(merged(gone=town.ben, into=town.ann))
        of_ben, of_ann = await heard(bens, 2), await heard(anns)
        await town.happens(recorded("for both", town.ann), recorded("for nobody", town.ben))
        later = [*await heard(bens), *await heard(anns)]
        await town.watched(town.ann)

    assert [activity.kind for activity in of_ben] == [ActivityKind.MERGED, WATCHING]
    assert [activity.kind for activity in of_ann] == [ActivityKind.MERGED]
    assert {activity.customer_id for activity in (*of_ben, *of_ann, *later)} == {town.ann}
    assert all(getattr(activity.content, "name", "") == "for both" for activity in later)


async def test_a_merge_into_somebody_nobody_watched_yet_is_followed(town: Town) -> None:
    async with town.feed.watch(town.ben) as watch:
        await town.happens(merged(gone=town.ben, into=town.ann))
        assert await kinds(watch, 3) == [WATCHING, ActivityKind.MERGED, WATCHING]
        await town.happens(recorded(customer=town.ann))

        assert await kinds(watch, 1) == [EVENT]
        assert town.feed.customer_ids == {town.ann}


@pytest.mark.parametrize("source", [LinkSource.WRITE_KEY, LinkSource.VISITOR, None])
async def test_a_caller_that_speaks_for_one_customer_follows_no_unproved_merge(
    town: Town, source: LinkSource | None
) -> None:
    watching = partial(town.feed.watch, town.ben)
    async with watching(follows_unproved=False) as own, watching() as staffs:
        await heard(own), await heard(staffs)
        merge = merged(gone=town.ben, into=town.ann).model_copy(update={"linked_by": source})
        await town.happens(merge, recorded("secret", town.ann))

        with pytest.raises(UnprovedLink):
            await heard(own)

        assert await kinds(staffs, 1) == [ActivityKind.MERGED]


async def test_a_caller_that_speaks_for_one_customer_follows_a_merge_by_a_server(
    town: Town,
) -> None:
    async with town.feed.watch(town.ben, follows_unproved=False) as watch:
        by_server = {"linked_by": LinkSource.SERVER}
        await town.happens(merged(gone=town.ben, into=town.ann).model_copy(update=by_server))

        assert await kinds(watch, 3) == [WATCHING, ActivityKind.MERGED, WATCHING]


async def test_what_cannot_be_read_is_left_out(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    event = recorded(customer=town.ann)
    async with town.feed.watch(town.ann) as watch:
        for body in (b"", b"{}", b"[]", b"\xff", recorded(customer=town.ben).to_cloudevent()):
            await town._bus.publish([OutgoingMessage(event.address(), str(uuid4()), body)])
        await town.happens(event)

        assert [activity.content for activity in await heard(watch, 2)] == [None, event]
    assert caplog.text.count("an event cannot be read") == 5


async def test_a_watch_that_falls_behind_gets_a_gap(nats_url: str) -> None:
    async with living_in(nats_url, waiting=10) as town, town.feed.watch(town.ann) as watch:
        await town.happens(*(recorded(str(number), town.ann) for number in range(25)))
        await until(lambda: len(town.feed._event_ids) == 25)

        first, *rest = await heard(watch, len(watch._waiting))

    assert first.kind is GAP
    assert [getattr(activity.content, "name", "") for activity in rest][-1] == "24"
    assert len(rest) <= 10


async def test_an_outage_is_reported_when_it_begins_and_when_it_ends(tmp_path: Path) -> None:
    port = free_port()
    server = embedded.nats_process(tmp_path / "nats", port, "secret")
    feed = CustomerFeed(f"nats://raak:secret@127.0.0.1:{port}", 100)
    with embedded.run_server(server):
        async with supervise({"feed": feed.run}):
            await until(lambda: feed.is_connected)
            async with feed.watch(uuid4()) as watch:
                await asyncio.to_thread(server.stop)
                told = await kinds(watch, 2)
                with pytest.raises(LiveUnavailable):
                    async with feed.watch(uuid4()):
                        pass
                server.start()
                told += await kinds(watch, 1)
                async with open_bus(feed._url) as bus:
                    town = Town(feed, bus)
                    await bus.ensure_streams([EventRecorded])
                    await town.happens(recorded(customer=watch.customer.customer_id))
                    told += await kinds(watch, 1)

    assert told == [WATCHING, ActivityKind.INTERRUPTED, GAP, EVENT]


async def test_nobody_is_watched_while_nats_has_never_answered() -> None:
    feed = CustomerFeed(f"nats://127.0.0.1:{free_port()}", 100)
    async with supervise({"feed": feed.run}):
        with pytest.raises(LiveUnavailable, match="NATS does not answer"):
            async with feed.watch(uuid4()):
                pass

    assert feed.customer_ids == set()


async def test_silence_of_nats_is_noticed_within_seconds() -> None:
    assert customer_feed.PING_S * 3 <= 15
