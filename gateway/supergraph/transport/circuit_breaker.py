"""Keep a failing subgraph cheap: one retry within a budget, and a circuit breaker.

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

FETCHES = Counter(
    "raak_subgraph_fetches", "Requests to subgraphs by what became of them", ["subgraph", "outcome"]
)
RETRIES = Counter(
    "raak_subgraph_retries",
    "Failed requests to subgraphs that were sent again, or were not for want of budget",
    ["subgraph", "outcome"],
)
OPEN = Gauge("raak_subgraph_breaker_open", "1 while a subgraph gets no requests", ["subgraph"])


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
    """What became of a fetch."""

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
        self._slots: deque[list[int]] = deque()
        self.fetches = self.failures = self.retries = 0

    def at(self, now: float) -> "FetchWindow":
        """The counts of the window that ends now."""
        second = int(now)
        while self._slots and self._slots[0][0] <= second - self._window_s:
            _, fetches, failures, retries = self._slots.popleft()
            self.fetches -= fetches
            self.failures -= failures
            self.retries -= retries
        return self

    def clear(self) -> None:
        """Start from nothing."""
        self._slots.clear()
        self.fetches = self.failures = self.retries = 0

    def add(self, now: float, *, fetches: int = 0, failures: int = 0, retries: int = 0) -> None:
        """Count what has just happened."""
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


class CircuitBreaker:
    """Decides whether a request to a subgraph may be sent.

    Args:
        draw: A random number in [0, 1), so that gateways do not all probe at once.
    """

    def __init__(
        self, settings: ResilienceSettings, window: FetchWindow, draw: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._window = window
        self._draw = draw
        self._unreachable = 0
        self._open_s = settings.open_s
        self.state = CircuitState.CLOSED
        self.open_until = 0.0

    def admit(self, now: float) -> bool:
        """Whether a fetch may go through. The first one after `open_until` is the probe: until it
        has ended there is no other.
        """
        if self.state is CircuitState.CLOSED:
            return True
        if self.state is CircuitState.HALF_OPEN or now < self.open_until:
            return False
        self.state = CircuitState.HALF_OPEN
        return True

    def record(self, outcome: FetchOutcome, now: float, *, was_probe: bool) -> None:
        """Learn from a fetch. One that began before the circuit opened no longer counts."""
        if was_probe:
            self._close() if outcome is FetchOutcome.SUCCESS else self._open(now, self._open_s * 2)
            return
        if self.state is not CircuitState.CLOSED:
            return
        if outcome is FetchOutcome.SUCCESS:
            self._unreachable = 0
            return
        self._unreachable = self._unreachable + 1 if outcome is FetchOutcome.UNREACHABLE else 0
        if self._unreachable >= self._settings.max_unreachable or self._is_failing(now):
            self._open(now, self._settings.open_s)

    def abandon_probe(self, now: float) -> None:
        """The probe was cancelled: let the next fetch be the probe."""
        self.state = CircuitState.OPEN
        self.open_until = now

    def _is_failing(self, now: float) -> bool:
        window = self._window.at(now)
        return (
            window.fetches >= self._settings.min_fetches
            and window.failures >= self._settings.failure_ratio * window.fetches
        )

    def _open(self, now: float, open_s: float) -> None:
        self.state = CircuitState.OPEN
        self._open_s = min(open_s, self._settings.max_open_s)
        self.open_until = now + self._open_s * (0.5 + 0.5 * self._draw())

    def _close(self) -> None:
        self.state = CircuitState.CLOSED
        self._unreachable = 0
        self._window.clear()


class _SubgraphCircuit:
    """One subgraph's circuit breaker, retry budget and metrics."""

    def __init__(
        self, subgraph: str, settings: ResilienceSettings, draw: Callable[[], float]
    ) -> None:
        self._subgraph = subgraph
        self._settings = settings
        self._window = FetchWindow(settings.window_s)
        self.breaker = CircuitBreaker(settings, self._window, draw)
        self._outcomes = {
            outcome: FETCHES.labels(subgraph, outcome.value) for outcome in FetchOutcome
        }
        self._retries_sent = RETRIES.labels(subgraph, "made")
        self._over_budget = RETRIES.labels(subgraph, "over budget")
        self._gauge = OPEN.labels(subgraph)
        self._gauge.set(0)

    def refuse(self, now: float) -> SubgraphUnavailable:
        """The error while the circuit is open."""
        self._outcomes[FetchOutcome.REFUSED].inc()
        open_s = max(0.0, self.breaker.open_until - now)
        hint = f"It failed too often just now; try again in {open_s:.1f} s."
        return SubgraphUnavailable(self._subgraph, was_sent=False, hint=hint)

    def record(self, outcome: FetchOutcome, now: float, *, was_probe: bool) -> None:
        """Count a fetch, and log it if the circuit opens or closes."""
        self._outcomes[outcome].inc()
        self._window.add(now, fetches=1, failures=outcome is not FetchOutcome.SUCCESS)
        fetches, failures = self._window.fetches, self._window.failures
        before = self.breaker.state
        self.breaker.record(outcome, now, was_probe=was_probe)
        if self.breaker.state is not before:
            self._log_change(last=outcome.value, fetches=fetches, failures=failures)

    def _log_change(self, **counts: str | int) -> None:
        is_open = self.breaker.state is CircuitState.OPEN
        self._gauge.set(is_open)
        level = logging.WARNING if is_open else logging.INFO
        message = (
            "a subgraph gets no requests for a while"
            if is_open
            else "a subgraph gets requests again"
        )
        log.log(level, message, extra={"fields": {"subgraph": self._subgraph, **counts}})

    def take_retry(self, now: float) -> bool:
        """Take a retry out of the budget, if there is one."""
        window = self._window.at(now)
        budget = (window.fetches - window.retries) * self._settings.retry_ratio
        budget += self._settings.min_retries_per_s * self._settings.window_s
        if window.retries + 1 > budget:
            self._over_budget.inc()
            return False
        self._window.add(now, retries=1)
        self._retries_sent.inc()
        return True


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
        self._circuits: dict[str, _SubgraphCircuit] = {}

    def circuit_states(self) -> dict[str, str]:
        """The state of each subgraph's circuit, of those that were sent anything so far."""
        return {name: circuit.breaker.state.value for name, circuit in self._circuits.items()}

    async def fetch(
        self, subgraph: str, body: bytes, headers: Mapping[str, str], *, is_idempotent: bool
    ) -> SubgraphResponse:
        """Send a GraphQL request, twice if need be."""

        def send() -> Coroutine[Any, Any, SubgraphResponse]:
            return self._inner.fetch(subgraph, body, headers, is_idempotent=is_idempotent)

        circuit = self._circuit(subgraph)
        started = self._clock()
        result, outcome = await self._attempt(circuit, send, started)
        if outcome in RETRYABLE and (is_idempotent or outcome is FetchOutcome.UNREACHABLE):
            deadline = min(request_deadline.get() or inf, started + self._within_s(subgraph))
            if (now := self._clock()) < deadline and circuit.take_retry(now):
                retried, outcome = await self._retry(circuit, send, now, deadline)
                if outcome is not FetchOutcome.REFUSED:
                    result = retried
        if isinstance(result, SubgraphError):
            raise result
        return result

    async def _retry(
        self,
        circuit: _SubgraphCircuit,
        send: Callable[[], Coroutine[Any, Any, T]],
        now: float,
        deadline: float,
    ) -> tuple[T | SubgraphError, FetchOutcome]:
        """Send something once more, within the time of both attempts."""
        token = request_deadline.set(None if deadline == inf else deadline)
        try:
            return await self._attempt(circuit, send, now)
        finally:
            request_deadline.reset(token)

    @asynccontextmanager
    async def stream(
        self, subgraph: str, body: bytes, headers: Mapping[str, str]
    ) -> AsyncIterator[AsyncIterator[JSON]]:
        """Send a subscription, once; its beginning counts as a fetch, its end does not."""
        async with AsyncExitStack() as stack:

            def begin() -> Coroutine[Any, Any, AsyncIterator[JSON]]:
                return stack.enter_async_context(self._inner.stream(subgraph, body, headers))

            events, _ = await self._attempt(self._circuit(subgraph), begin, self._clock())
            if isinstance(events, SubgraphError):
                raise events
            yield events

    async def _attempt(
        self, circuit: _SubgraphCircuit, send: Callable[[], Coroutine[Any, Any, T]], now: float
    ) -> tuple[T | SubgraphError, FetchOutcome]:
        """Send something if the circuit breaker admits it, and record its outcome."""
        breaker = circuit.breaker
        if not breaker.admit(now):
            return circuit.refuse(now), FetchOutcome.REFUSED
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
        circuit.record(outcome, self._clock(), was_probe=is_probe)
        return result, outcome

    def _circuit(self, subgraph: str) -> _SubgraphCircuit:
        circuit = self._circuits.get(subgraph)
        if circuit is None:
            circuit = self._circuits[subgraph] = _SubgraphCircuit(
                subgraph, self._settings, self._draw
            )
        return circuit


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
