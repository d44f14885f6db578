"""Decision telling again what it holds, and its catalogue in a new epoch."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

from services.chassis import epochs
from services.contracts.base import Event
from services.contracts.decision import DecisionRecorded, DecisionSeriesNeeded, OutcomeRecorded
from services.decision.service.resync import build_sources
from tests.integration.decision.conftest import CATALOGUE, Replica, snapshot


async def tell_all(replica: Replica, hours: float = 1) -> list[Event]:
    """Everything a resync would tell."""
    events: list[Event] = []
    for source in build_sources(replica.context.catalogue_cache, replica.clock).values():
        after: Any = ()
        while after is not None:
            async with replica.database.transaction() as connection:
                since = replica.now - timedelta(hours=hours)
                page = await source(connection, after or None, since, 2)
            events, after = [*events, *page.events], page.after
    return events


async def test_decisions_and_outcomes_are_published_again_under_their_ids(replica: Replica) -> None:
    for _ in range(3):
        customer = uuid4()
        await replica.know(snapshot(customer))
        decision = await replica.offers({"id": str(customer)})
        await replica.report(decision["propositions"][0]["id"], "CLICKED")

    events = await tell_all(replica)

    for fact in (DecisionRecorded, OutcomeRecorded):
        known = {event.event_id: event for event in await replica.published(fact)}
        again = {event.event_id: event for event in events if isinstance(event, fact)}
        assert again == known
        assert len(known) == 3


async def test_what_was_long_ago_is_not_published_again(replica: Replica) -> None:
    customer = uuid4()
    await replica.know(snapshot(customer))
    decision = await replica.offers({"id": str(customer)})
    await replica.report(decision["propositions"][0]["id"], "CLICKED")
    replica.now += timedelta(days=400)

    events = await tell_all(replica)

    assert [type(event) for event in events] == [DecisionSeriesNeeded]


async def test_in_a_new_epoch_a_catalogue_asks_by_numbers_above_all_of_before(
    replica: Replica,
) -> None:
    for version in range(2, 6):
        await replica.publish(f"{CATALOGUE}# {version}\n")
    [*_, last] = await replica.published(DecisionSeriesNeeded)
    async with replica.database.transaction() as connection:  # the backup had fewer
        await connection.execute("DELETE FROM catalogue_version WHERE version > 1")
        await epochs.begin(connection)

    [event] = [one for one in await tell_all(replica) if isinstance(one, DecisionSeriesNeeded)]

    assert event.version > last.version
    assert event.grew_in > last.grew_in
    assert replica.context.catalogue_cache.current is not None
    assert replica.context.catalogue_cache.current.declaration.grew_in == event.grew_in
