"""The transactional outbox.

An event is written in the transaction of the change, and a relay publishes it to JetStream in the
order of writing. It is kept until all consumers have acknowledged it, and sent again to a stream
that has lost it. The inbox, at the other end, has the ids of the events a consumer has handled.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, TypeVar

import asyncpg
import sqlalchemy as sa
from nats.js.api import PubAck
from prometheus_client import Counter, Gauge
from sqlalchemy.dialects.postgresql import BYTEA

from services.chassis import epochs, resync, telemetry
from services.chassis.bus import Bus, BusUnavailable
from services.chassis.database import OUTAGE_ERRORS, Connection, Database, reason
from services.chassis.errors import RaakError
from services.chassis.ids import first_id_at
from services.chassis.streams import OutboxPosition, OutgoingMessage, stream_name
from services.contracts.base import Event

log = logging.getLogger(__name__)

NEVER = float("-inf")

E = TypeVar("E", bound=Event)

RELAY_LOCK = 0x5261616B  # "Raak": only one replica of a service relays at a time, to keep the order
BATCH = 500
IDLE_S = 0.5  # how long another replica's commit may go unnoticed
CHECK_EVERY_S = 1.0
"""How often the relay checks which of its events are acknowledged."""
CHECK_STREAMS_S = 10.0
"""How often it checks whether its streams were created anew."""
EXPIRE_S = 600.0
"""How often expired events are deleted."""
RETENTION = timedelta(days=1)
"""How long an unacknowledged event is kept to be sent again."""

AGE = Gauge("raak_outbox_age_seconds", "Age of the oldest event yet to reach NATS")
RESENT = Counter("raak_events_sent_again", "Events sent again to a stream that lost them", ["fact"])

LARGEST_EVENT = 1_000_000
"""Bytes; NATS takes no message over a mebibyte, and one it refuses would stop the relay."""


ROOM_FOR_A_TRACE = 100
"""Bytes that a `traceparent` may add to an event."""

REDUCED = Counter(
    "raak_events_reduced",
    "Events that went out with less in them, to fit through the bus",
    ["fact"],
)

_MOMENT = sa.DateTime(timezone=True)


class MessageTooLarge(RaakError, code="EVENT_TOO_LARGE"):
    """An event does not fit through the bus."""


_INSERT = """
INSERT INTO outbox (event_id, address, body)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::bytea[])
"""
_SELECT_OLDEST = "SELECT id, event_id, address, body FROM outbox ORDER BY id LIMIT $1"
_SELECT_AGE = """
SELECT extract(epoch FROM clock_timestamp() - written_at)::float8 FROM outbox ORDER BY id LIMIT 1
"""
_COUNT_UNRELAYED = (
    "SELECT count(*) FROM (SELECT id FROM outbox ORDER BY id LIMIT 10000) AS unrelayed"
)
"""By the index, which forgets rows that are gone; the table keeps their pages until a vacuum, and
walking those took 5 times as long as all other work of recomputing 23,570 customers."""
_TRY_LOCK = """
SELECT pg_try_advisory_lock($1)
FROM set_config('idle_session_timeout', $2, false) AS silent,
    set_config('transaction_timeout', $2, false) AS preparing
"""
_MOVE_TO_RELAYED = """
WITH gone AS (
    DELETE FROM outbox WHERE id = ANY($1::bigint[]) RETURNING id, event_id, address, body
)
INSERT INTO relayed (stream, sequence, id, event_id, address, body)
SELECT stream, sequence, id, event_id, address, body
FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS sent (id, stream, sequence)
JOIN gone USING (id)
ON CONFLICT DO NOTHING  -- the same event, sent twice and known to the stream by its id
"""
_SELECT_UNACKNOWLEDGED = "SELECT stream, max(sequence) FROM relayed GROUP BY stream"
_DELETE_ACKNOWLEDGED = "DELETE FROM relayed WHERE stream = $1 AND sequence <= $2"
_DELETE_EXPIRED = "DELETE FROM relayed WHERE relayed_at < now() - $1::interval"
_REQUEUE = """
WITH lost AS (
    DELETE FROM relayed WHERE stream = $1 RETURNING id, event_id, address, body
)
INSERT INTO outbox (id, event_id, address, body)
OVERRIDING SYSTEM VALUE SELECT id, event_id, address, body FROM lost
"""
_SELECT_STREAMS = "SELECT name, created FROM stream"
_UPSERT_STREAM = """
INSERT INTO stream (name, created) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET created = excluded.created
"""
_SELECT_POSITION = """
SELECT CASE WHEN has_sequence_privilege(number, 'SELECT') THEN
    coalesce(pg_sequence_last_value(number), 0)
