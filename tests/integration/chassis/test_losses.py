"""NATS loses what it had or stores nothing, or a database is an older one: all is heard again."""

import asyncio
import shutil
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID, uuid4

import asyncpg
import pytest
from nats.aio.msg import Msg
from nats.js.errors import NotFoundError

from infra import embedded, nats_store_probe
from infra.supervision import Supervisor
from services.chassis import consumer as chassis_consumer
from services.chassis import epochs, outbox, resync
from services.chassis.bus import Bus, BusUnavailable, open_bus
from services.chassis.consumer import EARLIER, Consumer
from services.chassis.database import Connection, Database
from services.chassis.ids import new_id
from services.chassis.outbox import Relay
from services.chassis.resync import Resync, ResyncPage, ResyncUnderWay
from services.chassis.server import Work, supervise
from services.chassis.streams import OutboxPosition, OutgoingMessage, stream_name
from services.contracts.base import Event
from tests.conftest import free_port
from tests.integration.chassis.outages import Restartable, fill
from tests.integration.chassis.sample_events import (
    NOON,
    Spoken,
    load_texts,
    spoken,
    write_down,
)
from tests.waiting import until

STREAM = stream_name(Spoken.fact)


class Portrait(Event):
    """All that is known of somebody now."""

    fact: ClassVar[str] = "tests.portrait.v1"
    compacted: ClassVar[bool] = True


async def count(database: Database, table: str) -> int:
    """How many rows a table has."""
    async with database.connection() as connection:
        return int(await connection.fetchval(f"SELECT count(*) FROM {table}"))


async def say(database: Database, *words: str) -> None:
    """Say words, in one transaction."""
    async with database.transaction() as connection:
        await outbox.publish(connection, [spoken(word) for word in words])


def sending(database: Database, bus: Bus, **more: Any) -> dict[str, Work]:
    """What keeps events on their way."""
    relay = Relay(database, bus, [Spoken, Portrait], **more)
    return {"relay": relay.run, "bus": bus.run}


def listening(database: Database, bus: Bus) -> dict[str, Work]:
    """What takes them in."""
    return {"consumer": Consumer("listener", Spoken, write_down, database, bus).run}


async def all_sent(database: Database) -> None:
    """Wait until the outbox is empty."""

    async def empty() -> bool:
        return await count(database, "outbox") == 0

    await until(empty)


async def words_heard(database: Database, *words: str) -> None:
    """Wait until all of them are written down, each once and nothing else."""

    async def are_written() -> bool:
        return sorted(await load_texts(database)) == sorted(words)

    await until(are_written)


async def delete_stream(bus: Bus) -> None:
    """As an operator does by mistake."""
    await bus._stream.delete_stream(STREAM)


