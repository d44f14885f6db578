"""The load of the process: limits of what is under way, that follow how long it waits."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import random
from time import monotonic

from prometheus_client import Counter, Gauge

from gateway.access.limits.load_shedding.workload import WorkClass, Workload
from gateway.access.limits.rate_limits import Clock, TryLater
from gateway.supergraph.lru import Lru

SHED = Counter("raak_shed", "Requests refused because of overload, by class", ["class"])
LIMIT = Gauge(
    "raak_in_flight_limit", "Requests that may be under way now, in total and by class", ["valve"]
)
IN_FLIGHT = Gauge("raak_in_flight", "Requests under way, in total and by class", ["valve"])
LAG = Gauge("raak_event_loop_lag_seconds", "How late the event loop was when last looked at")

SHARES: Mapping[WorkClass, float] = {
    WorkClass.REPORTING: 0.4,
    WorkClass.DECISIONS: 0.7,
    WorkClass.INGEST: 1.3,
}
"""Which part of the total limit each class may use. To reserve much costs nothing: the limit
grows until what is let in is all that the services can take.
"""
INTERVAL_S = 0.1
LATE_FOR = 10
"""Intervals the event loop must be late in a row before no new operation is planned."""


class Overloaded(TryLater, code="OVERLOADED", status=503):
    """The gateway refuses a request so that others are answered in time."""


@dataclass(frozen=True, slots=True)
class LoadTuning:
    """How load is judged; the first two are settings."""

    max_in_flight: int = 1_000
    queueing_target_ms: int = 200
    start: int = 400
    floor: int = 32
    shrink: float = 0.8
    grow: float = 1.05
    in_use: float = 0.35
    """From which part on a limit counts as in use; reports alone can't use more than 40%."""
    judged_samples: int = 5
    """Fewer say nothing."""
    delayed_share: float = 0.75
    remembered_s: float = 30
    """How long the least latency of a kind of work is believed."""
    kinds_remembered: int = 1_000


class ConcurrencyLimit:
    """A limit of requests under way that follows a verdict: is there a standing queue?"""

    def __init__(self, tuning: LoadTuning) -> None:
        self._tuning = tuning
        self._floor = min(tuning.floor, tuning.max_in_flight)
        self.limit = float(min(tuning.start, tuning.max_in_flight))
        self.in_flight = 0
        self._peak = 0

    def has_room(self, share: float = 1.0) -> bool:
        """Whether one more may enter who may use this share of the limit."""
        return self.in_flight < max(1.0, self.limit * share)

    def enter(self) -> None:
        self.in_flight += 1
        self._peak = max(self._peak, self.in_flight)

    def leave(self) -> None:
        self.in_flight -= 1

    @property
    def is_at_floor(self) -> bool:
        return self.limit <= self._floor

    def adjust(self, is_congested: bool) -> None:
        """Shrink or grow after an interval, unless the limit was not in use."""
        tuning = self._tuning
        if self._peak >= self.limit * tuning.in_use:
            if is_congested:
                self.limit = max(self._floor, min(self.limit, self._peak) * tuning.shrink)
            else:
                self.limit = min(tuning.max_in_flight, self.limit * tuning.grow + 1)
        self._peak = self.in_flight


@dataclass(slots=True)
class LeastLatency:
    """The least latency of a kind of work in this period and the one before, in seconds."""

    now: float
    before: float
    since: float

    def note(self, seconds: float, at: float, *, may_age: bool, period_s: float) -> None:
        if at - self.since > period_s and may_age:
            self.before, self.now, self.since = self.now, seconds, at
        else:
            self.now = min(self.now, seconds)

    @property
    def seconds(self) -> float:
        return min(self.now, self.before)


@dataclass(slots=True)
class DelayCounts:
    """How many of the last requests of a class were answered, and how many of them had waited."""

    samples: int = 0
    delayed: int = 0

    def verdict(self, tuning: LoadTuning) -> bool | None:
        """Whether most had waited; None if there are too few to tell. Then it starts anew."""
        if self.samples < tuning.judged_samples:
            return None
        is_congested = self.delayed >= tuning.delayed_share * self.samples
        self.samples = self.delayed = 0
        return is_congested


