"""The transactional outbox: an event is true when its transaction is, and reaches the bus after.

An event is written beside the change that made it true, and a relay carries it to JetStream in
the order of writing. It is kept until all who listen have taken it in, and sent again to a stream
that has lost it. The inbox is the other end: it names the events a handler has taken in.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, ClassVar, TypeVar

import asyncpg
import sqlalchemy as sa
from nats.js.api import PubAck
from prometheus_client import Counter, Gauge
from sqlalchemy.dialects.postgresql import BYTEA

from services.chassis import epochs, resync, telemetry
from services.chassis.bus import Bus, BusUnavailable, OutgoingMessage, Place, stream_name
from services.chassis.database import AWAY, Connection, Database, reason
from services.chassis.errors import RaakError
from services.chassis.ids import first_id_at
from services.contracts.base import Event

log = logging.getLogger(__name__)

E = TypeVar("E", bound=Event)

RELAY_LOCK = 0x5261616B  # "Raak": only one replica of a service relays at a time, to keep the order
BATCH = 500
IDLE_S = 0.5  # how long another replica's commit may go unnoticed
LOOK_S = 1.0
"""How often the relay looks what of the events it has sent was heard."""
SURVEY_S = 10.0
"""How often it looks whether all its streams are still the ones they were."""
SWEEP_S = 600.0
"""How often what is too old to be kept is forgotten."""
KEPT = timedelta(days=1)
"""How long an event that somebody has not heard is kept to be sent again."""

AGE = Gauge("raak_outbox_age_seconds", "Age of the oldest event yet to reach NATS")
AGAIN = Counter("raak_events_sent_again", "Events sent again to a stream that lost them", ["fact"])

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


class MessageTooLarge(RaakError):
    """An event does not fit through the bus."""

    code: ClassVar[str] = "EVENT_TOO_LARGE"


_INSERT = """
INSERT INTO outbox (event_id, address, body)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::bytea[])
"""
_OLDEST = "SELECT id, event_id, address, body FROM outbox ORDER BY id LIMIT $1"
_AGE = """
SELECT extract(epoch FROM clock_timestamp() - written_at)::float8 FROM outbox ORDER BY id LIMIT 1
"""
_UNRELAYED = "SELECT count(*) FROM (SELECT id FROM outbox ORDER BY id LIMIT 10000) AS unrelayed"
"""By the index, which forgets rows that are gone; the table keeps their pages until a vacuum, and
walking those took 5 times as long as all other work of recomputing 23,570 customers."""
_TRY_LOCK = """
SELECT pg_try_advisory_lock($1)
FROM set_config('idle_session_timeout', $2, false) AS silent,
    set_config('transaction_timeout', $2, false) AS preparing
"""
_RELAYED = """
WITH gone AS (
    DELETE FROM outbox WHERE id = ANY($1::bigint[]) RETURNING id, event_id, address, body
)
INSERT INTO relayed (stream, sequence, id, event_id, address, body)
SELECT stream, sequence, id, event_id, address, body
FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS sent (id, stream, sequence)
JOIN gone USING (id)
ON CONFLICT DO NOTHING  -- the same event, sent twice and known to the stream by its id
"""
_UNHEARD = "SELECT stream, max(sequence) FROM relayed GROUP BY stream"
_HEARD = "DELETE FROM relayed WHERE stream = $1 AND sequence <= $2"
_EXPIRED = "DELETE FROM relayed WHERE relayed_at < now() - $1::interval"
_AGAIN = """
WITH lost AS (
    DELETE FROM relayed WHERE stream = $1 RETURNING id, event_id, address, body
)
INSERT INTO outbox (id, event_id, address, body)
OVERRIDING SYSTEM VALUE SELECT id, event_id, address, body FROM lost
"""
_STREAMS = "SELECT name, created FROM stream"
_STREAM = """
INSERT INTO stream (name, created) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET created = excluded.created
"""
_POSITION = """
SELECT CASE WHEN has_sequence_privilege(number, 'SELECT') THEN
    coalesce(pg_sequence_last_value(number), 0)
