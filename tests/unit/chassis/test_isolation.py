"""Many worked on at once: who fails is found alone, and costs nobody else anything."""

from collections.abc import Sequence
from typing import cast

import asyncpg
import pytest

from services.chassis import database
from services.chassis.database import DatabaseUnavailable
from services.chassis.errors import Unavailable
from services.chassis.isolation import Failure, isolate_failures


class Work:
    """Doubles numbers; raises for some, having done nothing. Remembers what it was given."""

    def __init__(self, *poison: int, error: Exception | None = None) -> None:
        self.poison = set(poison)
        self.error = error or ValueError("poison")
        self.lists: list[list[int]] = []

    async def __call__(self, numbers: Sequence[int]) -> Sequence[int]:
        """Double all of them, or none."""
        self.lists.append(list(numbers))
        if self.poison.intersection(numbers):
            raise self.error
        return [2 * number for number in numbers]


async def test_what_does_not_fail_is_done_at_once() -> None:
    work = Work()

    done = await isolate_failures(None, range(100), work)

    assert done == [2 * number for number in range(100)]
    assert len(work.lists) == 1


async def test_who_fails_is_found_alone_in_few_steps_and_the_others_are_done() -> None:
    work = Work(3, 77)

    done = await isolate_failures(None, range(100), work)

    failures = [place for place, one in enumerate(done) if isinstance(one, Failure)]
    assert failures == [3, 77]
    assert [one for one in done if not isinstance(one, Failure)] == [
        2 * number for number in range(100) if number not in (3, 77)
    ]
    assert len(work.lists) < 30


async def test_a_failure_tells_its_class_and_not_its_text() -> None:
    [failure] = await isolate_failures(None, [1], Work(1))

    assert isinstance(failure, Failure)
    assert failure.reason == "ValueError"


async def test_nothing_is_done_for_nobody() -> None:
    work = Work()

    assert await isolate_failures(None, [], work) == []
    assert work.lists == []


class Connection:
    """A connection that has ended."""

    def is_closed(self) -> bool:
        """As asyncpg's."""
        return True


@pytest.mark.parametrize(
    "error",
    [
        OSError("away"),
        TimeoutError("away"),
        DatabaseUnavailable("It is away.", hint="Wait."),
        Unavailable("The bus is away.", hint="Wait."),
        asyncpg.DeadlockDetectedError("others were in the way"),
        asyncpg.DiskFullError("no space left on device"),
        asyncpg.InterfaceError("connection is closed"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_is_nobodys_fault_is_raised_and_nobody_is_blamed(error: Exception) -> None:
    work = Work(3, error=error)

    with pytest.raises(type(error)):
        await isolate_failures(cast(database.Connection, Connection()), range(10), work)

    assert len(work.lists) == 1


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.DataError("invalid input"),
        asyncpg.UntranslatableCharacterError("NUL"),
        asyncpg.InterfaceError("a wrong call"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_a_database_refuses_is_one_items_fault(error: Exception) -> None:
    done = await isolate_failures(None, range(10), Work(3, error=error))

    assert [place for place, one in enumerate(done) if isinstance(one, Failure)] == [3]
