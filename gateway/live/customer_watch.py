"""What one subscription has still to be sent of its customer, bounded."""

import asyncio
from collections import deque
from uuid import UUID

from gateway.live.activity import Activity, ActivityKind, CustomerDigests
from services.chassis.clock import Clock, utc_now
from services.chassis.errors import RaakError
from services.chassis.ids import new_id


def create_notice(kind: ActivityKind, customer_id: UUID, clock: Clock = utc_now) -> Activity:
    """An activity about the feed (WATCHING, INTERRUPTED, GAP), not about the customer."""
    return Activity(new_id(), clock(), kind, customer_id)


class WatchedCustomer:
    """One customer and all watches on them."""

    def __init__(self, customer_id: UUID) -> None:
        self.customer_id = customer_id
        self.watches: set[CustomerWatch] = set()
        self.digests: CustomerDigests | None = None
        """Of the last snapshot, to find changes by; None: the next one only replaces it."""


class CustomerWatch:
    """The activities that wait for one subscription, `max_waiting` at most."""

    def __init__(
        self, customer: WatchedCustomer, max_waiting: int, *, follows_unproved: bool = True
    ) -> None:
        self.customer = customer
        self.follows_unproved = follows_unproved
        """Whether it follows its customer through a merge that a write key brought about."""
        customer.watches.add(self)
        self._max_waiting = max_waiting
        self._waiting: deque[Activity] = deque()
        self._has_news = asyncio.Event()
        self._failure: RaakError | None = None

    def put(self, activity: Activity) -> None:
        """Add an activity. When too many wait, they are dropped and a GAP takes their place."""
        if len(self._waiting) >= self._max_waiting:
            self._waiting.clear()
            self._waiting.append(create_notice(ActivityKind.GAP, activity.customer_id))
        self._waiting.append(activity)
        self._has_news.set()

    def fail(self, failure: RaakError) -> None:
        """Have `next` raise this, after all that waits."""
        self._failure = failure
        self._has_news.set()

    async def next(self) -> Activity:
        """The next activity; waits for one. Raises what the watch failed with."""
        while not self._waiting:
            if self._failure is not None:
                raise self._failure
            self._has_news.clear()
            await self._has_news.wait()
        return self._waiting.popleft()
