"""Keep a failing subgraph cheap: one retry within a budget, and a breaker that stops asking.

The budget is Finagle's RetryBudget: retries may be a share of the requests of the last seconds,
and a few per second so that a quiet gateway retries too (Envoy's `retry_budget` does the same by
requests under way). The breaker has the three states of Nygard's "Release It!".
"""

import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from random import random
from typing import Any, TypeAlias, TypeVar

from prometheus_client import Counter, Gauge

from gateway.supergraph.transport.http import (
    JSON,
    Reply,
    SubgraphError,
    SubgraphResponseTooLarge,
    SubgraphTimeout,
    SubgraphUnavailable,
    Transport,
    request_ends,
)

log = logging.getLogger(__name__)

Clock: TypeAlias = Callable[[], float]
"""The event loop's time, in seconds."""
T = TypeVar("T")

FETCHES = Counter(
    "raak_subgraph_fetches", "Requests to subgraphs by what became of them", ["subgraph", "outcome"]
)
RETRIES = Counter(
    "raak_subgraph_retries",
    "Failed requests to subgraphs that were sent again, or were not for want of budget",
    ["subgraph", "outcome"],
)
OPEN = Gauge("raak_subgraph_breaker_open", "1 while a subgraph is not asked", ["subgraph"])


@dataclass(frozen=True, slots=True)
class Rules:
    """When to retry and when to stop asking."""

    window_s: int = 10
    """How long a fetch counts."""
    retry_share: float = 0.2
    retries_per_s: float = 1.0
    """Retries beyond the share."""
    failing_share: float = 0.5
    failing_of: int = 20
    """Open when this share of at least so many fetches failed,"""
    unreached: int = 5
    """or when so many in a row could not even be sent."""
    rest_s: float = 1.0
    """How long it stays open; doubled whenever a probe fails."""
    longest_rest_s: float = 8.0


class Verdict(StrEnum):
    """What became of a fetch."""

    FINE = "ok"
    UNREACHED = "unreached"
    """It was not sent, so the subgraph can't have acted on it."""
    LATE = "late"
    BROKEN = "broken"
    """It broke off, a proxy failed, or what came can't be read."""
    FAILED = "failed"
    """The subgraph says that it failed. It would fail again."""
    REFUSED = "refused"
    """The breaker is open."""