END FROM (SELECT pg_get_serial_sequence('outbox', 'id')::regclass::oid AS number) AS of_outbox
"""


def tables(metadata: sa.MetaData) -> tuple[sa.Table, ...]:
    """Describe in a service's metadata what it takes to talk: `outbox`, `relayed`, `stream`,
    `inbox`, `epoch` and `resync`.
    """
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

    One that is too large goes out with less in it; raises MessageTooLarge for one that cannot.
    """
    if not events:
        return
    traceparent = telemetry.traceparent()
    bodies = [_document(event, traceparent) for event in events]
    await connection.execute(
        _INSERT,
        [event.event_id for event in events],
        [event.address() for event in events],
        bodies,
    )


def _document(event: Event, traceparent: str | None) -> bytes:
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


async def backlog(connection: Connection, bus: Bus, event: type[Event]) -> int:
    """How many events are still on their way: ours to be relayed, and those of a fact not taken in.

    Work behind the scenes looks at it, so as not to fill the road that requests travel too.
    """
    return int(await connection.fetchval(_UNRELAYED)) + await bus.waiting(event)


async def age(connection: Connection) -> float:
    """Seconds the oldest event has waited for NATS; 0 when none does."""
    found: float | None = await connection.fetchval(_AGE)
    return max(0.0, found or 0.0)