async def test_an_event_is_kept_until_everybody_has_heard_it(
    database: Database, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = 0
    find_acknowledged = bus.find_acknowledged

    async def counted(stream: str, last_sequence: int) -> int:
        nonlocal checks
        checks += 1
        return await find_acknowledged(stream, last_sequence)

    monkeypatch.setattr(bus, "find_acknowledged", counted)
    monkeypatch.setattr(outbox, "CHECK_EVERY_S", 0.05)
    await bus.ensure_streams([Spoken, Portrait])
    async with supervise({**sending(database, bus), **listening(database, bus)}):
        deaf = asyncio.Queue[Any]()
        await bus.subscribe("deaf", Spoken.fact, deaf.put)
        await say(database, "hello")
        await words_heard(database, "hello")
        before = checks
        await until(lambda: checks > before + 1)
        relayed = await count(database, "relayed")
        await (await deaf.get()).ack()

        async def forgotten() -> bool:
            return await count(database, "relayed") == 0

        await until(forgotten)

    assert relayed == 1


async def test_what_a_deleted_stream_had_and_nobody_heard_is_sent_to_its_successor_in_order(
    database: Database, bus: Bus
) -> None:
    words = [f"word {n}" for n in range(20)]
    await bus.ensure_streams([Spoken, Portrait])

    async with supervise(sending(database, bus)):
        await say(database, *words)
        await all_sent(database)
        await delete_stream(bus)
        bus.recheck()
        async with supervise(listening(database, bus)):
            await words_heard(database, *words)

    assert await load_texts(database) == words


async def test_a_listener_hears_on_after_its_stream_and_consumer_were_lost(
    database: Database, bus: Bus
) -> None:
    await bus.ensure_streams([Spoken, Portrait])

    async with supervise({**sending(database, bus), **listening(database, bus)}):
        await say(database, "before")
        await words_heard(database, "before")
        await delete_stream(bus)
        await say(database, "after")
        await words_heard(database, "before", "after")
        await bus._stream.delete_consumer(STREAM, "listener-tests_spoken_v1")
        bus.recheck()
        await say(database, "at last")
        await words_heard(database, "before", "after", "at last")


async def test_nats_that_comes_back_empty_is_furnished_anew_and_told_what_nobody_had_heard(
    database: Database, nats: Restartable, tmp_path: Path
) -> None:
    async with open_bus(nats.url) as bus:
        await bus.ensure_streams([Spoken, Portrait])
        async with supervise(sending(database, bus)):
            await say(database, "unheard")
            await all_sent(database)
            await nats.stop()
            shutil.rmtree(tmp_path / "nats" / "jetstream")
            await nats.start()
            await say(database, "new")
            async with supervise(listening(database, bus)):
                await words_heard(database, "unheard", "new")

    assert await load_texts(database) == ["unheard", "new"]


async def test_nats_that_met_a_full_disk_is_started_again_and_every_word_is_heard_once(
    database: Database, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_store_probe, "CHECK_EVERY_S", 0.2)
    port = free_port()
    server = embedded.nats_process(small_disk / "nats", port, "secret")
    url = f"nats://raak:secret@127.0.0.1:{port}"
    lines: list[str] = []
    stored = [f"stored {n}" for n in range(100)]
    refused = [f"refused {n} {'long ' * 1_000}" for n in range(100)]

    async def fault() -> str:
        return await asyncio.to_thread(
            lambda: str(asyncio.run(nats_store_probe.find_store_fault(url)))
        )

    async def is_refused() -> bool:
        return STREAM in await fault()

    async def is_started_again() -> bool:
        await asyncio.to_thread(supervisor.check)
        return bool(lines)

    with embedded.run_server(server):
        supervisor = Supervisor(
            [server], lines.append, [nats_store_probe.NatsStoreProbe(server, url)]
        )
        async with open_bus(url) as bus:
            await bus.ensure_streams([Spoken, Portrait])
            async with supervise(sending(database, bus)):
                await say(database, *stored)
                await all_sent(database)
                assert await fault() == "None"
                fill(small_disk / "ballast")
                await say(database, *refused)
                await until(is_refused, every_s=0.2)  # a look takes some of the room that is left
                (small_disk / "ballast").unlink()
                assert await is_refused()  # though there is room
                await until(is_started_again)
                async with supervise(listening(database, bus)):
                    await words_heard(database, *stored, *refused)
        assert await fault() == "None"

    [line] = lines
    assert line.startswith("nats listens and stores nothing (")


async def test_what_nobody_hears_is_given_up_after_its_time(database: Database, bus: Bus) -> None:
    await bus.ensure_streams([Spoken, Portrait])
    await say(database, "unheard")

    async with supervise(sending(database, bus, retention=timedelta(0))):
        await all_sent(database)

    async with supervise(sending(database, bus, retention=timedelta(0))):

        async def lost() -> bool:
            return await count(database, "relayed") == 0

        await until(lost)


async def test_a_lost_stream_of_states_is_told_all_of_them_again(
    database: Database, bus: Bus
) -> None:
    await bus.ensure_streams([Spoken, Portrait])
    resyncing = Resync(database, {"portraits": portraits(450)}, outbox.publish, now)

    async with supervise(
        {**sending(database, bus, renew=resyncing.renew), "resync": resyncing.run}
    ):

        async def holds() -> bool:
            return await count(database, "stream") == 2

        await until(holds)
        assert await number_in(bus, Portrait) == 0
        await bus._stream.delete_stream(stream_name(Portrait.fact))
        bus.recheck()

        async def resync_sources() -> bool:
            return await number_in(bus, Portrait) == 450

        await until(resync_sources)


def now() -> datetime:
    """The clock."""
    return datetime.now(UTC)


PEOPLE = [UUID(int=number) for number in range(1, 1_001)]


def portraits(number: int) -> resync.ResyncSource:
    """So many people to be told again."""

    async def read(connection: Connection, after: Any, since: datetime, most: int) -> ResyncPage:
        start = after or 0
        end = min(number, start + most)
        events = [
            Portrait(event_id=new_id(), customer_id=one, occurred_at=NOON)
            for one in PEOPLE[start:end]
        ]
        return ResyncPage(events, end if end < number else None)

    return read


async def number_in(bus: Bus, event: type[Event]) -> int:
    """How many events a stream holds; 0 for one that is lost."""
    try:
        return (await bus._stream.stream_info(stream_name(event.fact))).state.messages
    except NotFoundError:
        return 0


async def test_a_resync_goes_on_where_it_was_cut_off_and_there_is_one_at_a_time(
    database: Database,
) -> None:
    resyncing = Resync(database, {"portraits": portraits(450)}, outbox.publish, now)
    async with database.transaction() as connection:
        await resync.request_resync(connection, NOON)

    await resyncing.publish_chunk()
    async with database.connection() as connection:
        with pytest.raises(ResyncUnderWay, match="200 events"):
            await resync.check_not_running(connection, "tests")
        with pytest.raises(ResyncUnderWay):
            await resync.request_resync(connection, NOON)
    another = Resync(database, {"portraits": portraits(450)}, outbox.publish, now)
    steps = [await another.publish_chunk() for _ in range(3)]

    assert steps == [True, True, False]
    assert await count(database, "outbox") == 450
    async with database.transaction() as connection:
        await resync.request_resync(connection, NOON)  # one that has ended is no hindrance


async def test_a_consumer_that_is_checked_while_it_begins_has_one_subscription(bus: Bus) -> None:
    """What came by a second one would be handled, and never acknowledged."""

    async def receive(message: Msg) -> None:
        """Nothing comes."""

    await bus.ensure_streams([Spoken])
    await asyncio.gather(
        bus.subscribe("listener", Spoken.fact, receive), *(bus._restore() for _ in range(3))
    )

    queues = Counter(one._queue for one in bus._client._subs.values() if one._queue)
    assert sorted(queues.values()) == [1, 1]


async def test_a_database_that_went_back_begins_an_epoch_tells_all_and_hears_all(
    database: Database, bus: Bus
) -> None:
    await bus.ensure_streams([Spoken, Portrait])
    resyncing = Resync(database, {"portraits": portraits(3)}, outbox.publish, now)
    work = {**sending(database, bus, renew=resyncing.renew), **listening(database, bus)}
    async with supervise(work):
        await say(database, *(f"word {n}" for n in range(40)))
        await words_heard(database, *(f"word {n}" for n in range(40)))

        async def is_nothing_left() -> bool:
            return await count(database, "relayed") == 0

        await until(is_nothing_left)
    async with database.connection() as connection:  # as a backup of before has it
        await connection.execute("SELECT setval('outbox_id_seq', 5)")
        await connection.execute("DELETE FROM told; DELETE FROM inbox")

    async with supervise({**work, "resync": resyncing.run}):
        await words_heard(database, *(f"word {n}" for n in range(40)))

        async def resync_sources() -> bool:
            return await number_in(bus, Portrait) == 3

        await until(resync_sources)
        async with database.connection() as connection:
            epoch = await epochs.current(connection)

    async with supervise(work):
        await say(database, "later")
        await all_sent(database)
    async with database.connection() as connection:
        assert (epoch, await epochs.current(connection)) == (1, 1)


async def test_an_event_of_an_earlier_epoch_is_counted_once_however_long_it_waits(
    database: Database, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chassis_consumer, "PAUSE_S", 0.01)
    await bus.ensure_streams([Spoken])
    earlier = EARLIER.labels("listener", Spoken.fact)._value.get
    before = earlier()
    outage = iter([True] * 3)

    async def wait_then_write(connection: Connection, events: Sequence[Spoken]) -> None:
        if events[0].text == "old" and next(outage, False):
            raise asyncpg.LockNotAvailableError
        await write_down(connection, events)

    consumer = Consumer("listener", Spoken, wait_then_write, database, bus)
    async with supervise({"consumer": consumer.run}):
        for text, epoch in (("new", 2), ("old", 1)):
            event = spoken(text)
            await bus.publish(
                [
                    OutgoingMessage(
                        event.address(),
                        str(uuid4()),
                        event.to_cloudevent(),
                        OutboxPosition(epoch, 1),
                    )
                ]
            )
            await until(partial(is_last, database, text))

    assert next(outage, False) is False
    assert earlier() == before + 1


async def is_last(database: Database, word: str) -> bool:
    """Whether a word is the last that was written down."""
    return (await load_texts(database))[-1:] == [word]


async def test_the_age_of_what_waits_is_told(database: Database) -> None:
    async with database.connection() as connection:
        assert await outbox.measure_age(connection) == 0

        await outbox.publish(connection, [spoken("old"), spoken("young")])
        await connection.execute(
            "UPDATE outbox SET written_at = now() - interval '90 s' WHERE id = 1"
        )

        assert 90 <= await outbox.measure_age(connection) < 120


async def test_a_bus_whose_nats_is_gone_says_so_instead_of_standing_still(
    nats: Restartable,
) -> None:
    async with open_bus(nats.url) as bus:
        await bus.ensure_streams([Spoken])
        await nats.stop()

        async with asyncio.timeout(60):
            with pytest.raises(BusUnavailable):
                await bus.run()
