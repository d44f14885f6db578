"""What journey tells again: what journeys ask of history, where instances stand, and messages."""

from datetime import datetime
from functools import partial
from uuid import UUID

from services.chassis.database import Connection
from services.chassis.resync import Page, Source
from services.contracts.base import Event, Json
from services.contracts.journey import MessageDue
from services.journey.domain.instance import Ended, Entered, Instance
from services.journey.service.engine import Engine
from services.journey.service.persistence import event_of, state_of
from services.journey.service.publishing import series_needed
from services.journey.store import definitions, instances, messages

WIDE = 5
"""Times as many rows are read where most of them are not told."""


def sources(engine: Engine) -> dict[str, Source]:
    """By name, in this order."""
    return {
        "journeys": partial(_journeys, engine),
        "runs": partial(_instances, engine),
        "messages": partial(_messages, engine),
    }


async def _journeys(
    engine: Engine, connection: Connection, after: Json | None, since: datetime, most: int
) -> Page:
    await definitions.one_at_a_time(connection)
    book = await engine.library.book(connection)
    if not book.rows:
        return Page((), None)
    return Page([series_needed(book, book.revision, engine.new_id(), engine.clock())], None)


async def _instances(
    engine: Engine, connection: Connection, after: Json | None, since: datetime, most: int
) -> Page:
    """Where each instance stands that is under way, and the ends of others."""
    book = await engine.library.book(connection)
    now = engine.clock()

    def describe(instance: Instance) -> Event:
        effect = Entered(instance) if instance.active else Ended(instance)
        return event_of(engine.new_id(), effect, now, book.number)

    rows = await instances.lock_after(connection, _place(after), WIDE * most)
    events = [
        describe(instance)
        for instance in rows
        if instance.ended_at is None or instance.ended_at >= since
    ]
    last = [str(rows[-1].customer_id), str(rows[-1].id)] if rows else None
    return Page(events, last if len(rows) == WIDE * most else None)


async def _messages(
    engine: Engine, connection: Connection, after: Json | None, since: datetime, most: int
) -> Page:
    book = await engine.library.book(connection)
    rows = await messages.all_after(connection, _place(after), WIDE * most)
    recent = [row for row in rows if row.created_at >= since]
    of = await instances.by_id(connection, {row.instance_id for row in recent})
    events = [
        MessageDue(
            event_id=row.message_id,
            customer_id=row.customer_id,
            occurred_at=row.created_at,
            message_id=row.message_id,
            state=state_of(of[row.instance_id], book.number),
            channel=row.channel,
            template=row.template,
            content=row.content,
        )
        for row in recent
        if row.instance_id in of
    ]
    last = [str(rows[-1].customer_id), str(rows[-1].message_id)] if rows else None
    return Page(events, last if len(rows) == WIDE * most else None)


def _place(after: Json | None) -> tuple[UUID, UUID] | None:
    return (UUID(after[0]), UUID(after[1])) if after else None