class State(StrEnum):
    """Of a breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Recent:
    """Counts of the last seconds, in slots of one second."""

    def __init__(self, window_s: int) -> None:
        self._window_s = window_s
        self._slots: deque[list[int]] = deque()
        self.fetches = self.failures = self.retries = 0

    def at(self, now: float) -> "Recent":
        """The counts as they are now: what is too old is forgotten."""
        second = int(now)
        while self._slots and self._slots[0][0] <= second - self._window_s:
            _, fetches, failures, retries = self._slots.popleft()
            self.fetches -= fetches
            self.failures -= failures
            self.retries -= retries
        return self

    def clear(self) -> None:
        """Forget everything."""
        self._slots.clear()
        self.fetches = self.failures = self.retries = 0

    def add(self, now: float, *, fetches: int = 0, failures: int = 0, retries: int = 0) -> None:
        """Count something that has just been."""
        self.at(now)
        second = int(now)
        if not self._slots or self._slots[-1][0] != second:
            self._slots.append([second, 0, 0, 0])
        slot = self._slots[-1]
        slot[1] += fetches
        slot[2] += failures
        slot[3] += retries
        self.fetches += fetches
        self.failures += failures
        self.retries += retries


class Breaker:
    """Decides whether a subgraph is asked.

    Args:
        draw: A random number in [0, 1), so that gateways do not all probe at once.
    """

    def __init__(self, rules: Rules, recent: Recent, draw: Callable[[], float]) -> None:
        self._rules = rules
        self._recent = recent
        self._draw = draw
        self._unreached = 0
        self._rest_s = rules.rest_s
        self.state = State.CLOSED
        self.rests_until = 0.0

    def admits(self, now: float) -> bool:
        """Whether a fetch may go through. Once rested, it is the probe: until that has ended
        there is no other.
        """
        if self.state is State.CLOSED:
            return True
        if self.state is State.HALF_OPEN or now < self.rests_until:
            return False
        self.state = State.HALF_OPEN
        return True

    def ended(self, verdict: Verdict, now: float, *, was_probe: bool) -> None:
        """Learn from a fetch. Those that began before it opened no longer tell anything new."""
        if was_probe:
            self._close() if verdict is Verdict.FINE else self._open(now, self._rest_s * 2)
            return
        if self.state is not State.CLOSED:
            return
        if verdict is Verdict.FINE:
            self._unreached = 0
            return
        self._unreached = self._unreached + 1 if verdict is Verdict.UNREACHED else 0
        if self._unreached >= self._rules.unreached or self._is_failing(now):
            self._open(now, self._rules.rest_s)

    def abandoned(self, now: float) -> None:
        """The probe was called off and tells nothing: let the next fetch be the probe."""
        self.state = State.OPEN
        self.rests_until = now

    def _is_failing(self, now: float) -> bool:
        recent = self._recent.at(now)
        return (
            recent.fetches >= self._rules.failing_of
            and recent.failures >= self._rules.failing_share * recent.fetches
        )

    def _open(self, now: float, rest_s: float) -> None:
        self.state = State.OPEN
        self._rest_s = min(rest_s, self._rules.longest_rest_s)
        self.rests_until = now + self._rest_s * (0.5 + 0.5 * self._draw())

    def _close(self) -> None:
        self.state = State.CLOSED
        self._unreached = 0
        self._recent.clear()


class _Guard:
    """What is known of one subgraph, and what follows from it."""

    def __init__(self, subgraph: str, rules: Rules, draw: Callable[[], float]) -> None:
        self._subgraph = subgraph
        self._rules = rules
        self._recent = Recent(rules.window_s)
        self.breaker = Breaker(rules, self._recent, draw)
        self._outcomes = {verdict: FETCHES.labels(subgraph, verdict.value) for verdict in Verdict}
        self._retried = RETRIES.labels(subgraph, "made")
        self._over_budget = RETRIES.labels(subgraph, "over budget")
        self._open = OPEN.labels(subgraph)
        self._open.set(0)

    def refusal(self, now: float) -> SubgraphUnavailable:
        """What to say while the breaker is open."""
        self._outcomes[Verdict.REFUSED].inc()
        rest_s = max(0.0, self.breaker.rests_until - now)
        hint = f"It failed too often just now; it is asked again in {rest_s:.1f} s."
        return SubgraphUnavailable(self._subgraph, was_sent=False, hint=hint)

    def ended(self, verdict: Verdict, now: float, *, was_probe: bool) -> None:
        """Learn from a fetch."""
        self._outcomes[verdict].inc()
        self._recent.add(now, fetches=1, failures=verdict is not Verdict.FINE)
        fetches, failures = self._recent.fetches, self._recent.failures
        before = self.breaker.state
        self.breaker.ended(verdict, now, was_probe=was_probe)
        if self.breaker.state is not before:
            self._tell(last=verdict.value, fetches=fetches, failures=failures)

    def _tell(self, **counts: str | int) -> None:
        is_open = self.breaker.state is State.OPEN
        self._open.set(is_open)
        level = logging.WARNING if is_open else logging.INFO
        said = "a subgraph is not asked for a while" if is_open else "a subgraph is asked again"
        log.log(level, said, extra={"fields": {"subgraph": self._subgraph, **counts}})

    def may_retry(self, now: float) -> bool:
        """Take a retry out of the budget, if there is one."""
        recent = self._recent.at(now)
        budget = (recent.fetches - recent.retries) * self._rules.retry_share
        budget += self._rules.retries_per_s * self._rules.window_s
        if recent.retries + 1 > budget:
            self._over_budget.inc()
            return False
        self._recent.add(now, retries=1)
        self._retried.inc()
        return True


class Resilient:
    """Any transport, with one retry of what may be sent twice and a breaker for each subgraph.

    Args:
        within_s: How long a fetch may take, by subgraph: the retry has what the first has left.
        draw: A random number in [0, 1) for the length of rests.
    """

    def __init__(
        self,
        inner: Transport,
        *,
        within_s: Callable[[str], float] = lambda subgraph: inf,
        rules: Rules | None = None,
        clock: Clock = time.monotonic,
        draw: Callable[[], float] = random,
    ) -> None:
        self._inner = inner
        self._within_s = within_s
        self._rules = rules or Rules()
        self._clock = clock
        self._draw = draw
        self._guards: dict[str, _Guard] = {}

    def states(self) -> dict[str, str]:
        """Each subgraph asked so far, with the state of its breaker."""
        return {name: guard.breaker.state.value for name, guard in self._guards.items()}

    async def fetch(
        self, subgraph: str, body: bytes, headers: Mapping[str, str], *, is_idempotent: bool
    ) -> Reply:
        """Send a GraphQL request, twice if need be."""

        def send() -> Coroutine[Any, Any, Reply]:
            return self._inner.fetch(subgraph, body, headers, is_idempotent=is_idempotent)

        guard = self._guard(subgraph)
        started = self._clock()
        outcome, verdict = await self._attempt(guard, send, started)
        if verdict in RETRIED and (is_idempotent or verdict is Verdict.UNREACHED):
            ends = min(request_ends.get() or inf, started + self._within_s(subgraph))
            if (now := self._clock()) < ends and guard.may_retry(now):
                again, verdict = await self._again(guard, send, now, ends)
                if verdict is not Verdict.REFUSED:
                    outcome = again
        if isinstance(outcome, SubgraphError):
            raise outcome
        return outcome

    async def _again(
        self, guard: _Guard, send: Callable[[], Coroutine[Any, Any, T]], now: float, ends: float
    ) -> tuple[T | SubgraphError, Verdict]:
        """Send something once more, within the time of both."""
        token = request_ends.set(None if ends == inf else ends)
        try:
            return await self._attempt(guard, send, now)
        finally:
            request_ends.reset(token)

    @asynccontextmanager
    async def stream(
        self, subgraph: str, body: bytes, headers: Mapping[str, str]
    ) -> AsyncIterator[AsyncIterator[JSON]]:
        """Send a subscription, once; its beginning counts as a fetch, its end does not."""
        async with AsyncExitStack() as stack:

            def begin() -> Coroutine[Any, Any, AsyncIterator[JSON]]:
                return stack.enter_async_context(self._inner.stream(subgraph, body, headers))

            begun, _ = await self._attempt(self._guard(subgraph), begin, self._clock())
            if isinstance(begun, SubgraphError):
                raise begun
            yield begun

    async def _attempt(
        self, guard: _Guard, send: Callable[[], Coroutine[Any, Any, T]], now: float
    ) -> tuple[T | SubgraphError, Verdict]:
        """Send something if the breaker lets it through, and learn from what becomes of it."""
        breaker = guard.breaker
        if not breaker.admits(now):
            return guard.refusal(now), Verdict.REFUSED
        is_probe = breaker.state is State.HALF_OPEN
        outcome: T | SubgraphError
        try:
            outcome = await send()
            verdict = _judged(outcome)
        except SubgraphError as error:
            outcome, verdict = error, _verdict(error)
        except BaseException:  # cancelled: nobody waits any more
            if is_probe:
                breaker.abandoned(self._clock())
            raise
        guard.ended(verdict, self._clock(), was_probe=is_probe)
        return outcome, verdict

    def _guard(self, subgraph: str) -> _Guard:
        guard = self._guards.get(subgraph)
        if guard is None:
            guard = self._guards[subgraph] = _Guard(subgraph, self._rules, self._draw)
        return guard


RETRIED = frozenset({Verdict.UNREACHED, Verdict.BROKEN})
"""Not what was late: it has had all of its time, and whoever waits would wait twice as long."""
GATEWAY_ERRORS = frozenset({502, 503, 504})


def _verdict(error: SubgraphError) -> Verdict:
    if isinstance(error, SubgraphResponseTooLarge):
        return Verdict.FINE  # it works; it was asked for too much, and would be again
    if isinstance(error, SubgraphUnavailable) and not error.was_sent:
        return Verdict.UNREACHED
    return Verdict.LATE if isinstance(error, SubgraphTimeout) else Verdict.BROKEN


def _judged(sent: object) -> Verdict:
    """GraphQL errors are no failure of the subgraph, unless its status says so. A stream that has
    begun is fine.
    """
    if not isinstance(sent, Reply):
        return Verdict.FINE
    if sent.status in GATEWAY_ERRORS:
        return Verdict.BROKEN
    if sent.status >= 500:
        return Verdict.FAILED
    return Verdict.BROKEN if isinstance(sent.said, str) else Verdict.FINE
