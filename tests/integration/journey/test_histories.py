"""A history that a new journey asks for is not known of customers until it has been looked up."""

from typing import Any
from uuid import uuid4

from services.contracts.journey import JourneySeriesNeeded
from tests.integration.journey.world import World

ANN, BOB = uuid4(), uuid4()
COUNT = 'events.count("order_paid")'
WELCOME = f"""
key: welcome
name: Welcome
entry:
  event: shop_visited
  when: {COUNT} == 0
steps:
  - {{key: rest, wait: {{for: 1h}}}}
  - {{key: done, exit: done}}
"""
LOYAL = WELCOME.replace("event: shop_visited", "again: once").replace("== 0", ">= 2")
NEWCOMERS = LOYAL.replace(">= 2", "== 0")


def paid(count: int) -> dict[str, Any]:
    """The history of somebody who paid so many orders."""
    at = [1_700_000_000_000_000, None]
    return {'"order_paid"': {"count": count, "first": at, "last": at, "times": []}}


def answers(revision: int, series: dict[str, Any] | None = None) -> dict[str, Any]:
    """The parts of a snapshot computed for a revision of the journeys."""
    return {"series": series or {}, "series_versions": {"journey": revision}}


async def test_a_loyal_customer_is_not_welcomed_while_their_history_is_being_looked_up(
    world: World,
) -> None:
    await world.handle_events(
        world.snapshot(ANN, 1, **answers(0)), world.snapshot(BOB, 1, **answers(0))
    )
    row = await world.publish(WELCOME)

    await world.handle_events(world.event(ANN, "shop_visited"), world.event(BOB, "shop_visited"))
    too_early = await world.instances()
    await world.handle_events(
        world.snapshot(ANN, 2, **answers(row.revision, paid(3))),
        world.snapshot(BOB, 2, **answers(row.revision)),
    )
    await world.handle_events(world.event(ANN, "shop_visited"), world.event(BOB, "shop_visited"))

    assert too_early == []
    assert [instance["customer_id"] for instance in await world.instances()] == [BOB]


async def test_an_unknown_visitor_has_no_history(world: World) -> None:
    await world.publish(WELCOME)

    await world.handle_events(world.event(ANN, "shop_visited"))

    assert len(await world.instances(ANN)) == 1


async def test_looking_a_history_up_lets_nobody_in(world: World) -> None:
    await world.handle_events(
        world.snapshot(ANN, 1, **answers(0)), world.snapshot(BOB, 1, **answers(0))
    )
    await world.publish(LOYAL)
    row = await world.publish(NEWCOMERS.replace("key: welcome", "key: newcomers"))

    await world.handle_events(
        world.snapshot(ANN, 2, **answers(row.revision, paid(3))),
        world.snapshot(BOB, 2, **answers(row.revision)),
    )

    assert await world.instances() == []


async def test_coming_to_fit_after_the_history_was_looked_up_lets_a_customer_in(
    world: World,
) -> None:
    await world.handle_events(world.snapshot(ANN, 1, **answers(0)))
    row = await world.publish(LOYAL)
    await world.handle_events(world.snapshot(ANN, 2, **answers(row.revision, paid(1))))

    await world.handle_events(world.snapshot(ANN, 3, **answers(row.revision, paid(2))))

    assert len(await world.instances(ANN)) == 1


async def test_another_version_that_asks_for_as_much_makes_nothing_unknown(world: World) -> None:
    row = await world.publish(WELCOME)
    await world.handle_events(world.snapshot(ANN, 1, **answers(row.revision)))
    later = await world.publish(WELCOME.replace("for: 1h", "for: 2h"))

    await world.handle_events(world.event(ANN, "shop_visited"))

    assert len(await world.instances(ANN)) == 1
    published = await world.published(JourneySeriesNeeded)
    assert [one.version for one in published] == [row.revision, later.revision]
    assert [one.grew_in for one in published] == [row.revision, row.revision]


async def test_a_timer_waits_for_no_history_and_takes_the_other_way(world: World) -> None:
    branching = WELCOME.replace(f"  when: {COUNT} == 0\n", "").replace(
        "  - {key: done",
        "  - key: ask\n"
        f"    branch: [{{when: '{COUNT} == 0', next: gift}}]\n"
        "    otherwise: done\n"
        "  - {key: gift, exit: gift}\n"
        "  - {key: done",
    )
    await world.handle_events(world.snapshot(ANN, 1, **answers(0)))
    await world.publish(branching)
    await world.handle_events(world.event(ANN, "shop_visited"), world.event(BOB, "shop_visited"))

    await world.pass_time(hours=1)

    reasons = {
        instance["customer_id"]: instance["end_reason"] for instance in await world.instances()
    }
    assert reasons == {ANN: "done", BOB: "gift"}


async def test_a_history_that_profile_could_not_send_is_no_history_without_events(
    world: World,
) -> None:
    row = await world.publish(WELCOME)
    unknown = {'"order_paid"': None}
    await world.handle_events(world.snapshot(ANN, 1, **answers(row.revision, unknown)))

    await world.handle_events(world.event(ANN, "shop_visited"))

    assert await world.instances() == []


async def test_losing_a_history_to_its_size_and_getting_it_back_lets_nobody_in(
    world: World,
) -> None:
    row = await world.publish(LOYAL)
    await world.handle_events(
        world.snapshot(ANN, 1, **answers(row.revision, {'"order_paid"': None}))
    )

    await world.handle_events(world.snapshot(ANN, 2, **answers(row.revision, paid(3))))

    assert await world.instances() == []
