"""Telling again what a database holds: to services that have missed it, whatever they missed.

A resync is a row of the service's database, so that it outlives the process that works on it: chunk
after chunk goes to the outbox in the transaction that notes how far it has come. Whoever knows what
is told already is not changed by hearing it again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from services.chassis.clock import Clock
from services.chassis.database import Connection, Database
from services.chassis.errors import RaakError
from services.contracts.base import Event, Json

CHUNK = 200
"""Customers or rows told again in one transaction."""
WAITING = 1_000
"""So many events in the outbox are enough: what is new shall not queue behind what is old."""
LOOK_S = 2.0
FULL_S = 0.05
WINDOW = timedelta(days=1)
"""How far back facts are told again that are not a state."""
LONGEST = timedelta(days=7)
"""Inboxes know a repetition for twice as long."""


@dataclass(frozen=True, slots=True)
class Page:
    """A chunk of what is told again; `after` is where the next one begins, None at the end."""

    events: Sequence[Event]
    after: Json | None


Source = Callable[[Connection, Json | None, datetime, int], Awaitable[Page]]
"""Reads a chunk: after a place (None: from the beginning), since a moment, about so many rows."""


class ResyncUnderWay(RaakError):
    """What a service holds is being told again already."""

    code: ClassVar[str] = "RESYNC_UNDER_WAY"
    status: ClassVar[int] = 409


@dataclass(frozen=True, slots=True)
class ResyncProgress:
    """How far a resync has come."""

    asked_at: datetime
    source: str | None
    """What is told now; None before the first."""
    told: int
    """Events so far."""
    finished_at: datetime | None


_ASK = """
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


async def check_free(connection: Connection, service: str) -> None:
    """Raise ResyncUnderWay when a service is at it already."""
    found = await progress(connection)
    if found is not None and found.finished_at is None:
        raise ResyncUnderWay(
            f"A resync of {service} is under way since {found.asked_at:%Y-%m-%d %H:%M:%S}, with"
            f" {found.told} events told.",
            hint="It goes on by itself while the service runs; wait for its end.",
        )


async def ask(connection: Connection, since: datetime, *, afresh: bool = False) -> None:
    """Have the service tell again all its state, and what happened since a moment.

    One that is under way begins anew with `afresh`, for the service's own use.

    Raises:
        ResyncUnderWay: There is one, and it goes on.
    """
    done = await connection.execute(_ASK, since, afresh)
    if done.endswith(" 0"):
        raise ResyncUnderWay(
            "A resync is under way.",
            hint="It goes on by itself while the service runs; wait for its end.",
        )


async def progress(connection: Connection) -> ResyncProgress | None:
    """How far the resync under way has come, or the last one; None if there never was one."""
    row = await connection.fetchrow(_PROGRESS)
    return ResyncProgress(*row) if row else None


class Resync:
    """Works on what was asked for, beside other replicas that do the same."""

    def __init__(
        self,
        database: Database,
        sources: Mapping[str, Source],
        publish: Callable[[Connection, Sequence[Event]], Awaitable[None]],
        clock: Clock,
    ) -> None:
        self._database = database
        self._sources = sources
        self._publish = publish
        self._clock = clock
        self._asked = asyncio.Event()

    async def renew(self, connection: Connection) -> None:
        """Tell all state again, from its beginning: a stream or a database is not what it was."""
        await ask(connection, self._clock(), afresh=True)
        self._asked.set()

    async def run(self) -> None:
        """Do what is asked for until cancelled."""
        while True:
            self._asked.clear()
            if not await self.tell_some():
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await self._asked.wait()

    async def tell_some(self) -> bool:
        """Tell one chunk in a transaction of its own; False if there is nothing to tell."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(_CLAIM)
            if row is None:
                return False
            if await connection.fetchval(_WAITING, WAITING) == WAITING:
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
