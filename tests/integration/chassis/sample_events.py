"""What the tests of the bus talk about: an event, a handler that writes it down, and patience."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import ClassVar
from uuid import UUID, uuid4

import asyncpg
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from services.chassis import outbox
from services.chassis.database import OUTAGE_ERRORS, Connection, Database, open_database
from services.chassis.ids import new_id
from services.chassis.streams import OutgoingMessage
from services.contracts.base import Event
from tests.waiting import until

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Spoken(Event):
    """Somebody said something."""

    fact: ClassVar[str] = "tests.spoken.v1"

    text: str


def spoken(text: str, customer_id: UUID | None = None) -> Spoken:
    """Somebody saying something."""
    return Spoken(
        event_id=new_id(), customer_id=customer_id or uuid4(), occurred_at=NOON, text=text
    )


async def write_down(connection: Connection, events: Sequence[Spoken]) -> None:
    """A handler that cannot bear one word."""
    for event in events:
        if event.text == "poison":
            raise ValueError(event.text)
        await connection.execute("INSERT INTO told VALUES ($1, $2)", event.customer_id, event.text)


async def load_texts(database: Database) -> list[str]:
    """All that was written down, in the order of writing."""
    async with database.connection() as connection:
        return [
            row["text"] for row in await connection.fetch("SELECT text FROM told ORDER BY said")
        ]


async def wait_for_texts(database: Database, number: int) -> list[str]:
    """What was written down, as soon as it is so much; a database that is away is waited for."""
    found: list[str] = []

    async def enough() -> bool:
        with suppress(*OUTAGE_ERRORS):
            found[:] = await load_texts(database)
        return len(found) >= number

    await until(enough)
    return found


def outgoing(events: Sequence[Event]) -> list[OutgoingMessage]:
    """Events as a relay hands them over."""
    return [OutgoingMessage(e.address(), str(e.event_id), e.to_cloudevent()) for e in events]


async def connect(url: str) -> "asyncpg.Connection[asyncpg.Record]":
    """A connection to a server that may still be starting."""
    connections: list[asyncpg.Connection[asyncpg.Record]] = []

    async def is_connected() -> bool:
        with suppress(asyncpg.CannotConnectNowError):
            connections.append(await asyncpg.connect(url))
        return bool(connections)

    await until(is_connected)
    return connections[0]


async def furnish(url: str) -> None:
    """Make the tables of a service that only listens."""
    async with open_database(url) as database, database.transaction() as connection:
        for table in outbox.tables(sa.MetaData()):
            ddl = CreateTable(table).compile(dialect=postgresql.dialect())  # type: ignore[no-untyped-call]
            await connection.execute(str(ddl))
        await connection.execute(
            "CREATE TABLE told"
            " (customer_id uuid, text text, said bigint GENERATED ALWAYS AS IDENTITY)"
        )