class LoadShedder:
    """The load of the process: what is under way, how long it waits, and what may still enter."""

    def __init__(
        self,
        tuning: LoadTuning | None = None,
        clock: Clock = monotonic,
        random: Callable[[], float] = random,
    ) -> None:
        self._tuning = tuning or LoadTuning()
        self._clock = clock
        self._random = random
        self._target_s = self._tuning.queueing_target_ms / 1000
        self._least: Lru[LeastLatency] = Lru(self._tuning.kinds_remembered)
        self._congested_at = float("-inf")
        self._late_for = 0
        self.total = ConcurrencyLimit(self._tuning)
        self.limits = {kind: ConcurrencyLimit(self._tuning) for kind in WorkClass}
        self._delays = {kind: DelayCounts() for kind in WorkClass}

    def check(self, work: Workload) -> None:
        own = self.limits[work.kind]
        if not self.total.has_room(SHARES[work.kind]):
            raise self._overloaded(work, self.total.in_flight, self.total.limit)
        if not own.has_room():
            raise self._overloaded(work, own.in_flight, own.limit)

    def enter(self, work: Workload) -> float:
        """Count a request as under way until `leave`, and tell the time. Raises Overloaded."""
        self.check(work)
        self.total.enter()
        self.limits[work.kind].enter()
        return self._clock()

    def check_new(self) -> None:
        """Raise Overloaded when there is no time to plan an operation that is not known yet."""
        share = SHARES[WorkClass.REPORTING]
        if self._late_for >= LATE_FOR or not self.total.has_room(share):
            SHED.labels("new operations").inc()
            raise Overloaded(
                "The gateway is too busy to plan an operation it does not know.",
                hint="Wait as long as Retry-After says, or register the operation.",
                retry_after_s=self._retry_after_s(),
            )

    def _overloaded(self, work: Workload, in_flight: int, limit: float) -> Overloaded:
        SHED.labels(work.kind.value).inc()
        share = SHARES[work.kind]
        return Overloaded(
            f"The gateway is too busy for {work.kind.value}: {in_flight} requests are under way. "
            f"The limit is {share:.0%} of {limit:.0f} now (at most max_in_flight, "
            f"{self._tuning.max_in_flight}).",
            hint="Wait as long as Retry-After says; it differs for each, so that not all return "
            "at once.",
            retry_after_s=self._retry_after_s(),
        )

    def _retry_after_s(self) -> float:
        return 1 + 2 * self._random()

    def leave(self, work: Workload, entered: float, *, is_whole: bool) -> None:
        """A request has ended; `is_whole` unless it failed."""
        now = self._clock()
        self.total.leave()
        self.limits[work.kind].leave()
        self._note(work, now - entered, now, is_whole=is_whole)

    def _note(self, work: Workload, seconds: float, now: float, *, is_whole: bool) -> None:
        """Judge one latency. A failure may be quick for another reason than that nobody waits, so
        it counts only when it was slow.
        """
        least = self._least.get(work.like)
        if least is None:
            if is_whole:
                self._least.put(work.like, LeastLatency(seconds, seconds, now))
            return
        is_delayed = seconds - least.seconds > self._target_s
        if is_whole:
            least.note(seconds, now, may_age=self._may_age(now), period_s=self._tuning.remembered_s)
        if is_whole or is_delayed:
            delays = self._delays[work.kind]
            delays.samples += 1
            delays.delayed += is_delayed

    def _may_age(self, now: float) -> bool:
        return now - self._congested_at > self._tuning.remembered_s or self.total.is_at_floor

    def judge(self, lag_s: float = 0.0) -> None:
        """Adjust the limits after an interval, in which the event loop was late by `lag_s`."""
        verdicts = {
            kind: verdict
            for kind, delays in self._delays.items()
            if (verdict := delays.verdict(self._tuning)) is not None
        }
        is_late = lag_s > self._target_s
        self._late_for = self._late_for + 1 if is_late else 0
        everyone_waits = is_late or (bool(verdicts) and all(verdicts.values()))
        if is_late or verdicts:
            self.total.adjust(everyone_waits)
        if not everyone_waits:
            for kind, verdict in verdicts.items():
                self.limits[kind].adjust(verdict)
        if is_late or any(verdicts.values()):
            self._congested_at = self._clock()

    async def run(self) -> None:
        """Judge the load for ever, and measure how late the event loop is."""
        while True:
            before = self._clock()
            await asyncio.sleep(INTERVAL_S)
            lag_s = max(0.0, self._clock() - before - INTERVAL_S)
            self.judge(lag_s)
            self.update_metrics(lag_s)

    def update_metrics(self, lag_s: float) -> None:
        LAG.set(lag_s)
        by_class = {kind.value: limit for kind, limit in self.limits.items()}
        for name, limit in {"total": self.total, **by_class}.items():
            LIMIT.labels(name).set(round(limit.limit))
            IN_FLIGHT.labels(name).set(limit.in_flight)