END FROM (SELECT pg_get_serial_sequence('outbox', 'id')::regclass::oid AS number) AS of_outbox
"""


def tables(metadata: sa.MetaData) -> tuple[sa.Table, ...]:
    """The tables of messaging: `outbox`, `relayed`, `stream`, `inbox`, `epoch` and `resync`."""
    outbox = sa.Table(
        "outbox",
        metadata,
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("event_id", sa.Uuid, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("body", BYTEA, nullable=False),
        sa.Column("written_at", _MOMENT, nullable=False, server_default=sa.func.now()),
    )
    relayed = sa.Table(  # what is in a stream, and perhaps in no other database yet
        "relayed",
        metadata,
        sa.Column("stream", sa.Text, primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("id", sa.BigInteger, nullable=False),
        sa.Column("event_id", sa.Uuid, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("body", BYTEA, nullable=False),
        sa.Column("relayed_at", _MOMENT, nullable=False, server_default=sa.func.now()),
    )
    stream = sa.Table(  # the ones it was sent to: one of the same name made later is another
        "stream",
        metadata,
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("created", _MOMENT, nullable=False),
    )
    inbox = sa.Table(
        "inbox",
        metadata,
        sa.Column("consumer", sa.Text, primary_key=True),
        sa.Column("event_id", sa.Uuid, primary_key=True),
    )
    return outbox, relayed, stream, inbox, epochs.table(metadata), resync.table(metadata)


async def publish(connection: Connection, events: Sequence[Event]) -> None:
    """Write events to the outbox, in the caller's transaction and in this order.

    One that is too large is reduced; raises MessageTooLarge if it cannot be.
    """
    if not events:
        return
    traceparent = telemetry.traceparent()
    bodies = [_serialize(event, traceparent) for event in events]
    await connection.execute(
        _INSERT,
        [event.event_id for event in events],
        [event.address() for event in events],
        bodies,
    )


def _serialize(event: Event, traceparent: str | None) -> bytes:
    document = event.to_cloudevent(traceparent)
    if len(document) <= LARGEST_EVENT:
        return document
    fitting = event.fit(LARGEST_EVENT - ROOM_FOR_A_TRACE)
    smaller = fitting.to_cloudevent(traceparent) if fitting else document
    if len(smaller) > LARGEST_EVENT:
        raise MessageTooLarge(
            f"A {event.fact} of customer {event.customer_id} has {len(document)} bytes.",
            hint=f"Events hold at most {LARGEST_EVENT} bytes: send less at once.",
        )
    REDUCED.labels(event.fact).inc()
    fields = {"fact": event.fact, "bytes": len(document), "left": len(smaller)}
    log.warning("an event went out with less in it", extra={"fields": fields})
    return smaller


async def count_backlog(connection: Connection, bus: Bus, event: type[Event]) -> int:
    """Events on their way: ours to be relayed, and those of a fact to be handled. Background work
    waits for few, so as not to delay the events of requests.
    """
    return await count_unrelayed(connection) + await bus.count_pending(event)


async def count_unrelayed(connection: Connection) -> int:
    """How many events have yet to reach NATS; 10,000 at most."""
    return int(await connection.fetchval(_COUNT_UNRELAYED))


async def measure_age(connection: Connection) -> float:
    """Seconds the oldest event has waited for NATS; 0 when none does."""
    seconds: float | None = await connection.fetchval(_SELECT_AGE)
    return max(0.0, seconds or 0.0)


class Relay:
    """Publishes the outbox to the bus, in order, and keeps events until they are acknowledged.

    `renew` requests a resync: a stream was lost that keeps more than the relay does, or the
    database was restored from a backup.
    """

    def __init__(
        self,
        database: Database,
        bus: Bus,
        published: Sequence[type[Event]] = (),
        renew: Callable[[Connection], Awaitable[None]] | None = None,
        retention: timedelta = RETENTION,
    ) -> None:
        self._database = database
        self._bus = bus
        self._published = {stream_name(event.fact): event for event in published}
        self._renew = renew
        self._retention = retention
        self._unacknowledged: dict[str, int] = {}
        """Stream to the last sequence in it that a consumer may have yet to acknowledge."""
        self._last_sequences: dict[str, int] = {}
        """Stream to the last sequence in it that this relay published."""
        self._epoch = 0
        self._acknowledged_at = self._streams_at = self._expired_at = NEVER
        self._changes = bus.changes
        self._committed = asyncio.Event()
        database.on_commit(self._committed.set)

    async def run(self) -> None:
        """Relay until cancelled. A bus or database that is away is waited for."""
        while True:
            try:
                async with self._database.connection() as connection:
                    await self._relay_with_lock(connection)
            except (BusUnavailable, *OUTAGE_ERRORS) as e:
                log.warning("relay waits", extra={"fields": {"because": reason(e)}})
                await asyncio.sleep(1)

    async def _relay_with_lock(self, connection: Connection) -> None:
        """Relay with the service's relay lock, or return soon if another replica holds it.

        PostgreSQL ends the connection of a silent relay, and the lock with it.
        """
        AGE.set(await measure_age(connection))
        if not await connection.fetchval(_TRY_LOCK, RELAY_LOCK, f"{self._database.silence_s}s"):
            await asyncio.sleep(IDLE_S)
            return
        try:
            await self._load_progress(connection)
            while True:
                self._committed.clear()
                await self._check_streams(connection)
                if await self.relay_batch(connection) < BATCH:
                    await self._wait_for_commit()
        finally:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await connection.execute("SELECT pg_advisory_unlock($1)", RELAY_LOCK)

    async def _wait_for_commit(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(IDLE_S):
                await self._committed.wait()

    async def relay_batch(self, connection: Connection) -> int:
        rows: Sequence[Any] = await connection.fetch(_SELECT_OLDEST, BATCH)
        if rows:
            acks = await self._bus.publish(
                [
                    OutgoingMessage(
                        r["address"],
                        str(r["event_id"]),
                        r["body"],
                        OutboxPosition(self._epoch, r["id"]),
                    )
                    for r in rows
                ]
            )
            await self._note_sent(connection, acks)
            await connection.execute(
                _MOVE_TO_RELAYED,
                [row["id"] for row in rows],
                [ack.stream for ack in acks],
                [ack.seq for ack in acks],
            )
        return len(rows)

    async def _note_sent(self, connection: Connection, acks: Sequence[PubAck]) -> None:
        """Record the streams' sequences; one that counts from the start again is new."""
        for ack in acks:
            if not ack.duplicate and ack.seq <= self._last_sequences.get(ack.stream, 0):
                await self._send_again(connection, ack.stream)
        for ack in acks:
            for known in (self._last_sequences, self._unacknowledged):
                known[ack.stream] = max(ack.seq, known.get(ack.stream, 0))

    # Lost streams, and acknowledged events

    async def _load_progress(self, connection: Connection) -> None:
        self._unacknowledged = await _pairs(connection, _SELECT_UNACKNOWLEDGED)
        self._last_sequences = dict(self._unacknowledged)
        self._acknowledged_at = self._streams_at = self._expired_at = NEVER
        await self._detect_restore(connection)

    async def _detect_restore(self, connection: Connection) -> None:
        """Begin an epoch if our streams hold later events than this database: it was restored."""
        self._epoch = await epochs.current(connection)
        position: int | None = await connection.fetchval(_SELECT_POSITION)
        if position is None:
            log.warning(
                "the sequence of the outbox may not be read: a restored database goes unnoticed"
            )
            return
        own = OutboxPosition(self._epoch, position)
        positions = [await self._bus.find_last_position(stream) for stream in self._published]
        latest = max((position for position in positions if position is not None), default=own)
        if latest > own:
            log.critical(
                "DATABASE_WENT_BACK: the streams hold later events than this database, which was"
                " restored from a backup; a new epoch begins, all it holds is published again, and"
                " all events of the streams are delivered again",
                extra={"fields": {"was": tuple(latest), "is": tuple(own)}},
            )
            await self._bus.redeliver_all()
            async with connection.transaction():
                self._epoch = await epochs.begin(connection, after=latest.epoch)
                await self._renew_all(connection)

    async def _check_streams(self, connection: Connection) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._streams_at >= CHECK_STREAMS_S or self._changes != self._bus.changes:
            self._changes = self._bus.changes
            await self._resend_to_new_streams(connection)
            self._streams_at = now
        if now - self._expired_at >= EXPIRE_S:
            await connection.execute(_DELETE_EXPIRED, self._retention)
            self._expired_at = now
        if now - self._acknowledged_at >= CHECK_EVERY_S:
            AGE.set(await measure_age(connection))
            for stream in list(self._unacknowledged):
                await self._delete_acknowledged(connection, stream)
            self._acknowledged_at = now

    async def _resend_to_new_streams(self, connection: Connection) -> None:
        known = await _pairs(connection, _SELECT_STREAMS)
        for stream, event in self._published.items():
            state = await self._bus.state(stream)
            if state is None:  # what it has lost must be sent before what is new
                raise BusUnavailable(
                    f"The stream {stream} is lost.", hint="It is made again at once."
                )
            if state.created == known.get(stream):
                continue
            async with connection.transaction():
                if stream in known:
                    await self._send_again(connection, stream)
                    if event.compacted:
                        await self._renew_all(connection)
                await connection.execute(_UPSERT_STREAM, stream, state.created)

    async def _delete_acknowledged(self, connection: Connection, stream: str) -> None:
        """Delete a stream's acknowledged events, or send them again if the stream has lost them."""
        state = await self._bus.state(stream)
        if state is None:
            return  # it is made again, and is another one then
        if state.last_sequence < self._unacknowledged[stream]:
            await self._send_again(connection, stream)
            return
        acknowledged = await self._bus.find_acknowledged(stream, state.last_sequence)
        await connection.execute(_DELETE_ACKNOWLEDGED, stream, acknowledged)
        if acknowledged >= self._unacknowledged[stream]:
            del self._unacknowledged[stream]

    async def _renew_all(self, connection: Connection) -> None:
        if self._renew is not None:
            await self._renew(connection)

    async def _send_again(self, connection: Connection, stream: str) -> None:
        """Put the events a stream has lost back into the outbox, in their order."""
        status = await connection.execute(_REQUEUE, stream)
        number = int(status.rpartition(" ")[2])
        self._unacknowledged.pop(stream, None)
        self._last_sequences.pop(stream, None)
        event = self._published.get(stream)
        RESENT.labels(event.fact if event else stream).inc(number)
        log.warning(
            "a stream was lost: its unacknowledged events are sent again",
            extra={"fields": {"stream": stream, "events": number}},
        )


async def _pairs(connection: Connection, query: str) -> dict[str, Any]:
    return {row[0]: row[1] for row in await connection.fetch(query)}


_INSERT_INBOX = """
INSERT INTO inbox (consumer, event_id) SELECT $1, unnest($2::uuid[])
ON CONFLICT DO NOTHING RETURNING event_id
"""
_DELETE_INBOX_IDS = "DELETE FROM inbox WHERE consumer = $1 AND event_id < $2"


async def record_in_inbox(connection: Connection, consumer: str, events: Sequence[E]) -> list[E]:
    """Record events in the inbox, in the handler's transaction; returns those new to it."""
    rows = await connection.fetch(_INSERT_INBOX, consumer, [event.event_id for event in events])
    fresh = {row["event_id"] for row in rows}
    first = {event.event_id: event for event in reversed(events)}
    return [event for event_id, event in reversed(first.items()) if event_id in fresh]


async def delete_inbox_ids(connection: Connection, consumer: str, before: datetime) -> None:
    """Delete inbox entries of events before a time from which none is delivered again."""
    await connection.execute(_DELETE_INBOX_IDS, consumer, first_id_at(before))
