"""One watcher's ear: what he has still to be told, bounded, and where he listens."""

import asyncio
from collections import deque
from uuid import UUID

from gateway.live.activity import Activity, ActivityKind, CustomerDigests
from services.chassis.clock import Clock, utc_now
from services.chassis.errors import RaakError
from services.chassis.ids import new_id


def note(kind: ActivityKind, customer_id: UUID, clock: Clock = utc_now) -> Activity:
    """An activity that tells of our hearing, not of the customer."""
    return Activity(new_id(), clock(), kind, customer_id)


class WatchedCustomer:
    """One customer who is watched, by one or more."""

    def __init__(self, customer_id: UUID) -> None:
        self.customer_id = customer_id
        self.watches: set[CustomerWatch] = set()
        self.snapshot: CustomerDigests | None = None
        """The last one, to tell changes by; None: the next one tells nothing but itself."""


class CustomerWatch:
    """What one watcher has still to be told. `most` activities wait for him at a time."""

    def __init__(self, topic: WatchedCustomer, most: int, *, follows_unproved: bool = True) -> None:
        self.topic = topic
        self.follows_unproved = follows_unproved
        """Whether it goes on with who its customer has become by the word of a write key."""
        topic.watches.add(self)
        self._most = most
        self._waiting: deque[Activity] = deque()
        self._news = asyncio.Event()
        self._failure: RaakError | None = None

    def tell(self, activity: Activity) -> None:
        """Have this told next. When too many wait they are left out, and a gap is told instead."""
        if len(self._waiting) >= self._most:
            self._waiting.clear()
            self._waiting.append(note(ActivityKind.GAP, activity.customer_id))
        self._waiting.append(activity)
        self._news.set()

    def fail(self, failure: RaakError) -> None:
        """Have the watcher know, after all that waits, that nothing comes any more."""
        self._failure = failure
        self._news.set()

    async def next(self) -> Activity:
        """The next activity; waits for one. Raises what the watch failed with."""
        while not self._waiting:
            if self._failure is not None:
                raise self._failure
            self._news.clear()
            await self._news.wait()
        return self._waiting.popleft()
