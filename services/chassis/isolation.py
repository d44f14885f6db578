"""Work on many items at once, of which one may fail without the others.

A chunk, a batch or a list is worked on together, for that is cheap. When it fails, its halves are
tried, and so on, until each failing item stands by itself; the caller sets those aside.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from prometheus_client import Counter

from services.chassis.database import Connection, is_outage
from services.chassis.errors import Unavailable

T = TypeVar("T")
R = TypeVar("R")

SET_ASIDE = Counter(
    "raak_set_aside",
    "What failed alone and was set aside, so that others went on",
    ["service", "work", "reason"],
)


@dataclass(frozen=True, slots=True)
class Failure:
    """The outcome of an item that fails by itself."""

    error: Exception

    @property
    def reason(self) -> str:
        """The class of what was raised: it holds no personal data, as its text may."""
        return type(self.error).__name__


async def isolate_failures(
    connection: Connection | None,
    items: Sequence[T],
    act: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
) -> list[R | Failure]:
    """What `act` gives for each item, in order, or its Failure.

    Where `act` raises, its effects are undone (a savepoint, in a transaction) and it gets halves.
    Outages are raised: the same may work a moment later.
    """
    if not items:
        return []
    try:
        return list(await act(items))
    except Exception as error:  # the caller logs it, for the item that fails by itself
        if isinstance(error, Unavailable) or is_outage(error, connection):
            raise
        if len(items) == 1:
            return [Failure(error)]
    middle = len(items) // 2
    return [
        *await isolate_failures(connection, items[:middle], act),
        *await isolate_failures(connection, items[middle:], act),
    ]
