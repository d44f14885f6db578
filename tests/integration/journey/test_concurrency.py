"""Events, snapshots, merges and timers of the same customers at once, on several replicas."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import pytest

from services.contracts.base import Event
from services.contracts.journey import InstanceEnded, MessageDue, StepEntered
from services.journey.handlers import subscriptions
from services.journey.service.timers import TimerRunner
from services.journey.store import tallies
from tests.integration.journey.world import World
from tests.unit.journey.journeys import LAPSING, ROUND, TWICE

Work = Callable[[], Awaitable[object]]


def everything(world: World, rng: random.Random, customers: list[UUID]) -> list[list[Event]]:
    """Lists of one fact about these customers, in no order that makes sense."""
    lists: list[list[Event]] = []
    for version in range(1, 13):
        some = rng.sample(customers, 8)
        name = rng.choice(["e", "e", "stop"])
        lists.append([world.event(one, name) for one in some])
        segments = rng.choice([("lapsing",), ()])
        lists.append(
            [
                world.snapshot(
                    one,
                    version,
                    segments=segments,
                    consents={"p": True},
                    traits={"country": "NL"},
                )
                for one in rng.sample(customers, 8)
            ]
        )
    for source, target in zip(customers[::4], customers[1::4], strict=True):
        lists.append([world.merge(source, target)])
    rng.shuffle(lists)
    return lists


@pytest.mark.parametrize("seed", range(3))
async def test_nothing_gets_stuck_lost_or_doubled(world: World, seed: int) -> None:
    rng = random.Random(seed)
    for journey in (ROUND, TWICE, LAPSING):
        await world.publish(journey)
    customers = [uuid4() for _ in range(16)]
    replicas = [subscriptions(world.replica()) for _ in range(3)]
    runners = [TimerRunner(world.replica(), world.database, batch=5) for _ in range(2)]
    lists = everything(world, rng, customers)

    async def handle(events: list[Event]) -> None:
        async with world.database.transaction() as connection:
            await rng.choice(replicas)[type(events[0])](connection, events)

    while lists:
        now, lists = lists[:6], lists[6:]
        world.now = world.now.replace(day=world.now.day + 1)
        async with asyncio.timeout(20):
            await asyncio.gather(
                *(handle(events) for events in now), *(runner.fire_due() for runner in runners)
            )

    instances = await world.instances()
    active = [instance for instance in instances if instance["ended_at"] is None]
    assert active
    assert all(instance["due_at"] is not None for instance in active)
    assert max(Counter((r["customer_id"], r["journey"], r["key"]) for r in active).values()) == 1
    assert not {instance["customer_id"] for instance in instances} & set(customers[::4])
    await _histories_are_whole(world)


async def _histories_are_whole(world: World) -> None:
    """Every step was stored and published once, every end once, and the counts are right."""
    instances = {instance["run_id"]: instance for instance in await world.instances()}
    entered = Counter(
        (one.state.instance_id, one.state.sequence) for one in await world.published(StepEntered)
    )
    rows = await world.database.pool.fetch("SELECT * FROM step_taken")
    assert Counter((row["run_id"], row["sequence"]) for row in rows) == entered
    assert set(entered.values()) == {1}
    assert all(row["customer_id"] == instances[row["run_id"]]["customer_id"] for row in rows)
    steps = Counter(row["run_id"] for row in rows)
    for instance_id, instance in instances.items():
        assert instance["sequence"] == steps[instance_id] + (instance["ended_at"] is not None)
    ended = Counter(one.state.instance_id for one in await world.published(InstanceEnded))
    assert ended == Counter(
        instance_id for instance_id, instance in instances.items() if instance["ended_at"]
    )
    messages = await world.database.pool.fetch("SELECT message_id FROM message")
    published = [one.message_id for one in await world.published(MessageDue)]
    assert sorted(row["message_id"] for row in messages) == sorted(published)
    async with world.database.connection() as connection:
        counts = await tallies.load_counts(
            connection,
            {(instance["journey"], instance["version"]) for instance in instances.values()},
        )
    present = Counter(
        (instance["journey"], instance["version"], instance["step"])
        for instance in instances.values()
        if instance["ended_at"] is None
    )
    by_step = {(*version, s): count for version, of in counts.items() for s, count in of.items()}
    assert {place: count.present for place, count in by_step.items() if count.present} == present
    assert sum(count.passed for count in by_step.values()) == len(rows)
