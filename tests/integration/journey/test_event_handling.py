"""Journeys on a real database: who enters, what moves them, what is published."""

import asyncio
import threading
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from services.contracts.journey import InstanceEnded, JourneySeriesNeeded, MessageDue, StepEntered
from services.journey.service.engine import Engine
from services.journey.service.event_handling import IncomingEvent, handle_events
from services.journey.store import customers
from tests.integration.journey.world import World
from tests.reading import reading_threads
from tests.unit.journey.journeys import CART, LAPSING, NOON, ROUND, TWICE, event
from tests.waiting import until

ANN, BOB = uuid4(), uuid4()
REACHABLE = {"consents": {"email_marketing": True}, "traits": {"email": "ann@example.com"}}


async def test_a_journey_runs_from_event_over_timer_to_message_and_end(world: World) -> None:
    await world.publish(CART)
    await world.handle_events(world.snapshot(ANN, 1, **REACHABLE))

    await world.handle_events(
        world.event(ANN, "product_added", value=25, cart_id="c1", product="LP")
    )
    assert await world.pass_time(hours=1) == 0
    assert await world.pass_time(hours=1) == 1
    await world.handle_events(world.event(ANN, "mail_clicked", template="cart_reminder"))

    [instance] = await world.instances(ANN)
    assert (instance["step"], instance["end_reason"], instance["key"]) == (
        "helped",
        "clicked",
        "c1",
    )
    entered = await world.published(StepEntered)
    assert [(one.state.sequence, one.state.step, one.state.phase) for one in entered] == [
        (1, "think", "orientation"),
        (2, "has_mail", "orientation"),
        (3, "remind", "purchase"),
        (4, "answer", "purchase"),
        (5, "helped", "purchase"),
    ]
    [due] = await world.published(MessageDue)
    assert due.content["subject"] == "Hello, your LP is waiting"
    assert (due.channel, due.state.sequence, due.customer_id) == ("EMAIL", 3, ANN)
    [ended] = await world.published(InstanceEnded)
    assert (ended.reason, ended.state.sequence) == ("clicked", 6)


async def test_an_older_version_somebody_is_under_way_on_is_read_beside_what_others_wait_for(
    world: World,
) -> None:
    await world.publish(CART)
    await world.handle_events(world.event(ANN, "product_added", value=25, cart_id="c1"))
    await world.publish(CART.replace("name: ", "name: New "))
    world.start_again()

    with reading_threads() as threads:
        await world.handle_events(world.event(ANN, "order_completed", cart_id="c1"))

    [instance] = await world.instances()
    assert (instance["version"], instance["end_reason"]) == (1, "bought")
    assert threads
    assert threading.get_ident() not in threads


async def test_consent_withdrawn_while_waiting_keeps_the_message_back(world: World) -> None:
    await world.publish(CART)
    await world.handle_events(world.snapshot(ANN, 1, **REACHABLE))
    await world.handle_events(world.event(ANN, "product_added", value=25, cart_id="c1"))

    await world.handle_events(world.snapshot(ANN, 2, consents={"email_marketing": False}))
    await world.pass_time(hours=2)

    [instance] = await world.instances()
    assert instance["end_reason"] == "not interested"
    assert await world.published(MessageDue) == []


async def test_an_order_ends_the_journey_of_its_cart_only(world: World) -> None:
    await world.publish(CART)
    await world.handle_events(
        world.event(ANN, "product_added", value=25, cart_id="c1"),
        world.event(ANN, "product_added", value=25, cart_id="c2"),
        world.event(BOB, "product_added", value=25, cart_id="c1"),
        world.event(ANN, "order_completed", cart_id="c1"),
    )

    instances = await world.instances()

    assert [
        (instance["customer_id"], instance["key"], instance["end_reason"]) for instance in instances
    ] == [
        (ANN, "c1", "bought"),
        (ANN, "c2", None),
        (BOB, "c1", None),
    ]


