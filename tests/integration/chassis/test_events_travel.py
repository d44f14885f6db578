"""From an outbox, over JetStream, into an inbox: once each, in order, and a poisonous one alone."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import ClassVar
from uuid import UUID, uuid4

import pytest
from nats.aio.msg import Msg

from services.chassis import bus as chassis_bus
from services.chassis import outbox
from services.chassis.bus import Bus, BusUnavailable, open_bus
from services.chassis.consumer import Consumer
from services.chassis.database import Connection, Database
from services.chassis.ids import new_id
from services.chassis.outbox import Relay
from services.chassis.server import supervise
from services.chassis.streams import DeadLetter, OutgoingMessage
from services.contracts.base import Event
from tests.integration.chassis.sample_events import (
    NOON,
    Spoken,
    load_texts,
    outgoing,
    spoken,
    write_down,
)
from tests.waiting import until


class Portrait(Event):
    """All that is known of somebody now."""

    fact: ClassVar[str] = "tests.portrait.v1"
    compacted: ClassVar[bool] = True

    version: int


async def test_what_a_transaction_published_is_handled_in_order(
    database: Database, bus: Bus
) -> None:
    await bus.ensure_streams([Spoken])
    words = [f"word {n}" for n in range(1_200)]  # more than one batch of the relay
    consumer = Consumer("listener", Spoken, write_down, database, bus)

    async with supervise({"relay": Relay(database, bus).run, "consumer": consumer.run}):
        async with database.transaction() as connection:
            await outbox.publish(connection, [spoken(word) for word in words])

        async def are_all_handled() -> bool:
            return len(await load_texts(database)) >= len(words)

        await until(are_all_handled)

    assert await load_texts(database) == words
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM outbox") == 0


async def test_an_event_of_a_failed_transaction_is_never_sent(database: Database, bus: Bus) -> None:
    with suppress(ZeroDivisionError):
        async with database.transaction() as connection:
            await outbox.publish(connection, [spoken("never")])
            raise ZeroDivisionError

    async with database.connection() as connection:
        assert await Relay(database, bus).relay_batch(connection) == 0


async def test_what_a_killed_replica_had_in_hand_is_handled_by_the_next_one(
    database: Database, bus: Bus, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chassis_bus, "REDELIVER_AFTER_S", 1)
    words = [f"word {n}" for n in range(10)]
    await bus.ensure_streams([Spoken])
    await bus.publish(outgoing([spoken(word) for word in words]))
    async with open_bus(nats_url) as dying:
        in_hand: asyncio.Queue[Msg] = asyncio.Queue()
        await dying.subscribe("listener", Spoken.fact, in_hand.put)
        for _ in words:
            await in_hand.get()  # and never acknowledges it

    async with supervise({"c": Consumer("listener", Spoken, write_down, database, bus).run}):

        async def are_all_handled() -> bool:
            return len(await load_texts(database)) >= len(words)

        await until(are_all_handled)

    assert sorted(await load_texts(database)) == sorted(words)


async def test_an_event_delivered_twice_is_handled_once(database: Database, bus: Bus) -> None:
    await bus.ensure_streams([Spoken])
    once, last = spoken("once"), spoken("last")
    # other message ids, so that JetStream does not recognise the repetition but the inbox must
    messages = [
        OutgoingMessage(event.address(), str(uuid4()), event.to_cloudevent())
        for event in (once, once, once, last)
    ]

    async with supervise({"c": Consumer("listener", Spoken, write_down, database, bus).run}):
        await bus.publish(messages)

        async def is_last_handled() -> bool:
            return "last" in await load_texts(database)

        await until(is_last_handled)

    assert await load_texts(database) == ["once", "last"]


async def test_a_poisonous_event_dies_alone_and_can_be_replayed(
    database: Database, bus: Bus
) -> None:
    await bus.ensure_streams([Spoken])
    events = [spoken("before"), spoken("poison"), spoken("after")]

    async with supervise({"c": Consumer("listener", Spoken, write_down, database, bus).run}):
        await bus.publish(outgoing(events))

        async def one_dead() -> bool:
            return len(await bus.list_dead_letters()) == 1

        await until(one_dead)
        assert sorted(await load_texts(database)) == ["after", "before"]

        [letter] = await bus.list_dead_letters()
        assert (letter.service, letter.fact) == ("listener", "tests.spoken.v1")
        assert letter.deliveries == 5
        assert "poison" not in letter.reason  # the text of an error may be a person's
        assert "ValueError" in letter.reason

        mended = Spoken.from_cloudevent(letter.body).model_copy(update={"text": "cured"})
        letter = type(letter)(
            letter.sequence,
            letter.service,
            letter.fact,
            letter.reason,
            letter.deliveries,
            mended.to_cloudevent(),
        )
        await bus.replay(letter)

        async def cured() -> bool:
            return "cured" in await load_texts(database)

        await until(cured)
        assert await bus.list_dead_letters() == []


async def test_a_compacted_stream_keeps_the_latest_event_of_each_customer(
    database: Database, bus: Bus
) -> None:
    await bus.ensure_streams([Portrait])
    ann, bob = uuid4(), uuid4()
    portraits = [
        Portrait(event_id=new_id(), customer_id=who, occurred_at=NOON, version=version)
        for who, version in [(ann, 1), (bob, 1), (ann, 2), (ann, 3)]
    ]
    await bus.publish(outgoing(portraits))
    versions: dict[UUID | None, list[int]] = {}

    async def look(connection: Connection, events: Sequence[Portrait]) -> None:
        for event in events:
            versions.setdefault(event.customer_id, []).append(event.version)

    async with supervise({"c": Consumer("newcomer", Portrait, look, database, bus).run}):

        async def are_both_handled() -> bool:
            return len(versions) == 2

        await until(are_both_handled)

    assert versions == {ann: [3], bob: [1]}


async def test_an_event_no_bus_can_carry_is_refused_where_it_is_made(database: Database) -> None:
    async with database.connection() as connection:
        with pytest.raises(outbox.MessageTooLarge, match="send less at once"):
            await outbox.publish(connection, [spoken("x" * 1_000_001)])


async def test_a_wrong_argument_to_the_database_is_the_events_fault_not_the_databases(
    database: Database, bus: Bus
) -> None:
    await bus.ensure_streams([Spoken])

    async def confuse(connection: Connection, events: Sequence[Spoken]) -> None:
        for event in events:
            argument = 7 if event.text == "poison" else event.text
            await connection.execute("INSERT INTO told VALUES (NULL, $1)", argument)

    async with supervise({"c": Consumer("listener", Spoken, confuse, database, bus).run}):
        await bus.publish(outgoing([spoken("before"), spoken("poison"), spoken("after")]))

        async def are_others_handled() -> bool:
            return len(await load_texts(database)) == 2

        await until(are_others_handled)

    assert sorted(await load_texts(database)) == ["after", "before"]


async def test_the_backlog_counts_events_until_they_are_taken_in(
    database: Database, bus: Bus
) -> None:
    await bus.ensure_streams([Spoken])
    held: list[Msg] = []

    async def hold(message: Msg) -> None:
        held.append(message)

    async with database.connection() as connection:
        await outbox.publish(connection, [spoken(f"word {n}") for n in range(3)])
        assert await outbox.count_backlog(connection, bus, Spoken) == 3  # still in the outbox

        await bus.subscribe("listener", Spoken.fact, hold)
        await Relay(database, bus).relay_batch(connection)
        assert await outbox.count_backlog(connection, bus, Spoken) == 3  # sent, and not taken in

        async def all_held() -> bool:
            return len(held) == 3

        await until(all_held)
        for message in held:
            await message.ack_sync()
        assert await outbox.count_backlog(connection, bus, Spoken) == 0


async def test_the_inbox_lets_an_event_in_once_whatever_list_it_comes_in(
    database: Database,
) -> None:
    once, other = spoken("once"), spoken("other")
    async with database.transaction() as connection:
        assert await outbox.record_in_inbox(connection, "listener", [once]) == [once]

    async with database.transaction() as connection:
        fresh = await outbox.record_in_inbox(connection, "listener", [once, other, other])

    assert fresh == [other]


async def test_a_bus_that_is_closed_is_unavailable_and_no_error_of_nats(bus: Bus) -> None:
    await bus.ensure_streams([Spoken])
    letter = DeadLetter(1, "listener", Spoken.fact, "ValueError", 5, b"{}")

    await bus._client.close()

    for request in (bus.ensure_streams([Spoken]), bus.list_dead_letters(), bus.replay(letter)):
        with pytest.raises(BusUnavailable, match="ConnectionClosedError"):
            await request
