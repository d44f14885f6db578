"""Keep a failing subgraph cheap: one retry within a budget, and a circuit breaker.

The budget is Finagle's RetryBudget: retries may be a share of the requests of the last seconds,
and a few per second so that a quiet gateway retries too (Envoy's `retry_budget` does the same by
requests under way). The breaker has the three states of Nygard's "Release It!".
"""

import logging
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from math import inf
from random import random
from typing import Any, TypeAlias, TypeVar

import prometheus_client as prometheus

from gateway.supergraph.transport.subgraph_response import (
    JSON,
    SubgraphError,
    SubgraphResponse,
    SubgraphResponseTooLarge,
    SubgraphTimeout,
    SubgraphUnavailable,
)
from gateway.supergraph.transport.transport import Transport, request_deadline

log = logging.getLogger(__name__)

Clock: TypeAlias = Callable[[], float]
"""The event loop's time, in seconds."""
T = TypeVar("T")

FETCHES = prometheus.Counter(
    "raak_subgraph_fetches", "Requests to subgraphs by what became of them", ["subgraph", "outcome"]
)
RETRIES = prometheus.Counter(
    "raak_subgraph_retries",
    "Failed requests to subgraphs that were sent again, or were not for want of budget",
    ["subgraph", "outcome"],
)
OPEN = prometheus.Gauge(
    "raak_subgraph_breaker_open", "1 while a subgraph gets no requests", ["subgraph"]
)


@dataclass(frozen=True, slots=True)
class ResilienceSettings:
    """When to retry, and when to stop sending requests to a subgraph."""

    window_s: int = 10
    """How long a fetch counts."""
    retry_ratio: float = 0.2
    min_retries_per_s: float = 1.0
    """Retries beyond the share."""
    failure_ratio: float = 0.5
    min_fetches: int = 20
    """The circuit opens when this share of at least so many fetches failed,"""
    max_unreachable: int = 5
    """or when so many in a row could not even be sent."""
    open_s: float = 1.0
    """How long the circuit stays open; doubled whenever a probe fails."""
    max_open_s: float = 8.0


class FetchOutcome(StrEnum):
    SUCCESS = "ok"
    UNREACHABLE = "unreached"
    """It was not sent, so the subgraph can't have acted on it."""
    TIMEOUT = "late"
    BROKEN = "broken"
    """It broke off, a proxy failed, or what came can't be read."""
    FAILED = "failed"
    """The subgraph says that it failed. It would fail again."""
    REFUSED = "refused"
    """The circuit is open."""


