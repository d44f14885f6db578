"""Refuse early what could only be answered late: reports first, then decisions, ingest last.

How many requests may be under way is found out, not set. As CoDel does with a queue (Nichols and
Jacobson, "Controlling Queue Delay", ACM Queue 2012), we look at delay, not at length: the latency
of a request beyond the least that work of its kind has recently taken is the time it spent
waiting, somewhere in the services or in our own event loop. When most requests of an interval
waited longer than a target, there is a standing queue, and the limit shrinks by a fifth; when they
did not and the limit is in use, it grows by a twentieth. Netflix's concurrency-limits taught the
rest: a limit that is not in use is not judged, and one client may not use what another needs.

- A kind of work is an operation's root fields, so that a slow report is compared with reports.
- The least latency ages, but not while there is a queue: else a lasting overload would in time
  look normal. Only a limit at its floor lets it age, for then nothing else can be the cause.
- Every class has a valve of its own beside that of the house. If all classes wait, the house's
  shrinks; if one does and others do not, only its own.
- Planning an operation takes longer than answering one that is known, so new ones are refused as
  reports are, and when the event loop has been late for a second.
- Of the house's limit reports may use 40%, decisions 70%, and ingest 30% more than there is: what
  is kept free for a higher class is never taken by a lower one, however much of it there is.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Hashable, Mapping, Set
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from random import random
from time import monotonic
from types import TracebackType
from typing import Any, TypeVar

import yaml
from prometheus_client import Counter, Gauge

from gateway.access.rates import CallerLimits, Clock, Rates, TryLater
from services.chassis.errors import RaakError

T = TypeVar("T")

FILE = Path(__file__).with_name("priorities.yaml")

SHED = Counter("raak_shed", "Requests refused because of overload, by class", ["class"])
LIMIT = Gauge("raak_in_flight_limit", "Requests that may be under way now, by valve", ["valve"])
IN_FLIGHT = Gauge("raak_in_flight", "Requests under way, by valve", ["valve"])
LAG = Gauge("raak_event_loop_lag_seconds", "How late the event loop was when last looked at")


class Overloaded(TryLater):
    """The gateway refuses a request so that others are answered in time."""

    code = "OVERLOADED"
    status = 503


class InvalidPriorities(RaakError):
    """The file of priorities cannot be read."""

    code = "INVALID_PRIORITIES"
    status = 500


class Class(Enum):
    """What work is for; the later, the more it matters."""

    REPORTING = "reporting"
    DECISIONS = "decisions"
    INGEST = "ingest"


SHARES: Mapping[Class, float] = {
    Class.REPORTING: 0.4,
    Class.DECISIONS: 0.7,
    Class.INGEST: 1.3,
}
"""Which part of the house's limit each class may use. To reserve much costs nothing: the limit
grows until what is let in is all that the services can take.
"""
INTERVAL_S = 0.1
LATE_FOR = 10
"""Intervals the event loop must be late in a row before no new operation is planned."""
NEW_OPERATION_COST = 10
"""What reading and planning an operation counts as, in requests: it takes milliseconds."""
ORDER = {kind: place for place, kind in enumerate(Class)}


@dataclass(frozen=True, slots=True)
class Work:
    """What a request is, for judging how long it takes: its class, and what it is like."""

    kind: Class
    like: Hashable


class Priorities:
    """The class of each root field, by coordinate; reporting where none is named."""

    def __init__(self, classes: Mapping[str, Class]) -> None:
        self.classes = classes

    @classmethod
    def read(cls, path: Path = FILE) -> "Priorities":
        """The priorities of a file: lists of `Type.field` by class. Raises InvalidPriorities."""
        try:
            listed = yaml.safe_load(path.read_text()).items()
            return cls({field: Class(name) for name, fields in listed for field in fields})
        except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
            raise InvalidPriorities(
                f"The file of priorities cannot be read: {error}",
                hint=f"Write lists of `Type.field` under {', '.join(k.value for k in Class)}.",
            ) from None

    def work(self, coordinates: Set[str]) -> Work:
        """What an operation with these root fields is; of several the least important counts."""
        asked = frozenset(field for field in coordinates if ".__" not in field)
        kinds = (self.classes.get(field, Class.REPORTING) for field in asked)
        return Work(min(kinds, key=ORDER.__getitem__, default=Class.REPORTING), asked)


@dataclass(frozen=True, slots=True)
class Tuning:
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


class Valve:
    """A limit of requests under way that follows a verdict: is there a standing queue?"""

    def __init__(self, tuning: Tuning) -> None:
        self._tuning = tuning
        self.limit = float(min(tuning.start, tuning.max_in_flight))
        self.in_flight = 0
        self._peak = 0

    def has_room(self, share: float = 1.0) -> bool:
        """Whether one more may enter who may use this share of the limit."""
        return self.in_flight < max(1.0, self.limit * share)

    def enter(self) -> None:
        """One more is under way."""
        self.in_flight += 1
        self._peak = max(self._peak, self.in_flight)

    def leave(self) -> None:
        """One less is under way."""
        self.in_flight -= 1

    @property
    def is_at_floor(self) -> bool:
        """Whether it can't shrink further."""
        return self.limit <= self._tuning.floor

    def adjust(self, is_congested: bool) -> None:
        """Shrink or grow after an interval, unless the limit was not in use."""
        tuning = self._tuning
        if self._peak >= self.limit * tuning.in_use:
            if is_congested:
                self.limit = max(tuning.floor, min(self.limit, self._peak) * tuning.shrink)
            else:
                self.limit = min(tuning.max_in_flight, self.limit * tuning.grow + 1)
        self._peak = self.in_flight


