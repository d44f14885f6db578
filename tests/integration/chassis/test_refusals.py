"""PostgreSQL that cannot do now what it is asked: requests are told, events and work wait for it.

Nobody's data are to blame for a disk that is full, a server that is stopped, or others in the way.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import httpx
import pytest
import strawberry
from fastapi import APIRouter, FastAPI

from infra import embedded
from services.chassis import consumer as chassis_consumer
from services.chassis.background_health import BackgroundHealth
from services.chassis.bus import Bus
from services.chassis.consumer import FAILURES, Consumer
from services.chassis.database import (
    OUTAGE_ERRORS,
    Connection,
    Database,
    DatabaseUnavailable,
    open_database,
    reason,
)
from services.chassis.graphql import Schema
from services.chassis.server import ProcessApp, process_app, supervise
from services.chassis.settings import ProcessSettings
from tests.conftest import HASTY, free_port
from tests.integration.chassis import sample_service as oven
from tests.integration.chassis.outages import Restartable, fill, started
from tests.integration.chassis.sample_events import (
    Spoken,
    furnish,
    load_texts,
    outgoing,
    spoken,
    wait_for_texts,
    write_down,
)
from tests.postgres_errors import OUTAGE_ERRORS as EVERY_ERROR
from tests.postgres_errors import raising
from tests.waiting import until

# --- every error of the classes ---------------------------------------------------------------


async def test_every_error_of_an_outage_is_told_as_one_and_nothing_is_committed(
    database: Database,
) -> None:
    async def write_and_meet(error: type[asyncpg.PostgresError]) -> None:
        async with database.transaction() as connection:
            await write_down(connection, [spoken("undone")])
            await connection.execute(raising(error))

    for error in EVERY_ERROR:
        with pytest.raises(DatabaseUnavailable) as outage:
            await write_and_meet(error)
        assert reason(outage.value) == error.__name__

    assert await load_texts(database) == []


async def test_every_error_of_an_outage_answers_requests_with_503_and_when_to_ask_again(
    database: Database,
) -> None:
    async def fail(number: int) -> None:
        async with database.transaction() as connection:
            await connection.execute(raising(EVERY_ERROR[number]))

    router = APIRouter()
    router.add_api_route("/fail/{number}", fail)
    async with client_of(router) as client:
        answers = [await client.get(f"/fail/{number}") for number in range(len(EVERY_ERROR))]

    assert {answer.status_code for answer in answers} == {503}
    assert {answer.headers["retry-after"] for answer in answers} == {"1"}
    assert {answer.json()["error"]["code"] for answer in answers} == {"DATABASE_UNAVAILABLE"}


async def test_every_error_of_an_outage_is_told_by_the_graph(database: Database) -> None:
    @strawberry.type
    class Query:
        @strawberry.field
        async def fail(self, number: int) -> str | None:
            async with database.connection() as connection:
                await connection.execute(raising(EVERY_ERROR[number]))
            return None

    schema = Schema(query=Query)
    answers = [
        await schema.answer(f"{{ fail(number: {number}) }}") for number in range(len(EVERY_ERROR))
    ]

    codes = {error["extensions"]["code"] for answer in answers for error in answer["errors"]}
    assert codes == {"DATABASE_UNAVAILABLE"}


async def test_an_event_waits_for_the_end_of_every_error_of_an_outage(
    database: Database, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chassis_consumer, "PAUSE_S", 0.01)
    trouble = list(EVERY_ERROR)

    async def in_trouble(connection: Connection, events: Sequence[Spoken]) -> None:
        await write_down(connection, events)
        if trouble:
            await connection.execute(raising(trouble.pop()))

    words = ["one", "two", "three"]
    await bus.ensure_streams([Spoken])
    await bus.publish(outgoing([spoken(word) for word in words]))
    async with supervise({"c": Consumer("listener", Spoken, in_trouble, database, bus).run}):
        found = await wait_for_texts(database, len(words))

    assert trouble == []
    assert found == words
    assert await bus.list_dead_letters() == []


async def test_a_list_that_is_too_much_at_once_is_taken_in_by_and_by(
    database: Database, delivering: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chassis_consumer, "PAUSE_S", 0.01)
    sizes: list[int] = []

    async def slow(connection: Connection, events: Sequence[Spoken]) -> None:
        sizes.append(len(events))
        if len(events) > 3:
            await connection.execute(raising(asyncpg.QueryCanceledError))
        await write_down(connection, events)

    words = [f"word {n}" for n in range(20)]
    messages = [Delivered(spoken(word), times=1) for word in words]

    consumer = Consumer("listener", Spoken, slow, database, delivering)
    await consumer._handle_or_wait(messages)  # type: ignore[arg-type]

    assert sizes[:4] == [20, 10, 5, 2]
    assert await load_texts(database) == words
    assert all(message.answers == ["ack"] for message in messages)


async def test_a_list_that_is_never_taken_in_has_no_progress_until_it_is(
    database: Database, delivering: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chassis_consumer, "PAUSE_S", 0.01)
    is_stuck = True

    async def stuck(connection: Connection, events: Sequence[Spoken]) -> None:
        if is_stuck:
            await connection.execute(raising(asyncpg.LockNotAvailableError))

    health = BackgroundHealth(standstill_s=0.1)
    consumer = Consumer("listener", Spoken, stuck, database, delivering, health=health)

    async def has_no_progress() -> bool:
        return health.find_standstill() is not None

    message = Delivered(spoken("patient"), times=1)
    taking_in = asyncio.create_task(consumer._handle_or_wait([message]))  # type: ignore[list-item]
    await until(has_no_progress)
    standstill = health.find_standstill()
    is_stuck = False
    await taking_in

    assert "'listener-tests.spoken.v1' has made no progress" in str(standstill)
    assert "(LockNotAvailableError)" in str(standstill)
    assert health.find_standstill() is None


async def test_what_waited_through_an_outage_has_all_its_attempts_left(
    database: Database, delivering: Bus
) -> None:
    """NATS counts as a delivery whatever it sent again meanwhile."""
    moods = iter([True] * (FAILURES - 1))

    async def moody(connection: Connection, events: Sequence[Spoken]) -> None:
        if next(moods, False):
            raise ValueError
        await write_down(connection, events)

    consumer = Consumer("listener", Spoken, moody, database, delivering)
    await delivering.ensure_streams([Spoken])
    message = Delivered(spoken("patient"), times=FAILURES)

    for _ in range(FAILURES):
        await consumer._handle_or_wait([message])  # type: ignore[list-item]

    assert message.answers == ["nak"] * (FAILURES - 1) + ["ack"]
    assert await load_texts(database) == ["patient"]


async def test_work_behind_the_scenes_waits_through_every_error_and_says_why(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    for error in EVERY_ERROR:
        with suppress(*OUTAGE_ERRORS):  # what work that waits is known by
            async with database.connection() as connection:
                await connection.execute(raising(error))
    tries: list[int] = []

    async def work() -> None:
        tries.append(1)
        if len(tries) == 1:
            async with database.connection() as connection:
                await connection.execute(raising(EVERY_ERROR[0]))

    async with supervise({"work": work}):

        async def again() -> bool:
            return len(tries) == 2

        await until(again)

    fields = [record.__dict__.get("fields", {}) for record in caplog.records]
    assert {"work": "work", "because": EVERY_ERROR[0].__name__} in fields
    assert "background work failed" not in caplog.text


# --- real ones --------------------------------------------------------------------------------


async def test_a_server_that_may_only_be_read_is_waited_for(database: Database, bus: Bus) -> None:
    words = ["one", "two"]
    await bus.ensure_streams([Spoken])
    await _may_write(database, "off")

    async with supervise({"c": Consumer("listener", Spoken, write_down, database, bus).run}):
        await bus.publish(outgoing([spoken(word) for word in words]))

        async def refused() -> bool:
            return database.refusal == "ReadOnlySQLTransactionError"

        await until(refused)
        await _may_write(database, "on")
        found = await wait_for_texts(database, len(words))

    assert found == words
    assert await bus.list_dead_letters() == []


async def test_a_lock_that_is_not_to_be_had_is_waited_for(database: Database, bus: Bus) -> None:
    tries = 0

    async def hurried(connection: Connection, events: Sequence[Spoken]) -> None:
        nonlocal tries
        tries += 1
        await connection.execute("SET LOCAL lock_timeout = '20ms'")
        await write_down(connection, events)

    async def request() -> None:
        async with database.transaction() as connection:
            await hurried(connection, [spoken("refused")])

    await bus.ensure_streams([Spoken])
    consumer = Consumer("listener", Spoken, hurried, database, bus)
    async with database.transaction() as holder:
        await holder.execute("LOCK TABLE told")
        running = asyncio.create_task(consumer.run())
        await bus.publish(outgoing([spoken("patient")]))
        with pytest.raises(DatabaseUnavailable, match="LockNotAvailableError"):
            await request()
        await until(lambda: tries > 1)  # the consumer meets the lock, too

    found = await wait_for_texts(database, 1)
    running.cancel()
    assert found == ["patient"]
    assert await bus.list_dead_letters() == []


async def test_a_process_says_that_its_database_refuses(
    database_url: str, nats_url: str, key_files: tuple[Path, Path]
) -> None:
    app = oven.create(database_url=database_url, nats_url=nats_url, verify_key_file=key_files[1])
    async with app.router.lifespan_context(app), talking_to(app) as client:
        before = await client.get("/health/ready")
        written = await client.post("/refused")
        after = await client.get("/health/ready")

    assert (before.status_code, written.status_code, after.status_code) == (200, 503, 503)
    assert "ReadOnlySQLTransactionError" in after.json()["reason"]


async def test_a_disk_that_is_full_costs_no_event_and_delays_all(
    small_disk: Path, bus: Bus, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chassis_consumer, "PAUSE_S", 0.1)
    port = free_port()
    server = Restartable(lambda: embedded.postgres(small_disk / "postgres", port, "secret", HASTY))
    words = [f"{n} {'long ' * 1_000}" for n in range(200)]
    await bus.ensure_streams([Spoken])
    async with started(server):
        await furnish(f"{server.url}/postgres")
        async with open_database(f"{server.url}/postgres") as database:
            ballast = small_disk / "ballast"
            fill(ballast)

            async with supervise({"c": Consumer("l", Spoken, write_down, database, bus).run}):
                await bus.publish(outgoing([spoken(word) for word in words]))

                async def refused() -> bool:
                    return database.refusal is not None

                await until(refused)
                with pytest.raises(DatabaseUnavailable):
                    await _write_much(database)
                await until(lambda: caplog.messages.count("handling waits") > FAILURES)
                assert await bus.list_dead_letters() == []
                ballast.unlink()
                found = await wait_for_texts(database, len(words))

            assert sorted(found) == sorted(words)
            assert await bus.list_dead_letters() == []


async def _write_much(database: Database) -> None:
    """Write until a table has to grow."""
    for _ in range(100):
        async with database.transaction() as connection:
            await write_down(connection, [spoken("x" * 100_000)])


async def _may_write(database: Database, allowed: str) -> None:
    """Say `on` or `off` for all connections to come, and end those there are."""
    async with database.connection() as connection:
        await connection.execute("SET default_transaction_read_only = off")
        name = await connection.fetchval("SELECT current_database()")
        read_only = "off" if allowed == "on" else "on"
        await connection.execute(
            f"ALTER DATABASE {name} SET default_transaction_read_only = {read_only}"
        )
    with suppress(*OUTAGE_ERRORS):  # it ends itself too
        async with database.connection() as connection:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name
            )


class Delivered:
    """A message as NATS delivered it so often, and what it was answered."""

    def __init__(self, event: Spoken, times: int) -> None:
        self.data = event.to_cloudevent()
        self.headers = None
        self.times = times
        self.answers: list[str] = []

    @property
    def is_acked(self) -> bool:
        """Whether it was answered for good."""
        return bool(self.answers)

    async def in_progress(self) -> None:
        """Still in hand."""

    async def ack(self) -> None:
        """Taken in."""
        self.answers.append("ack")

    async def nak(self, delay: float) -> None:
        """To be delivered again."""
        self.answers.append("nak")


@pytest.fixture
def delivering(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> Bus:
    """A bus that takes messages for its own though it did not deliver them."""

    async def acknowledge(message: Delivered) -> None:
        await message.ack()

    monkeypatch.setattr(bus, "acknowledge", acknowledge)
    return bus


@asynccontextmanager
async def client_of(router: APIRouter) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a process with these routes."""

    @asynccontextmanager
    async def lifespan(app: ProcessApp) -> AsyncIterator[None]:
        yield

    class Settings(ProcessSettings):
        process = "oven"

    app = process_app(Settings(), lifespan)
    app.include_router(router)
    async with talking_to(app) as client:
        yield client


def talking_to(app: FastAPI) -> httpx.AsyncClient:
    """A client of an application."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://oven")
