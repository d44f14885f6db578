"""A resync of journey, numbered by its epoch."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

from services.chassis import epochs
from services.contracts.base import Event
from services.contracts.journey import InstanceEnded, JourneySeriesNeeded, MessageDue, StepEntered
from services.journey.service.resync import sources
from tests.integration.journey.world import World
from tests.unit.journey.journeys import CART

REACHABLE = {"consents": {"email_marketing": True}, "traits": {"email": "ann@example.com"}}
ADDED: dict[str, Any] = {"value": 25, "cart_id": "c1", "product": "LP"}


LOYAL = """
key: loyal
name: Loyal
entry: {event: thanked, when: events.count("order_paid") > 9}
steps:
  - {key: thank, send: {channel: EMAIL, template: thanks, purpose: email_marketing}}
  - {key: done, exit: thanked}
"""


async def resync_all(world: World) -> list[Event]:
    """Everything a resync would publish."""
    published: list[Event] = []
    for source in sources(world.engine).values():
        after: Any = ()
        while after is not None:
            async with world.database.transaction() as connection:
                page = await source(connection, after or None, world.now - timedelta(days=1), 1)
            published, after = [*published, *page.events], page.after
    return published


async def enter(world: World) -> None:
    """A new customer enters the journey."""
    customer = uuid4()
    await world.handle_events(world.snapshot(customer, 1, **REACHABLE))
    await world.handle_events(world.event(customer, "product_added", **ADDED))


async def test_instances_are_published_again_and_messages_under_their_ids(world: World) -> None:
    await world.publish(CART)
    for _ in range(7):  # more than a page
        await enter(world)
    await world.pass_time(hours=2)

    published = await resync_all(world)

    known = {step.state.instance_id: step.state for step in await world.published(StepEntered)}
    known |= {end.state.instance_id: end.state for end in await world.published(InstanceEnded)}
    again = [one.state for one in published if isinstance(one, StepEntered | InstanceEnded)]
    assert {state.instance_id: state for state in again} == known
    assert len(again) == 7
    messages = [one for one in published if isinstance(one, MessageDue)]
    assert {one.event_id for one in messages} == {
        one.event_id for one in await world.published(MessageDue)
    }
    assert messages


async def test_in_a_new_epoch_states_and_wishes_are_above_all_of_before(world: World) -> None:
    await world.publish(CART)
    await enter(world)
    [*_, step] = await world.published(StepEntered)
    await world.publish(LOYAL)
    [_, wish] = await world.published(JourneySeriesNeeded)
    async with world.database.transaction() as connection:
        await epochs.begin(connection)

    published = await resync_all(world)
    await world.pass_time(hours=2)

    [again] = [one for one in published if isinstance(one, StepEntered)]
    [wished] = [one for one in published if isinstance(one, JourneySeriesNeeded)]
    later: list[StepEntered | InstanceEnded] = [*await world.published(StepEntered)]
    later += await world.published(InstanceEnded)
    after = later[-1]
    assert step.state.sequence < again.state.sequence < after.state.sequence
    assert wish.version < wished.version
    assert wish.grew_in < wished.grew_in