@dataclass(slots=True)
class Least:
    """The least latency of a kind of work in this period and the one before, in seconds."""

    now: float
    before: float
    since: float

    def note(self, seconds: float, at: float, *, may_age: bool, period_s: float) -> None:
        """Take a latency into account."""
        if at - self.since > period_s and may_age:
            self.before, self.now, self.since = self.now, seconds, at
        else:
            self.now = min(self.now, seconds)

    @property
    def seconds(self) -> float:
        """The least of both periods."""
        return min(self.now, self.before)


@dataclass(slots=True)
class Delays:
    """How many of the last requests of a class were answered, and how many of them had waited."""

    samples: int = 0
    delayed: int = 0

    def verdict(self, tuning: Tuning) -> bool | None:
        """Whether most had waited; None if there are too few to tell. Then it starts anew."""
        if self.samples < tuning.judged_samples:
            return None
        is_congested = self.delayed >= tuning.delayed_share * self.samples
        self.samples = self.delayed = 0
        return is_congested


class Load:
    """The load of the process: what is under way, how long it waits, and what may still enter."""

    def __init__(
        self,
        tuning: Tuning | None = None,
        clock: Clock = monotonic,
        random: Callable[[], float] = random,
    ) -> None:
        self._tuning = tuning or Tuning()
        self._clock = clock
        self._random = random
        self._target_s = self._tuning.queueing_target_ms / 1000
        self._least: OrderedDict[Hashable, Least] = OrderedDict()
        self._congested_at = float("-inf")
        self._late_for = 0
        self.house = Valve(self._tuning)
        self.valves = {kind: Valve(self._tuning) for kind in Class}
        self._delays = {kind: Delays() for kind in Class}

    def enter(self, work: Work) -> float:
        """Count a request as under way until `leave`, and tell the time. Raises Overloaded."""
        valve = self.valves[work.kind]
        if not self.house.has_room(SHARES[work.kind]):
            raise self._overloaded(work, self.house.in_flight, self.house.limit)
        if not valve.has_room():
            raise self._overloaded(work, valve.in_flight, valve.limit)
        self.house.enter()
        valve.enter()
        return self._clock()

    def check_new(self) -> None:
        """Raise Overloaded when there is no time to plan an operation that is not known yet."""
        share = SHARES[Class.REPORTING]
        if self._late_for >= LATE_FOR or not self.house.has_room(share):
            SHED.labels("new operations").inc()
            raise Overloaded(
                "The gateway is too busy to plan an operation it does not know.",
                hint="Wait as long as Retry-After says, or register the operation.",
                retry_after_s=self._retry_after_s(),
            )

    def _overloaded(self, work: Work, in_flight: int, limit: float) -> Overloaded:
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

    def leave(self, work: Work, entered: float, *, is_whole: bool) -> None:
        """A request has ended; `is_whole` unless it failed."""
        now = self._clock()
        self.house.leave()
        self.valves[work.kind].leave()
        self._note(work, now - entered, now, is_whole=is_whole)

    def _note(self, work: Work, seconds: float, now: float, *, is_whole: bool) -> None:
        """Judge one latency. A failure may be quick for another reason than that nobody waits, so
        it counts only when it was slow.
        """
        least = self._least.get(work.like)
        if least is None:
            if is_whole:
                self._remember(work.like, Least(seconds, seconds, now))
            return
        self._least.move_to_end(work.like)
        is_delayed = seconds - least.seconds > self._target_s
        if is_whole:
            least.note(seconds, now, may_age=self._may_age(now), period_s=self._tuning.remembered_s)
        if is_whole or is_delayed:
            delays = self._delays[work.kind]
            delays.samples += 1
            delays.delayed += is_delayed

    def _remember(self, like: Hashable, least: Least) -> None:
        self._least[like] = least
        if len(self._least) > self._tuning.kinds_remembered:
            self._least.popitem(last=False)

    def _may_age(self, now: float) -> bool:
        return now - self._congested_at > self._tuning.remembered_s or self.house.is_at_floor

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
            self.house.adjust(everyone_waits)
        if not everyone_waits:
            for kind, verdict in verdicts.items():
                self.valves[kind].adjust(verdict)
        if is_late or any(verdicts.values()):
            self._congested_at = self._clock()

    async def run(self) -> None:
        """Judge the load for ever, and measure how late the event loop is."""
        while True:
            before = self._clock()
            await asyncio.sleep(INTERVAL_S)
            lag_s = max(0.0, self._clock() - before - INTERVAL_S)
            self.judge(lag_s)
            self.tell(lag_s)

    def tell(self, lag_s: float) -> None:
        """Bring the metrics up to date."""
        LAG.set(lag_s)
        for name, valve in (("house", self.house), *((k.value, v) for k, v in self.valves.items())):
            LIMIT.labels(name).set(round(valve.limit))
            IN_FLIGHT.labels(name).set(valve.in_flight)


