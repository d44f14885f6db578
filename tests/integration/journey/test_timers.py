"""Durable timers: none is lost, none goes off twice."""

import asyncio
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from services.chassis.database import Connection, DatabaseUnavailable, open_database
from services.contracts.journey import MessageDue
from services.journey.service import timers
from services.journey.service.timers import TimerRunner, fire
from services.journey.store import instances
from tests.integration.journey.world import World
from tests.postgres_errors import OUTAGE_ERRORS as EVERY_ERROR
from tests.postgres_errors import raising
from tests.unit.journey.journeys import ROUND
from tests.waiting import until

ANN = uuid4()
WILLING = {"consents": {"p": True}}


async def crowd(world: World, size: int) -> None:
    """So many customers, each with a timer an hour ahead."""
    await world.publish(ROUND)
    ids = [uuid4() for _ in range(size)]
    await world.handle_events(*(world.snapshot(one, 1, **WILLING) for one in ids))
    await world.handle_events(*(world.event(one, "e") for one in ids))


async def test_a_transaction_that_is_cut_off_leaves_its_timer_to_go_off_once(world: World) -> None:
    await crowd(world, 1)
    world.now += timedelta(hours=1)

    with suppress(asyncio.CancelledError):
        async with world.database.transaction() as connection:
            await fire(
                world.engine, connection, await instances.claim_due(connection, world.now, 10)
            )
            raise asyncio.CancelledError
    fired = await world.runner.fire_due()

    assert fired == 1
    assert await world.runner.fire_due() == 0
    assert len(await world.published(MessageDue)) == 1


async def test_a_claim_is_nobody_elses_until_it_ends(world: World) -> None:
    await crowd(world, 1)
    world.now += timedelta(hours=1)

    async with world.database.transaction() as connection:
        claimed = await instances.claim_due(connection, world.now, 10)
        assert await world.runner.fire_due() == 0

    assert len(claimed) == 1
    assert await world.runner.fire_due() == 1


async def test_two_runners_share_the_work_and_every_timer_goes_off_once(world: World) -> None:
    await crowd(world, 300)
    world.now += timedelta(hours=1)
    runners = [TimerRunner(world.replica(), world.database, batch=20) for _ in range(2)]

    async def work(runner: TimerRunner) -> int:
        fired = 0
        while count := await runner.fire_due():
            fired += count
        return fired

    shares = await asyncio.gather(*map(work, runners))

    assert sum(shares) == 300
    assert min(shares) > 0
    sent = Counter(one.state.instance_id for one in await world.published(MessageDue))
    assert len(sent) == 300
    assert set(sent.values()) == {1}


def count_looks(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts how often runners look for timers that are due."""
    looks = Counter[str]()
    claim = instances.claim_due

    async def counted(connection: Connection, *of: Any) -> Any:
        looks["claims"] += 1
        return await claim(connection, *of)

    monkeypatch.setattr(instances, "claim_due", counted)
    return looks


async def test_a_runner_fires_what_is_due_by_itself(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await crowd(world, 3)
    looks = count_looks(monkeypatch)
    running = asyncio.create_task(world.runner.run())

    await until(lambda: looks["claims"] > 1)
    before = len(await world.published(MessageDue))
    world.now += timedelta(hours=1)

    async def have_fired() -> bool:
        return len(await world.published(MessageDue)) == 3

    await until(have_fired)

    running.cancel()
    assert before == 0


async def test_a_runner_sleeps_until_the_next_timer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timers, "LOOK_AGAIN_S", 3_600.0)
    looks, naps = count_looks(monkeypatch), list[float]()
    measure = TimerRunner._seconds_until_next

    async def note(runner: TimerRunner) -> float:
        naps.append(await measure(runner))
        return naps[-1]

    monkeypatch.setattr(TimerRunner, "_seconds_until_next", note)
    await crowd(world, 1)
    world.now += timedelta(hours=1) - timedelta(seconds=0.2)
    running = asyncio.create_task(world.runner.run())
    await until(lambda: len(naps) == 1)
    world.now += timedelta(seconds=0.2)

    async def has_fired() -> bool:
        return bool(await world.published(MessageDue))

    await until(has_fired)

    running.cancel()
    assert naps[0] == pytest.approx(0.2)
    assert looks["claims"] <= 4


async def test_a_timer_that_cannot_be_fired_harms_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await crowd(world, 3)
    bad = (await world.instances())[1]["run_id"]
    world.now += timedelta(hours=1)
    healthy = timers.fire

    async def sometimes(engine: Any, connection: Connection, due: Any) -> None:
        if any(instance.id == bad for instance in due):
            raise ZeroDivisionError
        await healthy(engine, connection, due)

    monkeypatch.setattr(timers, "fire", sometimes)
    assert await world.runner.fire_due() == 3
    monkeypatch.undo()

    assert len(await world.published(MessageDue)) == 2
    assert await world.runner.fire_due() == 0
    assert await world.pass_time(minutes=5) == 1
    assert len(await world.published(MessageDue)) == 3


async def test_no_timer_is_put_off_by_a_database_that_cannot_do_it_now(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await crowd(world, 2)
    world.now += timedelta(hours=1)
    healthy = timers.fire
    for error in EVERY_ERROR:

        async def in_trouble(
            engine: Any, connection: Connection, due: Any, statement: str = raising(error)
        ) -> None:
            if len(due) > 1:
                raise ZeroDivisionError  # so that each is fired alone
            await healthy(engine, connection, due)
            await connection.execute(statement)

        monkeypatch.setattr(timers, "fire", in_trouble)
        with pytest.raises(DatabaseUnavailable):
            await world.runner.fire_due()
    monkeypatch.undo()

    assert await world.published(MessageDue) == []
    assert await world.runner.fire_due() == 2
    assert len(await world.published(MessageDue)) == 2


async def test_a_timer_and_an_event_at_once_move_an_instance_once(world: World) -> None:
    await world.publish(ROUND)
    await world.handle_events(world.snapshot(ANN, 1, **WILLING))
    await world.handle_events(world.event(ANN, "e"))
    world.now += timedelta(hours=1)

    await asyncio.gather(world.runner.fire_due(), world.handle_events(world.event(ANN, "stop")))

    [instance] = await world.instances()
    assert instance["end_reason"] == "stop"
    assert instance["due_at"] is None
    assert await world.runner.fire_due() == 0


async def test_timers_survive_the_process_that_set_them(world: World, postgres_url: str) -> None:
    await crowd(world, 1)
    name = await world.database.pool.fetchval("SELECT current_database()")

    async with open_database(f"{postgres_url}/{name}") as again:
        later = World(again)
        later.now = world.now
        assert await later.pass_time(hours=1) == 1

    assert len(await world.published(MessageDue)) == 1