async def test_what_happened_long_ago_lets_nobody_in(world: World) -> None:
    await world.publish(CART)
    week = timedelta(days=7)

    await world.handle_events(
        world.event(ANN, "product_added", week + timedelta(seconds=1), value=25, cart_id="old"),
        world.event(ANN, "product_added", week, value=25, cart_id="new"),
    )

    assert [instance["key"] for instance in await world.instances()] == ["new"]


async def test_a_journey_can_be_stricter_about_what_is_late(world: World) -> None:
    strict = CART.replace("  when: event.value", "  enter_late: 1h\n  when: event.value")
    await world.publish(strict)

    await world.handle_events(
        world.event(ANN, "product_added", timedelta(minutes=61), value=25, cart_id="old"),
        world.event(ANN, "product_added", timedelta(minutes=59), value=25, cart_id="new"),
    )

    assert [instance["key"] for instance in await world.instances()] == ["new"]


async def test_an_old_event_still_ends_an_instance_that_began_before_it(world: World) -> None:
    await world.publish(CART)
    await world.handle_events(world.event(ANN, "product_added", value=25, cart_id="c1"))
    order = world.event(ANN, "order_completed", cart_id="c1")

    world.now += timedelta(days=8)
    await world.handle_events(order)

    [instance] = await world.instances()
    assert instance["end_reason"] == "bought"


async def test_entering_a_segment_lets_a_customer_in_once(world: World) -> None:
    await world.publish(LAPSING)
    dutch = {"traits": {"country": "NL"}}

    await world.handle_events(world.snapshot(ANN, 1, **dutch))
    assert await world.instances() == []
    await world.handle_events(world.snapshot(ANN, 2, segments=("lapsing",), **dutch))
    await world.handle_events(world.snapshot(ANN, 3, segments=("lapsing", "vip"), **dutch))
    await world.pass_time(hours=1)
    await world.handle_events(world.snapshot(ANN, 4, segments=("lapsing",), **dutch))

    [instance] = await world.instances()
    assert instance["end_reason"] == "done"


async def test_an_older_snapshot_changes_nothing(world: World) -> None:
    await world.publish(LAPSING)
    dutch = {"traits": {"country": "NL"}}
    await world.handle_events(world.snapshot(ANN, 5, **dutch))

    await world.handle_events(world.snapshot(ANN, 4, segments=("lapsing",), **dutch))

    assert await world.instances() == []


async def test_being_in_a_segment_when_a_journey_is_published_lets_nobody_in(world: World) -> None:
    dutch = {"traits": {"country": "NL"}, "segments": ("lapsing",)}
    await world.handle_events(world.snapshot(ANN, 1, **dutch))
    await world.publish(LAPSING)

    await world.handle_events(world.snapshot(ANN, 2, **dutch))

    assert await world.instances() == []


async def test_reactions_to_offers_are_events_too(world: World) -> None:
    await world.publish(
        TWICE.replace("{event: e}", '{event: outcome_accepted, when: event.action == "lp"}')
    )

    await world.handle_events(
        world.outcome(ANN, "ACCEPTED", "cd"),
        world.outcome(ANN, "REJECTED", "lp"),
        world.outcome(BOB, "ACCEPTED", "lp"),
    )

    assert [instance["customer_id"] for instance in await world.instances()] == [BOB]


async def test_instances_finish_on_the_version_they_began_with(world: World) -> None:
    await world.publish(CART)
    await world.handle_events(world.event(ANN, "product_added", value=25, cart_id="c1"))
    second = await world.publish(
        CART.replace("for: 2h", "for: 5m").replace("exit: not interested", "exit: second")
    )

    await world.handle_events(world.event(BOB, "product_added", value=25, cart_id="c1"))
    await world.pass_time(hours=2)

    assert second.version == 2
    assert [
        (instance["version"], instance["end_reason"]) for instance in await world.instances()
    ] == [
        (1, "not interested"),
        (2, "second"),
    ]