class CircuitState(StrEnum):
    """Whether requests go through, none does, or one probe does."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class FetchWindow:
    """Counts of the last seconds, in slots of one second."""

    def __init__(self, window_s: int) -> None:
        self._window_s = window_s
        self._slots: deque[tuple[int, Counter[str]]] = deque(maxlen=window_s)

    def add(self, now: float, *events: str) -> None:
        second = int(now)
        if not self._slots or self._slots[-1][0] != second:
            self._slots.append((second, Counter()))
        self._slots[-1][1].update(events)

    def total(self, now: float) -> Counter[str]:
        """The counts of the window that ends now."""
        begin = int(now) - self._window_s
        return sum((counts for second, counts in self._slots if second > begin), Counter[str]())

    def clear(self) -> None:
        self._slots.clear()


class CircuitBreaker:
    """Decides whether one subgraph is sent a request, and is sent it again; counts what became of
    the requests.

    Args:
        draw: A random number in [0, 1), so that gateways do not all probe at once.
    """

    def __init__(
        self, subgraph: str, settings: ResilienceSettings, draw: Callable[[], float]
    ) -> None:
        self._subgraph = subgraph
        self._settings = settings
        self._draw = draw
        self._window = FetchWindow(settings.window_s)
        self._unreachable = 0
        self._open_s = settings.open_s
        self._open_until = 0.0
        self.state = CircuitState.CLOSED
        self._outcomes = {outcome: FETCHES.labels(subgraph, outcome) for outcome in FetchOutcome}
        self._retries = {done: RETRIES.labels(subgraph, done) for done in ("made", "over budget")}
        OPEN.labels(subgraph).set(0)

    def admit(self, now: float) -> bool:
        """Whether a fetch may go through. The first one after the circuit was open is the probe:
        until it has ended there is no other.
        """
        if self.state is CircuitState.OPEN and now >= self._open_until:
            self.state = CircuitState.HALF_OPEN
            return True
        return self.state is CircuitState.CLOSED

    def refuse(self, now: float) -> SubgraphUnavailable:
        """The error while the circuit is open."""
        self._outcomes[FetchOutcome.REFUSED].inc()
        open_s = max(0.0, self._open_until - now)
        hint = f"It failed too often just now; try again in {open_s:.1f} s."
        return SubgraphUnavailable(self._subgraph, was_sent=False, hint=hint)

    def record(self, outcome: FetchOutcome, now: float, *, was_probe: bool) -> None:
        """Learn from a fetch. One that began before the circuit opened no longer counts."""
        self._outcomes[outcome].inc()
        is_success = outcome is FetchOutcome.SUCCESS
        self._window.add(now, *(("fetches",) if is_success else ("fetches", "failures")))
        if was_probe:
            state = CircuitState.CLOSED if is_success else CircuitState.OPEN
            self._change(state, outcome, now, open_s=self._open_s * 2)
        elif self.state is CircuitState.CLOSED:
            is_unreachable = outcome is FetchOutcome.UNREACHABLE
            self._unreachable = self._unreachable + 1 if is_unreachable else 0
            if not is_success and self._is_failing(now):
                self._change(CircuitState.OPEN, outcome, now, open_s=self._settings.open_s)

    def abandon_probe(self, now: float) -> None:
        """The probe was cancelled: let the next fetch be the probe."""
        self.state = CircuitState.OPEN
        self._open_until = now

    def take_retry(self, now: float) -> bool:
        """Take a retry out of the budget, if there is one."""
        counts = self._window.total(now)
        budget = (counts["fetches"] - counts["retries"]) * self._settings.retry_ratio
        budget += self._settings.min_retries_per_s * self._settings.window_s
        if counts["retries"] + 1 > budget:
            self._retries["over budget"].inc()
            return False
        self._window.add(now, "retries")
        self._retries["made"].inc()
        return True

    def _is_failing(self, now: float) -> bool:
        counts = self._window.total(now)
        return self._unreachable >= self._settings.max_unreachable or (
            counts["fetches"] >= self._settings.min_fetches
            and counts["failures"] >= self._settings.failure_ratio * counts["fetches"]
        )

    def _change(
        self, state: CircuitState, outcome: FetchOutcome, now: float, *, open_s: float
    ) -> None:
        """Open or close the circuit, and log what led to it."""
        counts = self._window.total(now)
        fields = {
            "subgraph": self._subgraph,
            "last": outcome.value,
            "fetches": counts["fetches"],
            "failures": counts["failures"],
        }
        self.state = state
        OPEN.labels(self._subgraph).set(state is CircuitState.OPEN)
        if state is CircuitState.OPEN:
            self._open_s = min(open_s, self._settings.max_open_s)
            self._open_until = now + self._open_s * (0.5 + 0.5 * self._draw())
            log.warning("a subgraph gets no requests for a while", extra={"fields": fields})
        else:
            self._unreachable = 0
            self._window.clear()
            log.info("a subgraph gets requests again", extra={"fields": fields})


class ResilientTransport:
    """Any transport, with one retry of what may be sent twice and a circuit breaker per subgraph.

    Args:
        within_s: How long a fetch may take, by subgraph: the retry has what the first has left.
        draw: A random number in [0, 1) for how long a circuit stays open.
    """

    def __init__(
        self,
        inner: Transport,
        *,
        within_s: Callable[[str], float] = lambda subgraph: inf,
        settings: ResilienceSettings | None = None,
        clock: Clock = time.monotonic,
        draw: Callable[[], float] = random,
    ) -> None:
        self._inner = inner
        self._within_s = within_s
        self._settings = settings or ResilienceSettings()
        self._clock = clock
        self._draw = draw
        self._breakers: dict[str, CircuitBreaker] = {}

    def circuit_states(self) -> dict[str, str]:
        return {name: breaker.state.value for name, breaker in self._breakers.items()}

    async def fetch(
        self, subgraph: str, body: bytes, headers: Mapping[str, str], *, is_idempotent: bool
    ) -> SubgraphResponse:
        """Send a GraphQL request, twice if need be."""
        breaker = self._breaker(subgraph)
        send = partial(self._inner.fetch, subgraph, body, headers, is_idempotent=is_idempotent)
        started = self._clock()
        result, outcome = await self._attempt(breaker, send, started)
        if outcome in RETRYABLE and (is_idempotent or outcome is FetchOutcome.UNREACHABLE):
            deadline = min(request_deadline.get() or inf, started + self._within_s(subgraph))
            if (now := self._clock()) < deadline and breaker.take_retry(now):
                token = request_deadline.set(None if deadline == inf else deadline)
                try:
                    retried, outcome = await self._attempt(breaker, send, now)
                finally:
                    request_deadline.reset(token)
                if outcome is not FetchOutcome.REFUSED:
                    result = retried
        if isinstance(result, SubgraphError):
            raise result
        return result

    @asynccontextmanager
    async def stream(
        self, subgraph: str, body: bytes, headers: Mapping[str, str]
    ) -> AsyncIterator[AsyncIterator[JSON]]:
        """Send a subscription, once; its beginning counts as a fetch, its end does not."""
        async with AsyncExitStack() as stack:
            events, _ = await self._attempt(
                self._breaker(subgraph),
                lambda: stack.enter_async_context(self._inner.stream(subgraph, body, headers)),
                self._clock(),
            )
            if isinstance(events, SubgraphError):
                raise events
            yield events

    async def _attempt(
        self, breaker: CircuitBreaker, send: Callable[[], Coroutine[Any, Any, T]], now: float
    ) -> tuple[T | SubgraphError, FetchOutcome]:
        """Send something if the circuit breaker admits it, and record its outcome."""
        if not breaker.admit(now):
            return breaker.refuse(now), FetchOutcome.REFUSED
        is_probe = breaker.state is CircuitState.HALF_OPEN
        result: T | SubgraphError
        try:
            result = await send()
            outcome = _classify_response(result)
        except SubgraphError as error:
            result, outcome = error, _classify_error(error)
        except BaseException:  # cancelled: nobody waits for it any more
            if is_probe:
                breaker.abandon_probe(self._clock())
            raise
        breaker.record(outcome, self._clock(), was_probe=is_probe)
        return result, outcome

    def _breaker(self, subgraph: str) -> CircuitBreaker:
        if subgraph not in self._breakers:
            self._breakers[subgraph] = CircuitBreaker(subgraph, self._settings, self._draw)
        return self._breakers[subgraph]


RETRYABLE = frozenset({FetchOutcome.UNREACHABLE, FetchOutcome.BROKEN})
"""Not a timeout: it has had all of its time, and the client would wait twice as long."""
GATEWAY_ERRORS = frozenset({502, 503, 504})


def _classify_error(error: SubgraphError) -> FetchOutcome:
    if isinstance(error, SubgraphResponseTooLarge):
        return FetchOutcome.SUCCESS  # the subgraph works; the request asks for too much
    if isinstance(error, SubgraphUnavailable) and not error.was_sent:
        return FetchOutcome.UNREACHABLE
    return FetchOutcome.TIMEOUT if isinstance(error, SubgraphTimeout) else FetchOutcome.BROKEN


def _classify_response(sent: object) -> FetchOutcome:
    """GraphQL errors are no failure of the subgraph, unless its status says so. A stream that has
    begun is a success.
    """
    if not isinstance(sent, SubgraphResponse):
        return FetchOutcome.SUCCESS
    if sent.status in GATEWAY_ERRORS:
        return FetchOutcome.BROKEN
    if sent.status >= 500:
        return FetchOutcome.FAILED
    return FetchOutcome.BROKEN if isinstance(sent.content, str) else FetchOutcome.SUCCESS