class Admission:
    """Who may enter now: asks the caller's own limits, then the load of the whole gateway.

    `who` is whatever tells one caller from another.
    """

    def __init__(self, callers: CallerLimits, load: Load, priorities: Priorities) -> None:
        self._callers = callers
        self._priorities = priorities
        self.load = load

    @classmethod
    def usual(cls) -> "Admission":
        """With the limits as they are when nobody sets them."""
        return cls(CallerLimits(Rates()), Load(), Priorities.read())

    def work(self, coordinates: Set[str]) -> Work:
        """What an operation with these root fields is, for judging it."""
        return self._priorities.work(coordinates)

    def arrive(self, who: Hashable) -> None:
        """Count a request before anything is done for it; raises RateLimited."""
        self._callers.arrive(who)

    def consider(self, who: Hashable) -> None:
        """Count an operation that has to be read and planned first; raises Overloaded."""
        self.load.check_new()
        self._callers.charge_tokens(who, NEW_OPERATION_COST)

    def enter(self, who: Hashable, work: Work, cost: int = 0) -> "Ticket":
        """Let a request in until its ticket is given back; raises RateLimited or Overloaded."""
        self._callers.charge(who, cost)
        self._callers.enter(who)
        try:
            return Ticket(self._callers, who, self.load, work, self.load.enter(work))
        except Overloaded:
            self._callers.leave(who)
            raise

    def hold(self, who: Hashable, answers: AsyncGenerator[T, None]) -> "Held[T]":
        """Count a subscription as under way until it ends or is closed; raises RateLimited.

        It waits for events most of the time, so it uses none of the gateway's capacity.
        """
        self._callers.enter(who)
        return Held(self._callers, who, answers)


class Held(AsyncGenerator[T, None]):
    """The answers of a subscription that is counted as under way."""

    def __init__(
        self, callers: CallerLimits, who: Hashable, answers: AsyncGenerator[T, None]
    ) -> None:
        self._callers = callers
        self._who = who
        self._answers = answers
        self._is_over = False

    async def asend(self, value: None) -> T:
        """The next answer."""
        try:
            return await self._answers.asend(value)
        except BaseException:
            self._end()
            raise

    async def athrow(self, *error: Any) -> T:
        """Raise an error where the subscription stands."""
        try:
            return await self._answers.athrow(*error)
        except BaseException:
            self._end()
            raise

    async def aclose(self) -> None:
        """End the subscription."""
        self._end()
        await self._answers.aclose()

    def _end(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._callers.leave(self._who)


class Ticket:
    """A request under way in the gateway; a block gives it back."""

    __slots__ = ("_callers", "_entered", "_load", "_who", "_work", "is_whole")

    def __init__(
        self, callers: CallerLimits, who: Hashable, load: Load, work: Work, entered: float
    ) -> None:
        self._callers = callers
        self._who = who
        self._load = load
        self._work = work
        self._entered = entered
        self.is_whole = True
        """Set it to False when the answer is not what it should be."""

    def __enter__(self) -> "Ticket":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._callers.leave(self._who)
        self._load.leave(self._work, self._entered, is_whole=self.is_whole and error is None)