class Relay:
    """Carries what is in the outbox to the bus, in order, and keeps it until it was heard.

    `published` are the facts it may carry. `renew` is called when one of their streams was lost
    that keeps more than the relay does, and when the database has become an older one: all it
    holds is to be told again.
    """

    def __init__(
        self,
        database: Database,
        bus: Bus,
        published: Sequence[type[Event]] = (),
        renew: Callable[[Connection], Awaitable[None]] | None = None,
        kept: timedelta = KEPT,
    ) -> None:
        self._database = database
        self._bus = bus
        self._published = {stream_name(event.fact): event for event in published}
        self._renew = renew
        self._kept = kept
        self._unheard: dict[str, int] = {}
        """Stream to the last sequence in it that somebody may still have to hear."""
        self._last: dict[str, int] = {}
        """Stream to the last sequence in it that was ours."""
        self._epoch = 0
        self._looked = self._surveyed = self._swept = float("-inf")
        self._changes = bus.changes
        self._committed = asyncio.Event()
        database.on_commit(self._committed.set)

    async def run(self) -> None:
        """Relay until cancelled. A bus or database that is away is waited for."""
        while True:
            try:
                async with self._database.connection() as connection:
                    await self._relay_as_the_only_one(connection)
            except (BusUnavailable, *AWAY) as e:
                log.warning("relay waits", extra={"fields": {"because": reason(e)}})
                await asyncio.sleep(1)

    async def _relay_as_the_only_one(self, connection: Connection) -> None:
        """Relay while holding the service's relay lock, or look again later for its holder.

        The lock is lost with the connection, which PostgreSQL ends when a relay says nothing: one
        at work looks into the outbox every `IDLE_S`.
        """
        AGE.set(await age(connection))
        if not await connection.fetchval(_TRY_LOCK, RELAY_LOCK, f"{self._database.silence_s}s"):
            await asyncio.sleep(IDLE_S)
            return
        try:
            await self._take_over(connection)
            while True:
                self._committed.clear()
                await self._look_around(connection)
                if await self.relay_once(connection) < BATCH:
                    await self._wait()
        finally:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await connection.execute("SELECT pg_advisory_unlock($1)", RELAY_LOCK)

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(IDLE_S):
                await self._committed.wait()

    async def relay_once(self, connection: Connection) -> int:
        """Relay the oldest batch, and say how many events it held."""
        rows: Sequence[Any] = await connection.fetch(_OLDEST, BATCH)
        if rows:
            acks = await self._bus.publish(
                [
                    OutgoingMessage(
                        r["address"], str(r["event_id"]), r["body"], Place(self._epoch, r["id"])
                    )
                    for r in rows
                ]
            )
            await self._note_sent(connection, acks)
            await connection.execute(
                _RELAYED,
                [row["id"] for row in rows],
                [ack.stream for ack in acks],
                [ack.seq for ack in acks],
            )
        return len(rows)

    async def _note_sent(self, connection: Connection, acks: Sequence[PubAck]) -> None:
        """Remember how far streams have come; one that counts from the start again is new."""
        for ack in acks:
            if not ack.duplicate and ack.seq <= self._last.get(ack.stream, 0):
                await self._send_again(connection, ack.stream)
        for ack in acks:
            for known in (self._last, self._unheard):
                known[ack.stream] = max(ack.seq, known.get(ack.stream, 0))

    # What was lost, and what was heard

    async def _take_over(self, connection: Connection) -> None:
        """See what another relay has left to be heard, and where we stand."""
        self._unheard = await _pairs(connection, _UNHEARD)
        self._last = dict(self._unheard)
        self._looked = self._surveyed = self._swept = float("-inf")
        await self._meet_ourselves(connection)

    async def _meet_ourselves(self, connection: Connection) -> None:
        """Begin an epoch if our streams hold what this database has yet to say: it is an older one.

        Otherwise all that is new would be taken for old by whoever has heard it.
        """
        self._epoch = await epochs.current(connection)
        position: int | None = await connection.fetchval(_POSITION)
        if position is None:
            log.warning("the sequence of the outbox may not be read: an older database goes unseen")
            return
        here = Place(self._epoch, position)
        found = [await self._bus.last_place(stream) for stream in self._published]
        ahead = max((place for place in found if place is not None), default=here)
        if ahead > here:
            log.critical(
                "DATABASE_WENT_BACK: the streams hold later events than this database, which was"
                " restored from a backup; a new epoch begins, all it holds is told again, and all"
                " the streams hold is heard again",
                extra={"fields": {"was": tuple(ahead), "is": tuple(here)}},
            )
            await self._bus.listen_afresh()
            async with connection.transaction():
                self._epoch = await epochs.begin(connection, after=ahead.epoch)
                await self._ask_for_all(connection)

    async def _look_around(self, connection: Connection) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._surveyed >= SURVEY_S or self._changes != self._bus.changes:
            self._changes = self._bus.changes
            await self._survey(connection)
            self._surveyed = now
        if now - self._swept >= SWEEP_S:
            await connection.execute(_EXPIRED, self._kept)
            self._swept = now
        if now - self._looked >= LOOK_S:
            AGE.set(await age(connection))
            for stream in list(self._unheard):
                await self._forget_heard(connection, stream)
            self._looked = now

    async def _survey(self, connection: Connection) -> None:
        """Send again what streams had that are others now."""
        known = await _pairs(connection, _STREAMS)
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
                        await self._ask_for_all(connection)
                await connection.execute(_STREAM, stream, state.created)

    async def _forget_heard(self, connection: Connection, stream: str) -> None:
        """Forget what all have heard of a stream, or send it again if the stream has lost it."""
        state = await self._bus.state(stream)
        if state is None:
            return  # it is made again, and is another one then
        if state.last_sequence < self._unheard[stream]:
            await self._send_again(connection, stream)
            return
        heard = await self._bus.heard(stream, state.last_sequence)
        await connection.execute(_HEARD, stream, heard)
        if heard >= self._unheard[stream]:
            del self._unheard[stream]

    async def _ask_for_all(self, connection: Connection) -> None:
        if self._renew is not None:
            await self._renew(connection)

    async def _send_again(self, connection: Connection, stream: str) -> None:
        """Put what a stream has lost back to where it came from, in the order of then."""
        done = await connection.execute(_AGAIN, stream)
        number = int(done.rpartition(" ")[2])
        self._unheard.pop(stream, None)
        self._last.pop(stream, None)
        event = self._published.get(stream)
        AGAIN.labels(event.fact if event else stream).inc(number)
        log.warning(
            "a stream was lost: what nobody has heard is sent again",
            extra={"fields": {"stream": stream, "events": number}},
        )


async def _pairs(connection: Connection, query: str) -> dict[str, Any]:
    return {row[0]: row[1] for row in await connection.fetch(query)}


_TAKE = """
INSERT INTO inbox (consumer, event_id) SELECT $1, unnest($2::uuid[])
ON CONFLICT DO NOTHING RETURNING event_id
"""
_FORGET = "DELETE FROM inbox WHERE consumer = $1 AND event_id < $2"


async def take_in(connection: Connection, consumer: str, events: Sequence[E]) -> list[E]:
    """Name events in the inbox, in the handler's transaction; returns those that are new to it."""
    rows = await connection.fetch(_TAKE, consumer, [event.event_id for event in events])
    fresh = {row["event_id"] for row in rows}
    first = {event.event_id: event for event in reversed(events)}
    return [event for event_id, event in reversed(first.items()) if event_id in fresh]


async def forget(connection: Connection, consumer: str, before: datetime) -> None:
    """Forget the names of events made before a moment past which none is delivered again."""
    await connection.execute(_FORGET, consumer, first_id_at(before))
