"""Recomputing everybody gives way to what customers do now."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from services.chassis.bus import BusUnavailable
from services.profile.service.refreshing import Refresher


class Counting(Refresher):
    """Counts chunks instead of recomputing them, and stops when told all there are."""

    chunks = 0

    async def recompute_chunk(self) -> int:
        """One more chunk."""
        self.chunks += 1
        raise asyncio.CancelledError


async def test_a_chunk_waits_until_listeners_have_caught_up() -> None:
    behind: Iterator[int] = iter([5_000, 900, 201, 200])
    backlogs = []

    async def backlog() -> int:
        backlogs.append(next(behind))
        return backlogs[-1]

    refresher = Counting(
        database=cast(Any, None),
        cache=cast(Any, None),
        clock=lambda: datetime.now(UTC),
        every_s=60,
        chunk=200,
        backlog=backlog,
    )

    with suppress(asyncio.CancelledError):
        await refresher.run()

    assert backlogs == [5_000, 900, 201, 200]
    assert refresher.chunks == 1


async def test_a_bus_that_does_not_answer_is_told_of_and_not_taken_for_a_full_road() -> None:
    async def backlog() -> int:
        raise BusUnavailable("NATS does not answer.", hint="Start it.")

    refresher = Counting(
        database=cast(Any, None),
        cache=cast(Any, None),
        clock=lambda: datetime.now(UTC),
        every_s=60,
        chunk=200,
        backlog=backlog,
    )

    with pytest.raises(BusUnavailable):
        await refresher.run()

    assert refresher.chunks == 0
