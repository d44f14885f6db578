"""Which requests may enter now, and until when they count as under way."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Iterator, Set
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

from prometheus_client import Counter

from gateway.access.limits.load_shedding.load_shedder import LoadShedder
from gateway.access.limits.load_shedding.workload import Priorities, Workload
from gateway.access.limits.rate_limits import Clock, RateLimited, RateLimiter, RateLimits

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]

LONGEST_WAIT_S = 5.0
"""How long a subscription may wait before an event; one that had to wait longer ends."""

SLOWED = Counter("raak_events_slowed", "Events of subscriptions that waited for the caller's rate")
ENDED = Counter("raak_subscriptions_rate_limited", "Subscriptions ended by the caller's rate")

NEW_OPERATION_COST = 10
"""What reading and planning an operation counts as at least, in requests."""
REQUESTS_PER_S = 2_000
"""As so many requests a second it counts when it takes longer: they cost about half a millisecond
each, it takes from one to fifty.
"""


@dataclass(slots=True)
class AdmissionTicket:
    """A request that is under way."""

    is_whole: bool = True
    """Set it to False when the answer is not what it should be."""


class Admission:
    """Admits requests by the caller's own limits first, then by the load of the gateway.

    `who` identifies a caller. `clock` measures how long reading an operation takes.
    """

    def __init__(
        self,
        callers: RateLimiter,
        load: LoadShedder,
        priorities: Priorities,
        clock: Clock = perf_counter,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._sleep = sleep
        self._callers = callers
        self._priorities = priorities
        self._clock = clock
        self.load = load

    @classmethod
    def usual(cls) -> "Admission":
        """With the limits as they are when nobody sets them."""
        return cls(RateLimiter(RateLimits()), LoadShedder(), Priorities.read())

    def classify(self, coordinates: Set[str]) -> Workload:
        return self._priorities.classify(coordinates)

    def arrive(self, who: Hashable) -> None:
        """Count a request before anything is done for it; raises RateLimited."""
        self._callers.arrive(who)

    def check(self, work: Workload) -> None:
        """Raise Overloaded if work of this kind would not be let in now."""
        self.load.check(work)

    @contextmanager
    def charge_planning(self, who: Hashable) -> Iterator[None]:
        """Count the block as reading and planning an operation, also when it is refused; raises
        Overloaded.
        """
        self.load.check_new()
        began = self._clock()
        try:
            yield
        finally:
            tokens = (self._clock() - began) * REQUESTS_PER_S
            self._callers.charge_tokens(who, max(NEW_OPERATION_COST, tokens))

    @contextmanager
    def enter(self, who: Hashable, work: Workload, cost: int = 0) -> Iterator[AdmissionTicket]:
        """Count a request as under way while the block lasts; raises RateLimited or Overloaded."""
        self._callers.charge(who, cost)
        self._callers.enter(who)
        try:
            entered, ticket = self.load.enter(work), AdmissionTicket()
            is_whole = False
            try:
                yield ticket
                is_whole = ticket.is_whole
            finally:
                self.load.leave(work, entered, is_whole=is_whole)
        finally:
            self._callers.leave(who)

    async def hold(
        self, who: Hashable, answers: AsyncGenerator[T, None], cost: int = 0
    ) -> AsyncGenerator[T, None]:
        """The answers of a subscription. It counts as under way until it ends or is closed, and
        each answer as a request of that cost: a caller that has used up its rate waits for the
        next one. Raises RateLimited, also when that wait would be long.

        It waits for events most of the time, so it uses none of the gateway's capacity.
        """
        async with aclosing(answers):
            self._callers.enter(who)
            try:
                async for answer in answers:
                    wait_s = self._callers.charge_event(who, cost)
                    yield answer
                    await self._slow_down(wait_s)
            finally:
                self._callers.leave(who)

    async def _slow_down(self, wait_s: float) -> None:
        if wait_s > LONGEST_WAIT_S:
            ENDED.inc()
            raise RateLimited(
                "The events of this subscription, with what else the caller asks, are more than it "
                f"may have: the next would wait for {wait_s:.1f} s, and the most is "
                f"{LONGEST_WAIT_S:g} s (rate_per_s, burst, cost_per_token).",
                hint="Ask less of each event, and subscribe again after Retry-After.",
                retry_after_s=wait_s,
            )
        if wait_s:
            SLOWED.inc()
            await self._sleep(wait_s)
