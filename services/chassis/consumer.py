"""Handling events: in lists, once each, in one transaction; a poisonous one dies alone.

A handler takes a list of events of one fact. The chassis gives it those the inbox does not know
yet, in stream order, and commits inbox and effects together. When a list fails, its events are
handled one by one; one that fails `FAILURES` times becomes a dead letter. What was delivered while
the database was away has not failed.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
from nats.aio.msg import Msg
from opentelemetry import trace
from prometheus_client import Counter, Histogram

from services.chassis import outbox, telemetry
from services.chassis.background_health import Progress
from services.chassis.bus import KEPT_S, UNACKED, Bus, place_of
from services.chassis.clock import Clock, utc_now
from services.chassis.database import AWAY, Connection, Database, reason
from services.contracts.base import Event

log = logging.getLogger(__name__)

Handler = Callable[[Connection, Sequence[Any]], Awaitable[None]]
Subscriptions = Mapping[type[Event], Handler]

FAILURES = 5
PAUSE_S = 1.0  # before asking again a database that is away
LARGEST_LIST = 500
READ_AT_ONCE = 50  # a snapshot takes some 40 µs to read, and requests shall not wait for 2 ms
REMEMBERED = timedelta(seconds=2 * KEPT_S)

HANDLED = Counter("raak_events_handled", "Events taken in", ["service", "fact"])
BURIED = Counter("raak_events_dead", "Events put aside as dead letters", ["service", "fact"])
EARLIER = Counter(
    "raak_events_of_earlier_epochs",
    "Events from a database older than one that was heard before",
    ["service", "fact"],
)
AGE = Histogram(
    "raak_event_age_seconds",
    "From an event's own time to its being handled",
    ["service", "fact"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 60),
)


class Consumer:
    """One service's handling of one fact."""

    def __init__(
        self,
        service: str,
        event: type[Event],
        handler: Handler,
        database: Database,
        bus: Bus,
        clock: Clock = utc_now,
        progress: Progress | None = None,
    ) -> None:
        self._service = service
        self._event = event
        self._handler = handler
        self._database = database
        self._bus = bus
        self._clock = clock
        self._progress = progress or Progress()
        # Bounded, for while the database is away NATS delivers again and again what waits here.
        self._waiting: asyncio.Queue[Msg] = asyncio.Queue(UNACKED)
        self._failures: dict[UUID, int] = {}
        self._epoch = 0
        """The latest heard."""

    @property
    def name(self) -> str:
        """How the inbox knows this consumer."""
        return f"{self._service}-{self._event.fact}"

    async def run(self) -> None:
        """Take in events until cancelled."""
        await self._bus.subscribe(self._service, self._event.fact, self._waiting.put)
        while True:
            messages = await self._next_list()
            await self._take_in_or_wait(messages)

    async def _next_list(self) -> list[Msg]:
        """Whatever has arrived, at least one message and at most `LARGEST_LIST`."""
        messages = [await self._waiting.get()]
        while len(messages) < LARGEST_LIST and not self._waiting.empty():
            messages.append(self._waiting.get_nowait())
        return messages

    async def _take_in_or_wait(self, messages: list[Msg]) -> None:
        """Take a list in; a database that is away is waited for, and is no event's fault.

        Then less is asked of it at once: a list may be more than can be done in time.
        """
        for message in messages:
            self._look_at_epoch(message)
        size = len(messages)
        while messages:
            try:
                await self._take_in(messages[:size])
                messages = messages[size:]
                self._progress.recover(self.name)
            except AWAY as error:
                self._progress.fail(self.name, reason(error), 0.0, is_away=True)
                log.warning(
                    "handling waits",
                    extra={"fields": {"fact": self._event.fact, "because": reason(error)}},
                )
                messages = [message for message in messages if not message.is_acked]
                for message in messages:
                    await message.in_progress()
                size = max(1, size // 2)
                await asyncio.sleep(PAUSE_S)

    async def _take_in(self, messages: list[Msg]) -> None:
        read = await self._read_all(messages)
        try:
            await self._handle(read)
        except AWAY:
            raise
        except Exception as error:  # whatever a handler raises, the stream must go on
            if len(read) > 1:
                for message, _ in read:
                    await self._take_in([message])
            else:
                await self._refuse(*read[0], telemetry.describe(error))
        else:
            for message, event in read:
                self._failures.pop(event.event_id, None)
                await self._bus.acknowledge(message)

    async def _read_all(self, messages: list[Msg]) -> list[tuple[Msg, Event]]:
        read = []
        for number, message in enumerate(messages, 1):
            if event := await self._read(message):
                read.append((message, event))
            if number % READ_AT_ONCE == 0:
                await asyncio.sleep(0)
        return read

    async def _read(self, message: Msg) -> Event | None:
        try:
            return self._event.from_cloudevent(message.data)
        except (ValueError, KeyError, TypeError) as error:
            await self._bury(message, f"not a {self._event.fact}: {type(error).__name__}")
            return None

    def _look_at_epoch(self, message: Msg) -> None:
        """Name an event of an earlier epoch: late, or from a database that has become an older one.

        It is handled like any other; what it says of versions is less than is known.
        """
        place = place_of(message)
        if place is None or place.epoch == self._epoch:
            return
        if place.epoch > self._epoch:
            self._epoch = place.epoch
            return
        EARLIER.labels(self._service, self._event.fact).inc()
        fields = {"fact": self._event.fact, "epoch": place.epoch, "known": self._epoch}
        log.error("EARLIER_EPOCH: an event of an older database", extra={"fields": fields})

    async def _handle(self, read: list[tuple[Msg, Event]]) -> None:
        if not read:
            return
        with telemetry.span(
            f"handle {self._event.fact}",
            trace.SpanKind.CONSUMER,
            _traceparent(read[0][0]),
            events=len(read),
        ):
            async with self._database.transaction() as connection:
                fresh = await outbox.take_in(connection, self.name, [event for _, event in read])
                if fresh:
                    await self._handler(connection, fresh)
        self._count(fresh)

    def _count(self, events: Sequence[Event]) -> None:
        now = self._clock()
        HANDLED.labels(self._service, self._event.fact).inc(len(events))
        age = AGE.labels(self._service, self._event.fact)
        for event in events:
            age.observe((now - event.occurred_at).total_seconds())

    async def _refuse(self, message: Msg, event: Event, reason: str) -> None:
        """Have the message delivered again a little later, or put it aside."""
        times = self._failures.pop(event.event_id, 0) + 1
        log.error(
            "event not handled",
            extra={"fields": {"fact": self._event.fact, "failures": times, "because": reason}},
        )
        if times >= FAILURES:
            await self._bury(message, reason)
            return
        self._failures[event.event_id] = times
        if len(self._failures) > UNACKED:  # the oldest were delivered to other replicas since
            del self._failures[next(iter(self._failures))]
        await message.nak(delay=0.1 * 2**times)

    async def _bury(self, message: Msg, reason: str) -> None:
        await self._bus.bury(self._service, self._event.fact, message, reason)
        BURIED.labels(self._service, self._event.fact).inc()
        await self._bus.acknowledge(message)


def _traceparent(message: Msg) -> str | None:
    """The trace an event was published in: a list is told as part of its first event's."""
    return orjson.loads(message.data).get("traceparent") if telemetry.tracing() else None


async def keep_inbox_small(database: Database, consumers: Sequence[str], clock: Clock) -> None:
    """Once an hour, forget event ids that no stream can deliver any more."""
    while True:
        async with database.transaction() as connection:
            for consumer in consumers:
                await outbox.forget(connection, consumer, clock() - REMEMBERED)
        await asyncio.sleep(3600)
