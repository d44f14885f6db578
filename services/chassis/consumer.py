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
from services.chassis.background_health import BackgroundHealth
from services.chassis.bus import MAX_UNACKED, Bus
from services.chassis.clock import Clock, utc_now
from services.chassis.database import OUTAGE_ERRORS, Connection, Database, reason
from services.chassis.streams import RETENTION_S, OutboxPosition
from services.contracts.base import Event

log = logging.getLogger(__name__)

Handler = Callable[[Connection, Sequence[Any]], Awaitable[None]]
Subscriptions = Mapping[type[Event], Handler]

FAILURES = 5
PAUSE_S = 1.0  # before asking again a database that is away
LARGEST_LIST = 500
READ_CHUNK = 50  # a snapshot takes some 40 µs to read, and requests shall not wait for 2 ms
INBOX_RETENTION = timedelta(seconds=2 * RETENTION_S)

HANDLED = Counter("raak_events_handled", "Events taken in", ["service", "fact"])
DEAD = Counter("raak_events_dead", "Events put aside as dead letters", ["service", "fact"])
EARLIER = Counter(
    "raak_events_of_earlier_epochs",
    "Events from a database older than one seen before",
    ["service", "fact"],
)
AGE = Histogram(
    "raak_event_age_seconds",
    "From an event's own time to its being handled",
    ["service", "fact"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 60),
)


class Consumer:
    def __init__(
        self,
        service: str,
        event: type[Event],
        handler: Handler,
        database: Database,
        bus: Bus,
        clock: Clock = utc_now,
        health: BackgroundHealth | None = None,
    ) -> None:
        self._service = service
        self._event = event
        self._handler = handler
        self._database = database
        self._bus = bus
        self._clock = clock
        self._health = health or BackgroundHealth()
        # Bounded, for while the database is away NATS delivers again and again what waits here.
        self._queue: asyncio.Queue[Msg] = asyncio.Queue(MAX_UNACKED)
        self._failures: dict[UUID, int] = {}
        self._epoch = 0
        """The latest seen."""

    @property
    def name(self) -> str:
        return f"{self._service}-{self._event.fact}"

    async def run(self) -> None:
        await self._bus.subscribe(self._service, self._event.fact, self._queue.put)
        while True:
            messages = await self._next_list()
            await self._handle_or_wait(messages)

    async def _next_list(self) -> list[Msg]:
        """Whatever has arrived, at least one message and at most `LARGEST_LIST`."""
        messages = [await self._queue.get()]
        while len(messages) < LARGEST_LIST and not self._queue.empty():
            messages.append(self._queue.get_nowait())
        return messages

    async def _handle_or_wait(self, messages: list[Msg]) -> None:
        """Handle a list; after an outage of the database in smaller ones, which are quicker."""
        for message in messages:
            self._check_epoch(message)
        size = len(messages)
        while messages:
            try:
                await self._handle_list(messages[:size])
                messages = messages[size:]
                self._health.recover(self.name)
            except OUTAGE_ERRORS as error:
                self._health.fail(self.name, reason(error), 0.0, is_outage=True)
                log.warning(
                    "handling waits",
                    extra={"fields": {"fact": self._event.fact, "because": reason(error)}},
                )
                messages = [message for message in messages if not message.is_acked]
                for message in messages:
                    await message.in_progress()
                size = max(1, size // 2)
                await asyncio.sleep(PAUSE_S)

    async def _handle_list(self, messages: list[Msg]) -> None:
        pairs = await self._read_messages(messages)
        try:
            await self._handle(pairs)
        except OUTAGE_ERRORS:
            raise
        except Exception as error:  # whatever a handler raises, the stream must go on
            if len(pairs) > 1:
                for message, _ in pairs:
                    await self._handle_list([message])
            else:
                await self._refuse(*pairs[0], telemetry.describe(error))
        else:
            for message, event in pairs:
                self._failures.pop(event.event_id, None)
                await self._bus.acknowledge(message)

    async def _read_messages(self, messages: list[Msg]) -> list[tuple[Msg, Event]]:
        pairs = []
        for number, message in enumerate(messages, 1):
            if event := await self._read(message):
                pairs.append((message, event))
            if number % READ_CHUNK == 0:
                await asyncio.sleep(0)
        return pairs

    async def _read(self, message: Msg) -> Event | None:
        try:
            return self._event.from_cloudevent(message.data)
        except (ValueError, KeyError, TypeError) as error:
            await self._write_dead_letter(
                message, f"not a {self._event.fact}: {type(error).__name__}"
            )
            return None

    def _check_epoch(self, message: Msg) -> None:
        """Log an event of an earlier epoch; it is handled too, as its versions are lower."""
        position = OutboxPosition.from_headers(message.headers)
        if position is None or position.epoch == self._epoch:
            return
        if position.epoch > self._epoch:
            self._epoch = position.epoch
            return
        EARLIER.labels(self._service, self._event.fact).inc()
        fields = {"fact": self._event.fact, "epoch": position.epoch, "known": self._epoch}
        log.error("EARLIER_EPOCH: an event of an older database", extra={"fields": fields})

    async def _handle(self, pairs: list[tuple[Msg, Event]]) -> None:
        if not pairs:
            return
        with telemetry.span(
            f"handle {self._event.fact}",
            trace.SpanKind.CONSUMER,
            _traceparent(pairs[0][0]),
            events=len(pairs),
        ):
            async with self._database.transaction() as connection:
                new_events = await outbox.record_in_inbox(
                    connection, self.name, [event for _, event in pairs]
                )
                if new_events:
                    await self._handler(connection, new_events)
        self._count(new_events)

    def _count(self, events: Sequence[Event]) -> None:
        now = self._clock()
        HANDLED.labels(self._service, self._event.fact).inc(len(events))
        age = AGE.labels(self._service, self._event.fact)
        for event in events:
            age.observe((now - event.occurred_at).total_seconds())

    async def _refuse(self, message: Msg, event: Event, reason: str) -> None:
        """Have the message delivered again a little later, or make it a dead letter."""
        times = self._failures.pop(event.event_id, 0) + 1
        log.error(
            "event not handled",
            extra={"fields": {"fact": self._event.fact, "failures": times, "because": reason}},
        )
        if times >= FAILURES:
            await self._write_dead_letter(message, reason)
            return
        self._failures[event.event_id] = times
        if len(self._failures) > MAX_UNACKED:  # the oldest were delivered to other replicas since
            del self._failures[next(iter(self._failures))]
        await message.nak(delay=0.1 * 2**times)

    async def _write_dead_letter(self, message: Msg, reason: str) -> None:
        await self._bus.write_dead_letter(self._service, self._event.fact, message, reason)
        DEAD.labels(self._service, self._event.fact).inc()
        await self._bus.acknowledge(message)


def _traceparent(message: Msg) -> str | None:
    """The trace an event was published in; a list belongs to the trace of its first event."""
    return orjson.loads(message.data).get("traceparent") if telemetry.tracing() else None


async def clean_inbox(database: Database, consumers: Sequence[str], clock: Clock) -> None:
    """Once an hour, delete event ids that no stream can deliver any more."""
    while True:
        async with database.transaction() as connection:
            for consumer in consumers:
                await outbox.delete_inbox_ids(connection, consumer, clock() - INBOX_RETENTION)
        await asyncio.sleep(3600)