async def test_an_event_only_an_old_version_listens_to_still_moves_its_instances(
    world: World,
) -> None:
    await world.publish(CART)
    await world.handle_events(world.event(ANN, "product_added", value=25, cart_id="c1"))
    await world.publish(CART.replace("order_completed", "order_paid"))

    await world.handle_events(world.event(ANN, "order_completed", cart_id="c1"))

    [instance] = await world.instances()
    assert instance["end_reason"] == "bought"


async def test_publishing_the_same_again_changes_nothing(world: World) -> None:
    first = await world.publish(CART)

    assert await world.publish(CART) == first
    assert len(await world.published(JourneySeriesNeeded)) == 1


async def test_a_paused_journey_lets_nobody_in_and_lets_those_inside_finish(world: World) -> None:
    await world.publish(CART)
    await world.handle_events(world.event(ANN, "product_added", value=25, cart_id="c1"))
    await world.publish(CART + "paused: true\n")

    await world.handle_events(world.event(BOB, "product_added", value=25, cart_id="c1"))
    await world.pass_time(hours=2)

    [instance] = await world.instances()
    assert instance["end_reason"] == "not interested"


async def test_series_are_needed_as_long_as_an_instance_needs_them(world: World) -> None:
    often = """'events.count("stop", last="2d") > 1'"""
    counting = ROUND.replace("[{event: stop}]", f"[{{when: {often}}}]")
    await world.publish(counting)
    await world.handle_events(world.event(ANN, "e"))

    await world.publish(ROUND)

    first, second = await world.published(JourneySeriesNeeded)
    assert first.version < second.version
    assert [one["event"] for one in first.series] == ["stop"]
    assert second.series == first.series
    assert first.customer_id is None


async def test_an_instance_begun_anew_ends_the_one_under_way(world: World) -> None:
    await world.publish(ROUND.replace("{event: e}", "{event: e, again: always}"))
    await world.handle_events(world.event(ANN, "e"), world.event(ANN, "e"))

    await world.handle_events(world.event(ANN, "e"))

    instances = await world.instances()
    assert [instance["end_reason"] for instance in instances] == ["restarted", "restarted", None]


async def test_a_list_moves_a_customer_through_several_steps_in_order(world: World) -> None:
    await world.publish(TWICE)

    await world.handle_events(*(world.event(ANN, "e") for _ in range(3)))

    [instance] = await world.instances()
    assert instance["end_reason"] == "done"
    assert [one.state.step for one in await world.published(StepEntered)] == ["one", "two", "done"]


async def test_an_event_waits_for_the_snapshot_that_contains_it(
    world: World, patient: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    load_versions = customers.load_versions

    async def counted(*of: Any) -> Any:
        nonlocal looks
        looks += 1
        return await load_versions(*of)

    monkeypatch.setattr(customers, "load_versions", counted)
    await world.publish(TWICE.replace("{event: e}", "{event: e, when: traits.known}"))
    await world.handle_events(world.snapshot(ANN, 1, traits={"known": False}))
    happened = IncomingEvent(ANN, event(1, "e", world.now), version=2)

    async with world.database.transaction() as connection:
        hearing = asyncio.create_task(handle_events(patient, connection, [happened]))
        await until(lambda: looks > 1)
        assert not hearing.done()
        await world.handle_events(world.snapshot(ANN, 2, traits={"known": True}))
        await hearing

    assert len(await world.instances()) == 1


async def test_an_event_does_not_wait_for_a_snapshot_for_ever(world: World) -> None:
    await world.publish(TWICE)
    hasty = world.replica(patience_s=0.05)

    async with world.database.transaction() as connection:
        await handle_events(
            hasty, connection, [IncomingEvent(ANN, event(1, "e", NOON), version=99)]
        )

    assert len(await world.instances()) == 1


async def test_another_replica_knows_a_journey_as_soon_as_it_is_published(world: World) -> None:
    other = world.replica()
    async with world.database.transaction() as connection:
        await handle_events(other, connection, [IncomingEvent(ANN, event(1, "e", NOON))])

    await world.publish(TWICE)
    async with world.database.transaction() as connection:
        await handle_events(other, connection, [IncomingEvent(ANN, event(2, "e", NOON))])

    assert len(await world.instances()) == 1
