"""Whatever the order events come in, and however often, the same is known in the end."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from services.chassis.database import Database
from services.contracts.base import Event
from services.measurement import service, store
from tests.integration.measurement import story as stories
from tests.integration.measurement.story import Story
from tests.unit.measurement import facts


async def agree(database: Database, story: Story) -> None:
    """Compare all that is known with what was worked out by hand."""
    async with database.connection() as connection:
        assert await stories.counts_found(connection) == stories.counts_expected(story)
        assert await stories.values_found(connection) == stories.values_expected(story)
        assert await stories.touchpoints_found(connection) == stories.touchpoints_expected(story)


@pytest.mark.parametrize("seed", range(20))
async def test_any_order_and_any_repetition_come_to_the_same(database: Database, seed: int) -> None:
    rng = random.Random(seed)
    story = stories.generate_story(rng)

    for events in stories.shuffle_lists(rng, story.events):
        async with database.transaction() as connection:
            await stories.handle(connection, events)

    await agree(database, story)


@pytest.mark.parametrize("seed", range(5))
async def test_handlers_that_run_at_once_do_not_lose_or_block_one_another(
    database: Database, seed: int
) -> None:
    rng = random.Random(1_000 + seed)
    story = stories.generate_story(rng)

    async def handle(events: list[Event]) -> None:
        async with database.transaction() as connection:
            await stories.handle(connection, events)

    async with asyncio.timeout(30):
        await asyncio.gather(*map(handle, stories.shuffle_lists(rng, story.events)))

    await agree(database, story)


async def test_recounting_from_the_raw_records_changes_nothing(database: Database) -> None:
    rng = random.Random(7)
    story = stories.generate_story(rng)
    for events in stories.shuffle_lists(rng, story.events):
        async with database.transaction() as connection:
            await stories.handle(connection, events)

    summary = await service.recount(database, chunk=3)

    assert summary == (0, 0, 0)
    await agree(database, story)


async def test_recounting_mends_counts_that_were_damaged(database: Database) -> None:
    rng = random.Random(8)
    story = stories.generate_story(rng)
    for events in stories.shuffle_lists(rng, story.events):
        async with database.transaction() as connection:
            await stories.handle(connection, events)
    async with database.transaction() as connection:
        await connection.execute("UPDATE daily_count SET decided = decided + 1")
        await connection.execute("DELETE FROM daily_value")
        await connection.execute("UPDATE proposition SET happened = happened | 4, counted = 127")

    summary = await service.recount(database, chunk=3)

    assert all(summary)
    await agree(database, story)


async def handle_each(database: Database, events: Sequence[Event]) -> None:
    for event in events:
        async with database.transaction() as connection:
            await stories.handle(connection, [event])


DAMAGE = "UPDATE proposition SET happened = 127, counted = 127"


async def test_a_recount_that_was_cut_off_goes_on_where_it_was(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(9)
    story = stories.generate_story(rng)
    await handle_each(database, story.events)
    async with database.transaction() as connection:
        await connection.execute(DAMAGE)
        total = await connection.fetchval("SELECT count(*) FROM proposition")
    chunks, repair = iter(range(2)), store.repair_chunk

    async def repair_until_cut_off(*arguments: Any) -> Any:
        if next(chunks, None) is None:
            raise KeyboardInterrupt
        return await repair(*arguments)

    monkeypatch.setattr(store, "repair_chunk", repair_until_cut_off)
    with pytest.raises(KeyboardInterrupt):
        await service.recount(database, chunk=3)
    monkeypatch.undo()
    async with database.transaction() as connection:
        await connection.execute(DAMAGE)

    rest = await service.recount(database, chunk=3)
    first = await service.recount(database, chunk=3)

    assert (rest.propositions, first.propositions) == (total - 6, 6)
    await agree(database, story)


async def test_events_are_handled_while_it_is_recounted_and_nothing_is_lost(
    database: Database,
) -> None:
    rng = random.Random(10)
    story = stories.generate_story(rng)
    half = len(story.events) // 2

    async def handle(events: list[Event]) -> None:
        await handle_each(database, events)

    await handle(story.events[:half])
    async with database.transaction() as connection:
        await connection.execute("UPDATE daily_count SET clicked = clicked + 1")
        await connection.execute("UPDATE proposition SET counted = 0")
    async with asyncio.timeout(60):
        await asyncio.gather(handle(story.events[half:]), service.recount(database, chunk=2))
    await service.recount(database)  # the damage that a merge moved behind the first one

    await agree(database, story)


async def test_what_is_wrong_is_corrected_by_as_much_however_much_is_counted_meanwhile(
    database: Database,
) -> None:
    """Events between the reading and the correction, on the same days."""
    rng = random.Random(11)
    story = stories.generate_story(rng)
    half = len(story.events) // 2
    await handle_each(database, story.events[:half])
    async with database.transaction() as connection:
        await connection.execute("UPDATE daily_count SET decided = decided + 5")
        await connection.execute("DELETE FROM daily_value")
    async with (
        database.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        corrections = await store.find_corrections(connection)

    await handle_each(database, story.events[half:])
    async with database.transaction() as connection:
        await store.apply_corrections(connection, corrections)

    await agree(database, story)


async def test_two_recounts_at_once_are_refused(database: Database) -> None:
    async with database.connection() as connection:
        await store.lock_recount(connection)

        with pytest.raises(service.RecountUnderWay):
            await service.recount(database)


async def test_an_outcome_counts_only_when_its_decision_is_known(database: Database) -> None:
    decision_event = facts.decision(uuid4(), "vinyl")
    reaction = facts.outcome(decision_event, "ACCEPTED", cents=500)

    async with database.transaction() as connection:
        await stories.handle(connection, [reaction])
        before = await stories.counts_found(connection)
        await stories.handle(connection, [decision_event])
        after = await stories.counts_found(connection)
        values = await stories.values_found(connection)

    assert not before
    assert {key[-1]: count for key, count in after.items()} == {
        "decided": 1, "presented": 1, "accepted": 1
    }  # fmt: skip
    assert list(values.values()) == [500]


async def test_a_list_that_fails_leaves_nothing_behind(database: Database) -> None:
    decision_event = facts.decision(uuid4(), "vinyl")
    bad = facts.outcome(decision_event, "CLICKED", cents=2**70)

    async def hear_both() -> None:
        async with database.transaction() as connection:
            await stories.handle(connection, [decision_event])
            await stories.handle(connection, [bad])

    with pytest.raises(asyncpg.DataError):
        await hear_both()

    async with database.connection() as connection:
        assert not await stories.counts_found(connection)
        assert not await stories.touchpoints_found(connection)
