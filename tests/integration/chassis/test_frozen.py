"""A replica that stands still, or whose machine is gone, holds up no other, and wakes unharmed."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from services.chassis import bus as chassis_bus
from services.chassis import outbox
from services.chassis.bus import Bus, open_bus
from services.chassis.consumer import Consumer
from services.chassis.database import (
    Database,
    DatabaseUnavailable,
    open_database,
    server_settings,
)
from services.chassis.outbox import RELAY_LOCK, Relay
from services.chassis.server import supervise
from tests.integration.chassis.replica import REDELIVER_AFTER_S
from tests.integration.chassis.sample_events import (
    Spoken,
    load_texts,
    spoken,
    wait_for_texts,
    write_down,
)
from tests.waiting import until

PROJECT = Path(__file__).parents[3]
SILENCE_S = 2
HOLDER = """
SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
WHERE datname = current_database() AND locktype = 'advisory' AND objid = $1 AND granted
"""


@asynccontextmanager
async def replica(database_url: str, nats_url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Another replica, in a process of its own."""
    program = [sys.executable, "-m", "tests.integration.chassis.replica"]
    process = await asyncio.create_subprocess_exec(
        *program,
        database_url,
        nats_url,
        str(SILENCE_S),
        cwd=PROJECT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def listening(database: Database, nats_url: str) -> AsyncIterator[None]:
    """A replica in this process, with a connection to NATS of its own."""
    async with open_bus(nats_url) as bus:
        consumer = Consumer("listener", Spoken, write_down, database, bus)
        async with supervise({"relay": Relay(database, bus).run, "consumer": consumer.run}):
            yield


async def in_hand(process: asyncio.subprocess.Process) -> None:
    """Return when it says that it holds events in an open transaction."""
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert await process.stdout.readline() == b"in hand\n"


async def say(database: Database, words: Sequence[str]) -> None:
    """Write words to the outbox."""
    async with database.transaction() as connection:
        await outbox.publish(connection, [spoken(word) for word in words])


async def test_a_frozen_replica_holds_up_no_other_and_wakes_to_lose_and_double_nothing(
    database_url: str, nats_url: str, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chassis_bus, "REDELIVER_AFTER_S", REDELIVER_AFTER_S)
    first, second, third, last = ([f"{name} {n}" for n in range(10)] for name in "abcd")
    async with (
        open_database(database_url, silence_s=SILENCE_S) as database,
        replica(database_url, nats_url) as other,
    ):
        await bus.ensure_streams([Spoken])
        await say(database, first)
        await in_hand(other)
        other.send_signal(signal.SIGSTOP)

        async with listening(database, nats_url):
            await say(database, second)
            while_frozen = sorted(await wait_for_texts(database, 20))
            other.send_signal(signal.SIGCONT)
            await say(database, third)
            await wait_for_texts(database, 30)
        await say(database, last)
        in_the_end = sorted(await wait_for_texts(database, 40))

        assert while_frozen == sorted(first + second)
        assert in_the_end == sorted(first + second + third + last)
        assert await bus.list_dead_letters() == []
        assert other.returncode is None


async def test_who_was_frozen_in_a_transaction_is_told_of_an_outage(database_url: str) -> None:
    """It stands for a process that was frozen: PostgreSQL cannot tell it from one that thinks."""

    async def think_for_long(database: Database) -> None:
        async with database.transaction() as connection:
            await write_down(connection, [spoken("undone")])
            await until(connection.is_closed)
            await write_down(connection, [spoken("undone, too")])

    async with open_database(database_url, silence_s=SILENCE_S) as database:
        with pytest.raises(DatabaseUnavailable):
            await think_for_long(database)

        assert await load_texts(database) == []


@pytest.mark.parametrize("is_prepared", [True, False])
async def test_a_process_that_reads_nothing_more_is_let_go(
    database: Database, database_url: str, is_prepared: bool
) -> None:
    """In the middle of an answer, or between preparing a statement and asking for its answer."""
    requests = server_settings(SILENCE_S) | {"transaction_timeout": f"{2 * SILENCE_S}s"}
    deaf = await asyncpg.connect(
        database_url, server_settings=requests | {"application_name": "deaf"}
    )
    await deaf.execute("BEGIN")
    await deaf.execute("LOCK TABLE told")
    if is_prepared:
        await deaf.fetch(MUCH, 1)
    deaf._transport.pause_reading()  # type: ignore[attr-defined]
    answer = asyncio.create_task(deaf.fetch(MUCH, 100_000))

    async def gone() -> bool:
        async with database.connection() as connection:
            return not await connection.fetchval(DEAF)

    await until(gone)
    deaf.terminate()
    with pytest.raises(asyncpg.PostgresConnectionError):
        await answer
    assert await load_texts(database) == []


async def test_who_says_that_it_computes_may_take_its_time(database_url: str) -> None:
    async with open_database(database_url, silence_s=SILENCE_S) as database:
        async with database.transaction(computes=True) as connection:
            await asyncio.sleep(1.5 * SILENCE_S)
            await write_down(connection, [spoken("thought over")])

        assert await load_texts(database) == ["thought over"]


MUCH = "SELECT repeat('x', 1000) FROM generate_series(1, $1::int)"
DEAF = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'deaf'"
NAMES = sorted(server_settings(SILENCE_S))


async def test_every_way_to_postgresql_asks_for_it(database_url: str) -> None:
    async with (
        open_database(database_url, silence_s=SILENCE_S) as database,
        database.connection() as connection,
    ):
        hot = {name: await connection.fetchval(f"SHOW {name}") for name in NAMES}

    assert hot["idle_in_transaction_session_timeout"] == "2s"
    assert hot["transaction_timeout"] == "24s"
    assert (hot["tcp_keepalives_idle"], hot["tcp_user_timeout"]) == ("1", "2000")


async def test_only_who_relays_may_not_fall_silent_between_transactions(
    database_url: str, bus: Bus
) -> None:
    async with open_database(database_url, connections=2, silence_s=SILENCE_S) as database:
        await bus.ensure_streams([Spoken])
        async with database.connection() as listener:
            heard = asyncio.Event()

            def hear(*_: object) -> None:
                heard.set()

            await listener.add_listener("news", hear)
            async with supervise({"relay": Relay(database, bus).run}):
                await asyncio.sleep(2 * SILENCE_S)  # longer than the relay may be silent
                held = await listener.fetchval(HOLDER, RELAY_LOCK)
            await database.pool.execute("NOTIFY news")
            async with asyncio.timeout(60):
                await heard.wait()
            await listener.remove_listener("news", hear)
            async with database.connection() as freed:
                left = await freed.fetchval("SHOW idle_session_timeout")

    assert held == 1
    assert left == "0"
