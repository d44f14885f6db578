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
from services.chassis.bus import Bus, OutgoingMessage, open_bus
from services.chassis.database import Connection, Database
from services.chassis.handling import Consumer
from services.chassis.ids import new_id
from services.chassis.outbox import Relay
from services.chassis.server import supervised
from services.contracts.base import Event
from tests.integration.chassis.talking import (
    NOON,
    Spoken,
    outgoing,
    spoken,
    told,
    until,
    write_down,
)


class Portrait(Event):
    """All that is known of somebody now."""

    fact: ClassVar[str] = "tests.portrait.v1"
    compacted: ClassVar[bool] = True

    version: int


async def test_what_a_transaction_published_is_handled_in_order(
    database: Database, bus: Bus
) -> None:
    await bus.keep([Spoken])
    words = [f"word {n}" for n in range(1_200)]  # more than one batch of the relay
    consumer = Consumer("listener", Spoken, write_down, database, bus)

    async with supervised({"relay": Relay(database, bus).run, "consumer": consumer.run}):
        async with database.transaction() as connection:
            await outbox.publish(connection, [spoken(word) for word in words])

        async def all_told() -> bool:
            return len(await told(database)) >= len(words)

        await until(all_told)

    assert await told(database) == words
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM outbox") == 0


async def test_an_event_of_a_failed_transaction_is_never_sent(database: Database, bus: Bus) -> None:
    with suppress(ZeroDivisionError):
        async with database.transaction() as connection:
            await outbox.publish(connection, [spoken("never")])
            raise ZeroDivisionError

    async with database.connection() as connection:
        assert await Relay(database, bus).relay_once(connection) == 0


async def test_what_a_killed_replica_had_in_hand_is_handled_by_the_next_one(
    database: Database, bus: Bus, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chassis_bus, "REDELIVERED_S", 1)
    words = [f"word {n}" for n in range(10)]
    await bus.keep([Spoken])
    await bus.publish(outgoing([spoken(word) for word in words]))
    async with open_bus(nats_url) as dying:
        in_hand: asyncio.Queue[Msg] = asyncio.Queue()
        await dying.subscribe("listener", Spoken.fact, in_hand.put)
        for _ in words:
            await in_hand.get()  # and never acknowledges it

    async with supervised({"c": Consumer("listener", Spoken, write_down, database, bus).run}):

        async def all_told() -> bool:
            return len(await told(database)) >= len(words)

        await until(all_told)

    assert sorted(await told(database)) == sorted(words)


async def test_an_event_delivered_twice_is_handled_once(database: Database, bus: Bus) -> None:
    await bus.keep([Spoken])
    once, last = spoken("once"), spoken("last")
    # other message ids, so that JetStream does not recognise the repetition but the inbox must
    messages = [
        OutgoingMessage(event.address(), str(uuid4()), event.to_cloudevent())
        for event in (once, once, once, last)
    ]

    async with supervised({"c": Consumer("listener", Spoken, write_down, database, bus).run}):
        await bus.publish(messages)

        async def last_told() -> bool:
            return "last" in await told(database)

        await until(last_told)

    assert await told(database) == ["once", "last"]


async def test_a_poisonous_event_dies_alone_and_can_be_replayed(
    database: Database, bus: Bus
) -> None:
    await bus.keep([Spoken])
    events = [spoken("before"), spoken("poison"), spoken("after")]

    async with supervised({"c": Consumer("listener", Spoken, write_down, database, bus).run}):
        await bus.publish(outgoing(events))

        async def one_dead() -> bool:
            return len(await bus.dead_letters()) == 1

        await until(one_dead, seconds=30)
        assert sorted(await told(database)) == ["after", "before"]

        [letter] = await bus.dead_letters()
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
            return "cured" in await told(database)

        await until(cured)
        assert await bus.dead_letters() == []


async def test_a_compacted_stream_keeps_the_latest_event_of_each_customer(
    database: Database, bus: Bus
) -> None:
    await bus.keep([Portrait])
    ann, bob = uuid4(), uuid4()
    portraits = [
        Portrait(event_id=new_id(), customer_id=who, occurred_at=NOON, version=version)
        for who, version in [(ann, 1), (bob, 1), (ann, 2), (ann, 3)]
    ]
    await bus.publish(outgoing(portraits))
    seen: dict[UUID | None, list[int]] = {}

    async def look(connection: Connection, events: Sequence[Portrait]) -> None:
        for event in events:
            seen.setdefault(event.customer_id, []).append(event.version)

    async with supervised({"c": Consumer("newcomer", Portrait, look, database, bus).run}):

        async def both_seen() -> bool:
            return len(seen) == 2

        await until(both_seen)

    assert seen == {ann: [3], bob: [1]}


async def test_an_event_no_bus_can_carry_is_refused_where_it_is_made(database: Database) -> None:
    async with database.connection() as connection:
        with pytest.raises(outbox.MessageTooLarge, match="send less at once"):
            await outbox.publish(connection, [spoken("x" * 1_000_001)])


async def test_a_wrong_argument_to_the_database_is_the_events_fault_not_the_databases(
    database: Database, bus: Bus
) -> None:
    await bus.keep([Spoken])

    async def confuse(connection: Connection, events: Sequence[Spoken]) -> None:
        for event in events:
            argument = 7 if event.text == "poison" else event.text
            await connection.execute("INSERT INTO told VALUES (NULL, $1)", argument)

    async with supervised({"c": Consumer("listener", Spoken, confuse, database, bus).run}):
        await bus.publish(outgoing([spoken("before"), spoken("poison"), spoken("after")]))

        async def the_others_told() -> bool:
            return len(await told(database)) == 2

        await until(the_others_told)

    assert sorted(await told(database)) == ["after", "before"]


async def test_the_backlog_counts_events_until_they_are_taken_in(
    database: Database, bus: Bus
) -> None:
    await bus.keep([Spoken])
    held: list[Msg] = []

    async def hold(message: Msg) -> None:
        held.append(message)

    async with database.connection() as connection:
        await outbox.publish(connection, [spoken(f"word {n}") for n in range(3)])
        assert await outbox.backlog(connection, bus, Spoken) == 3  # still in the outbox

        await bus.subscribe("listener", Spoken.fact, hold)
        await Relay(database, bus).relay_once(connection)
        assert await outbox.backlog(connection, bus, Spoken) == 3  # sent, and not taken in

        async def all_held() -> bool:
            return len(held) == 3

        await until(all_held)
        for message in held:
            await message.ack_sync()
        assert await outbox.backlog(connection, bus, Spoken) == 0


async def test_the_inbox_lets_an_event_in_once_whatever_list_it_comes_in(
    database: Database,
) -> None:
    once, other = spoken("once"), spoken("other")
    async with database.transaction() as connection:
        assert await outbox.take_in(connection, "listener", [once]) == [once]

    async with database.transaction() as connection:
        fresh = await outbox.take_in(connection, "listener", [once, other, other])

    assert fresh == [other]
