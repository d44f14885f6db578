"""Profile restored to an earlier state, and profile telling again what it holds."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import pytest

from services.chassis import epochs
from services.chassis.database import Connection
from services.chassis.resync import CHUNK
from services.contracts.enums import SenderClass
from services.contracts.profile import CustomerChanged, CustomersMerged, EventRecorded
from services.profile.service import refreshing
from services.profile.service.resync import load_customers
from services.profile.service.segment_cache import SegmentCache
from tests.integration.profile.conftest import START, Profile, identify, track


async def begin_epoch(profile: Profile) -> None:
    """As after a restore."""
    async with profile.database.transaction() as connection:
        await epochs.begin(connection)


async def publish_all(profile: Profile, since: timedelta = timedelta(0)) -> list[object]:
    """Everything a resync would tell."""
    source, after = partial(load_customers, profile.segment_cache, profile.clock), None
    events: list[object] = []
    while True:
        async with profile.database.transaction() as connection:
            page = await source(connection, after, profile.now - since, CHUNK)
        events += page.events
        if (after := page.after) is None:
            return events


async def test_in_a_new_epoch_a_customers_next_version_is_above_all_of_before(
    profile: Profile,
) -> None:
    for age in range(5):
        await profile.collect(identify(anonymousId="a", traits={"age": age}))
    highest = (await profile.snapshot("anonymous_id", "a")).version
    async with profile.database.transaction() as connection:  # the backup knew less of them
        await connection.execute("UPDATE customer SET version = 1")
    await begin_epoch(profile)

    await profile.collect(identify(anonymousId="a", traits={"age": 5}), track())
    await profile.collect(track(anonymousId="new"))

    version = (await profile.snapshot("anonymous_id", "a")).version
    assert version > highest
    assert (await profile.published(EventRecorded))[-2].customer_version == version
    assert (await profile.snapshot("anonymous_id", "new")).version > highest


async def test_a_resync_tells_every_customer_as_he_is_under_the_version_he_has(
    profile: Profile,
) -> None:
    await profile.collect(track(), track(anonymousId="b"))
    known = await profile.snapshot("anonymous_id", "a")
    await profile.collect(*(track(anonymousId=f"c{n}") for n in range(CHUNK)))

    events = [one for one in await publish_all(profile) if isinstance(one, CustomerChanged)]
    again = [one for one in await publish_all(profile) if isinstance(one, CustomerChanged)]

    [same] = [one for one in events if one.customer_id == known.customer_id]
    assert same.model_copy(update={"event_id": known.event_id}) == known
    assert len(events) == CHUNK + 2
    assert [one.version for one in events] == [one.version for one in again]


async def test_a_resync_in_a_new_epoch_tells_everybody_above_what_was_heard(
    profile: Profile,
) -> None:
    for age in range(3):
        await profile.collect(identify(anonymousId="a", traits={"age": age}))
    before = await profile.snapshot("anonymous_id", "a")
    await begin_epoch(profile)

    events = [one for one in await publish_all(profile) if isinstance(one, CustomerChanged)]
    again = [one for one in await publish_all(profile) if isinstance(one, CustomerChanged)]

    assert [one.version > before.version for one in events] == [True]
    assert [one.version for one in again] == [one.version for one in events]


async def test_recent_events_and_merges_are_told_again_under_their_ids(profile: Profile) -> None:
    await profile.collect(track(at=START, context={"campaign": {"name": "x"}}))
    await profile.collect(identify(userId="ann", anonymousId="a"))
    profile.now += timedelta(hours=2)
    await profile.collect(track("order_completed", at=profile.now, userId="ann"))

    all_of_it = await publish_all(profile, timedelta(days=1))
    latest = await publish_all(profile, timedelta(hours=1))

    first, second = await profile.published(EventRecorded)
    events = [one for one in all_of_it if isinstance(one, EventRecorded)]
    assert [(e.event_id, e.name, e.properties, e.context, e.identity) for e in events] == [
        (e.event_id, e.name, e.properties, e.context, e.identity) for e in (first, second)
    ]
    merges = await profile.published(CustomersMerged)
    assert [one for one in all_of_it if isinstance(one, CustomersMerged)] == merges
    assert [one.event_id for one in latest if isinstance(one, EventRecorded)] == [second.event_id]


async def test_an_event_and_a_merge_are_told_again_by_whose_word_they_are(profile: Profile) -> None:
    await profile.collect(track(), sender=SenderClass.WRITE_KEY)
    await profile.collect(identify(userId="ann"))
    await profile.collect(identify(userId="ann", anonymousId="a"))

    events = await publish_all(profile, timedelta(days=1))

    assert [one.sender for one in events if isinstance(one, EventRecorded)] == ["write_key"]
    assert [one.is_proved for one in events if isinstance(one, CustomersMerged)] == [True]


async def test_who_cannot_be_brought_up_to_date_keeps_no_other_from_being_told(
    profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    await profile.collect(*(track(anonymousId=f"v{n}") for n in range(9)))
    poisonous = (await profile.customer("anonymous_id", "v4")).id
    compute = refreshing._recompute

    async def fail(
        connection: Connection, cache: SegmentCache, ids: Sequence[UUID], now: datetime
    ) -> None:
        await compute(connection, cache, ids, now)
        if poisonous in ids:
            raise ArithmeticError

    await profile.publish_only("{key: seen, name: Seen, condition: \"events.count('x') >= 0\"}")
    with monkeypatch.context() as patch:
        patch.setattr(refreshing, "_recompute", fail)
        events = [one for one in await publish_all(profile) if isinstance(one, CustomerChanged)]
    profile.now += timedelta(minutes=1)
    await profile.refresh_all()

    assert len(events) == 8
    assert poisonous not in {one.customer_id for one in events}
    assert {one.segments for one in events} == {("seen",)}
    assert (await profile.snapshot("anonymous_id", "v4")).segments == ("seen",)
