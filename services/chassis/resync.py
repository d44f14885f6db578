"""A resync publishes again what a database holds, for services that have missed events.

It is a row of the service's database, so that it survives the process that works on it: each chunk
goes to the outbox in the transaction that records the progress. Consumers that know an event
already ignore it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from services.chassis.clock import Clock
from services.chassis.database import Connection, Database
from services.chassis.errors import RaakError
from services.contracts.base import Event, Json

CHUNK = 200
"""Customers or rows of one transaction."""
MAX_WAITING = 1_000
"""Events in the outbox past which a resync pauses: new events shall not queue behind old ones."""
CHECK_EVERY_S = 2.0
FULL_S = 0.05


@dataclass(frozen=True, slots=True)
class ResyncPage:
    """A chunk of events; `after` is where the next one begins, None at the end."""

    events: Sequence[Event]
    after: Json | None


ResyncSource = Callable[[Connection, Json | None, datetime, int], Awaitable[ResyncPage]]
"""Reads a chunk: after a position (None: from the beginning), since a time, about so many rows."""


class ResyncUnderWay(RaakError, code="RESYNC_UNDER_WAY", status=409):
    """A resync is requested while one is under way."""


@dataclass(frozen=True, slots=True)
class ResyncProgress:
    requested_at: datetime
    source: str | None
    """The source that is read now; None before the first."""
    events: int
    """Published so far."""
    finished_at: datetime | None


_REQUEST = """
INSERT INTO resync (one, since, asked_at) VALUES (true, $1, now())
ON CONFLICT (one) DO UPDATE SET since = $1, asked_at = now(), source = NULL, after = NULL,
    told = 0, finished_at = NULL
WHERE resync.finished_at IS NOT NULL OR $2
"""
_PROGRESS = "SELECT asked_at, source, told, finished_at FROM resync"
_CLAIM = """
SELECT since, source, after FROM resync WHERE finished_at IS NULL FOR UPDATE SKIP LOCKED
"""
_NOTE = """
UPDATE resync SET source = $1, after = $2, told = told + $3,
    finished_at = CASE WHEN $4 THEN now() END
"""
_WAITING = "SELECT count(*) FROM (SELECT FROM outbox LIMIT $1) AS waiting"


def table(metadata: sa.MetaData) -> sa.Table:
    """Describe `resync` in a service's metadata: the one that is under way, or the last."""
    moment = sa.DateTime(timezone=True)
    return sa.Table(
        "resync",
        metadata,
        sa.Column("one", sa.Boolean, sa.CheckConstraint("one"), primary_key=True),
        sa.Column("since", moment, nullable=False),
        sa.Column("asked_at", moment, nullable=False),
        sa.Column("source", sa.Text),
        sa.Column("after", JSONB),
        sa.Column("told", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("finished_at", moment),
    )


async def check_not_running(connection: Connection, service: str) -> None:
    """Raise ResyncUnderWay if the service has one under way."""
    current = await progress(connection)
    if current is not None and current.finished_at is None:
        raise ResyncUnderWay(
            f"A resync of {service} is under way since {current.requested_at:%Y-%m-%d %H:%M:%S};"
            f" it has published {current.events} events.",
            hint="It goes on by itself while the service runs; wait for its end.",
        )


async def request_resync(connection: Connection, since: datetime, *, afresh: bool = False) -> None:
    """Have the service publish all its state again, and events since a time.

    One that is under way starts over with `afresh`, else it raises ResyncUnderWay.
    """
    status = await connection.execute(_REQUEST, since, afresh)
    if status.endswith(" 0"):
        raise ResyncUnderWay(
            "A resync is under way.",
            hint="It goes on by itself while the service runs; wait for its end.",
        )


async def progress(connection: Connection) -> ResyncProgress | None:
    """How far the resync under way has come, or the last one; None if there never was one."""
    row = await connection.fetchrow(_PROGRESS)
    return ResyncProgress(*row) if row else None


class Resync:
    """Works on requested resyncs; replicas take turns."""

    def __init__(
        self,
        database: Database,
        sources: Mapping[str, ResyncSource],
        publish: Callable[[Connection, Sequence[Event]], Awaitable[None]],
        clock: Clock,
    ) -> None:
        self._database = database
        self._sources = sources
        self._publish = publish
        self._clock = clock
        self._requested = asyncio.Event()

    async def renew(self, connection: Connection) -> None:
        """Start a resync of all state: a stream was lost, or the database was restored."""
        await request_resync(connection, self._clock(), afresh=True)
        self._requested.set()

    async def run(self) -> None:
        while True:
            self._requested.clear()
            if not await self.publish_chunk():
                with suppress(TimeoutError):
                    async with asyncio.timeout(CHECK_EVERY_S):
                        await self._requested.wait()

    async def publish_chunk(self) -> bool:
        """Publish one chunk in a transaction of its own; False if nothing is requested."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(_CLAIM)
            if row is None:
                return False
            if await connection.fetchval(_WAITING, MAX_WAITING) == MAX_WAITING:
                await asyncio.sleep(FULL_S)
                return True
            names = list(self._sources)
            name = row["source"] if row["source"] in names else next(iter(names), None)
            if name is None:
                await connection.execute(_NOTE, None, None, 0, True)
                return True
            page = await self._sources[name](connection, row["after"], row["since"], CHUNK)
            await self._publish(connection, page.events)
            at_end = page.after is None
            if at_end:
                name = next(iter(names[names.index(name) + 1 :]), None)
            await connection.execute(
                _NOTE, name, page.after, len(page.events), at_end and name is None
            )
            return True
