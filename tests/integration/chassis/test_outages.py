"""NATS or PostgreSQL goes away and comes back: nothing is lost, nothing happens twice."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import asyncpg
import pytest
from nats.js.api import PubAck

from services.chassis import outbox
from services.chassis.bus import Bus, BusUnavailable, open_bus
from services.chassis.consumer import Consumer
from services.chassis.database import OUTAGE_ERRORS, Database, DatabaseUnavailable, open_database
from services.chassis.outbox import Relay
from services.chassis.server import supervise
from services.chassis.streams import OutgoingMessage
from tests.conftest import free_port
from tests.integration.chassis.outages import Restartable
from tests.integration.chassis.sample_events import (
    Spoken,
    load_texts,
    outgoing,
    spoken,
    wait_for_texts,
    write_down,
)
from tests.waiting import until


async def talk(database: Database, words: Sequence[str]) -> None:
    """Say words, ten in a transaction, for about a second."""
    for start in range(0, len(words), 10):
        async with database.transaction() as connection:
            said = [spoken(word) for word in words[start : start + 10]]
            await outbox.publish(connection, said)
        await asyncio.sleep(10 / len(words))


async def all_of(database: Database, words: Sequence[str]) -> None:
    """Wait until as many words are told as were said."""

    async def enough() -> bool:
        with suppress(*OUTAGE_ERRORS):  # it may still be starting
            return len(await load_texts(database)) >= len(words)
        return False

    await until(enough)


async def some_wait(database: Database) -> bool:
    """Whether a hundred events wait to be sent."""
    async with database.connection() as connection:
        return bool(await connection.fetchval("SELECT count(*) >= 100 FROM outbox"))


async def all_is_handled(bus: Bus) -> bool:
    """Whether nothing is under way any more, so that what came twice has come."""
    with suppress(BusUnavailable):
        return await bus.count_pending(Spoken) == 0
    return False


async def test_nats_restarted_while_events_travel_loses_none_and_doubles_none(
    database: Database, nats: Restartable
) -> None:
    words = [f"word {n}" for n in range(3_000)]
    async with open_bus(nats.url) as bus:
        await bus.ensure_streams([Spoken])
        consumer = Consumer("listener", Spoken, write_down, database, bus)

        async with supervise({"relay": Relay(database, bus).run, "consumer": consumer.run}):
            talking = asyncio.create_task(talk(database, words))
            await wait_for_texts(database, 100)
            await nats.stop()
            await until(lambda: some_wait(database))
            await nats.start()
            await talking
            await all_of(database, words)
            await until(lambda: all_is_handled(bus))

    assert sorted(await load_texts(database)) == sorted(words)
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM outbox") == 0


async def test_postgresql_restarted_while_a_consumer_works_loses_none_and_doubles_none(
    bus: Bus, postgres: Restartable
) -> None:
    words = [f"word {n}" for n in range(3_000)]
    await bus.ensure_streams([Spoken])
    async with open_database(f"{postgres.url}/postgres") as database:
        consumer = Consumer("listener", Spoken, write_down, database, bus)

        async with supervise({"consumer": consumer.run}):
            await bus.publish(outgoing([spoken(word) for word in words[:2_000]]))
            await wait_for_texts(database, 1)
            await postgres.stop()
            await bus.publish(outgoing([spoken(word) for word in words[2_000:]]))
            with pytest.raises(DatabaseUnavailable):
                await load_texts(database)
            await postgres.start()
            await all_of(database, words)

        assert sorted(await load_texts(database)) == sorted(words)
        assert await bus.list_dead_letters() == []


END_ME = "SELECT pg_terminate_backend(pg_backend_pid())"


async def test_a_connection_cut_off_in_use_is_told_as_an_outage_and_replaced(
    database: Database,
) -> None:
    with pytest.raises(DatabaseUnavailable):
        async with database.transaction() as connection:
            await connection.execute(END_ME)

    assert await load_texts(database) == []


async def test_a_connection_found_closed_is_told_as_an_outage_and_replaced(
    database: Database,
) -> None:
    async def go_on_after_the_end() -> None:
        async with database.transaction() as connection:
            with suppress(asyncpg.AdminShutdownError):
                await connection.execute(END_ME)
            await connection.execute("SELECT 1")

    with pytest.raises(DatabaseUnavailable):
        await go_on_after_the_end()

    assert await load_texts(database) == []


async def test_a_connection_that_breaks_when_it_is_given_back_undoes_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def break_off(connection: object, **how: object) -> None:
        raise asyncpg.InternalClientError

    with monkeypatch.context() as patch:
        patch.setattr(asyncpg.Connection, "reset", break_off)
        async with database.transaction() as connection:
            await write_down(connection, [spoken("committed")])

    assert await load_texts(database) == ["committed"]


async def test_a_relay_cut_off_from_nats_still_stops_when_told_to(
    database: Database, nats: Restartable
) -> None:
    async with open_bus(nats.url) as bus:
        await bus.ensure_streams([Spoken])
        await nats.stop()

        async with asyncio.timeout(30), supervise({"relay": Relay(database, bus).run}):
            await talk(database, ["unheard"] * 1_000)

    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM outbox") == 1_000


class Counting(Bus):
    """A bus that counts what it was given."""

    published = 0

    async def publish(self, messages: Sequence[OutgoingMessage]) -> list[PubAck]:
        """Publish, then count."""
        acks = await super().publish(messages)
        self.published += len(messages)
        return acks


async def test_of_two_relays_one_works_and_the_other_takes_over_in_order(
    database_url: str, nats_url: str
) -> None:
    first, second = [f"first {n}" for n in range(1_000)], [f"second {n}" for n in range(500)]
    async with (
        open_database(database_url) as database,
        open_database(database_url) as elsewhere,
        open_bus(nats_url) as bus,
        open_bus(nats_url) as another,
    ):
        await bus.ensure_streams([Spoken])
        one, two = Counting(bus._client), Counting(another._client)
        consumer = Consumer("listener", Spoken, write_down, database, bus)

        async with supervise({"two's relay": Relay(elsewhere, two).run, "c": consumer.run}):
            async with supervise({"one's relay": Relay(database, one).run}):
                await talk(database, first)
                await all_of(database, first)
                shares = {one.published, two.published}
            one.published = two.published = 0
            await talk(database, second)
            await all_of(database, first + second)

        assert shares == {0, len(first)}
        assert (one.published, two.published) == (0, len(second))
        assert await load_texts(database) == first + second


async def test_nats_that_never_comes_is_given_up_with_a_remedy() -> None:
    with pytest.raises(BusUnavailable, match="set RAAK_NATS_URL"):
        async with open_bus(f"nats://127.0.0.1:{free_port()}", patience_s=0.6):
            pass


async def test_nats_that_refuses_the_password_is_told_apart(nats_url: str) -> None:
    with pytest.raises(BusUnavailable, match="Authorization"):
        async with open_bus(nats_url.replace("secret", "wrong"), patience_s=0.6):
            pass


async def test_postgresql_that_is_not_there_is_told_with_a_remedy() -> None:
    with pytest.raises(DatabaseUnavailable, match=r"does not answer .* RAAK_DATABASE_URL"):
        async with open_database(f"postgresql://raak@127.0.0.1:{free_port()}/raak", patience_s=0.6):
            pass


async def test_a_database_nobody_made_is_not_waited_for(postgres_url: str) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"has no database 'nowhere'.*run `raak migrate`"):
        async with asyncio.timeout(30), open_database(f"{postgres_url}/nowhere", patience_s=600):
            pass
