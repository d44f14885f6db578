"""The transactional outbox: an event is true when its transaction is, and reaches the bus after.

An event is written beside the change that made it true, and a relay carries it to JetStream in
the order of writing. The inbox is the other end: it names the events a handler has taken in.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, ClassVar, TypeVar

import asyncpg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA

from services.chassis import telemetry
from services.chassis.bus import Bus, BusUnavailable, OutgoingMessage
from services.chassis.database import AWAY, Connection, Database, reason
from services.chassis.errors import RaakError
from services.chassis.ids import first_id_at
from services.contracts.base import Event

log = logging.getLogger(__name__)

E = TypeVar("E", bound=Event)

RELAY_LOCK = 0x5261616B  # "Raak": only one replica of a service relays at a time, to keep the order
BATCH = 500
IDLE_S = 0.5  # how long another replica's commit may go unnoticed

LARGEST_EVENT = 1_000_000
"""Bytes; NATS takes no message over a mebibyte, and one it refuses would stop the relay."""


class EventTooLarge(RaakError):
    """An event does not fit through the bus."""

    code: ClassVar[str] = "EVENT_TOO_LARGE"


_INSERT = """
INSERT INTO outbox (event_id, address, body)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::bytea[])
"""
_OLDEST = "SELECT id, event_id, address, body FROM outbox ORDER BY id LIMIT $1"
_UNRELAYED = "SELECT count(*) FROM (SELECT FROM outbox LIMIT 10000) AS unrelayed"
_TRY_LOCK = """
SELECT pg_try_advisory_lock($1)
FROM set_config('idle_session_timeout', $2, false) AS silent,
    set_config('transaction_timeout', $2, false) AS preparing
"""
_DELETE = "DELETE FROM outbox WHERE id = ANY($1::bigint[])"


def tables(metadata: sa.MetaData) -> tuple[sa.Table, sa.Table]:
    """Describe `outbox` and `inbox` in a service's metadata."""
    outbox = sa.Table(
        "outbox",
        metadata,
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("event_id", sa.Uuid, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("body", BYTEA, nullable=False),
    )
    inbox = sa.Table(
        "inbox",
        metadata,
        sa.Column("consumer", sa.Text, primary_key=True),
        sa.Column("event_id", sa.Uuid, primary_key=True),
    )
    return outbox, inbox


async def publish(connection: Connection, events: Sequence[Event]) -> None:
    """Write events to the outbox, in the caller's transaction and in this order."""
    if not events:
        return
    traceparent = telemetry.traceparent()
    bodies = [event.to_cloudevent(traceparent) for event in events]
    for event, body in zip(events, bodies, strict=True):
        if len(body) > LARGEST_EVENT:
            raise EventTooLarge(
                f"A {event.fact} of customer {event.customer_id} has {len(body)} bytes.",
                hint=f"Events hold at most {LARGEST_EVENT} bytes: send less at once.",
            )
    await connection.execute(
        _INSERT,
        [event.event_id for event in events],
        [event.address() for event in events],
        bodies,
    )


async def backlog(connection: Connection, bus: Bus, event: type[Event]) -> int:
    """How many events are still on their way: ours to be relayed, and those of a fact not taken in.

    Work behind the scenes looks at it, so as not to fill the road that requests travel too.
    """
    return int(await connection.fetchval(_UNRELAYED)) + await bus.waiting(event)


class Relay:
    """Carries what is in the outbox to the bus, in order, and then forgets it."""

    def __init__(self, database: Database, bus: Bus) -> None:
        self._database = database
        self._bus = bus
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
        if not await connection.fetchval(_TRY_LOCK, RELAY_LOCK, f"{self._database.silence_s}s"):
            await asyncio.sleep(IDLE_S)
            return
        try:
            while True:
                self._committed.clear()
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
            await self._bus.publish(
                [OutgoingMessage(r["address"], str(r["event_id"]), r["body"]) for r in rows]
            )
            await connection.execute(_DELETE, [r["id"] for r in rows])
        return len(rows)


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
