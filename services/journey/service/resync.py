"""What a resync of journey publishes again: the series declaration, instances, and messages."""

from datetime import datetime
from functools import partial
from uuid import UUID

from services.chassis.database import Connection
from services.chassis.resync import ResyncPage, ResyncSource
from services.contracts.base import Event, Json
from services.contracts.journey import MessageDue
from services.journey.domain.instance import EndEffect, EntryEffect, Instance
from services.journey.service.engine import Engine
from services.journey.service.persistence import build_event, build_state
from services.journey.service.publishing import build_series_event
from services.journey.store import definitions, instances, messages

READ_FACTOR = 5
"""How many rows are read for one event, where most rows are too old to be published."""


def sources(engine: Engine) -> dict[str, ResyncSource]:
    return {
        "journeys": partial(_load_series, engine),
        "runs": partial(_load_instances, engine),
        "messages": partial(_load_messages, engine),
    }


async def _load_series(
    engine: Engine, connection: Connection, after: Json | None, since: datetime, most: int
) -> ResyncPage:
    await definitions.lock_publishing(connection)
    journeys = await engine.cache.load(connection)
    if not journeys.rows:
        return ResyncPage((), None)
    return ResyncPage(
        [build_series_event(journeys, journeys.revision, engine.new_id(), engine.clock())], None
    )


async def _load_instances(
    engine: Engine, connection: Connection, after: Json | None, since: datetime, most: int
) -> ResyncPage:
    """The states of active instances, and the recent ends of others."""
    journeys = await engine.cache.load(connection)
    now = engine.clock()

    def build(instance: Instance) -> Event:
        effect = EntryEffect(instance) if instance.is_active else EndEffect(instance)
        return build_event(engine.new_id(), effect, now, journeys.stamp)

    rows = await instances.lock_page(connection, _parse_position(after), READ_FACTOR * most)
    events = [
        build(instance)
        for instance in rows
        if instance.ended_at is None or instance.ended_at >= since
    ]
    last = [str(rows[-1].customer_id), str(rows[-1].id)] if rows else None
    return ResyncPage(events, last if len(rows) == READ_FACTOR * most else None)


async def _load_messages(
    engine: Engine, connection: Connection, after: Json | None, since: datetime, most: int
) -> ResyncPage:
    journeys = await engine.cache.load(connection)
    rows = await messages.load_page(connection, _parse_position(after), READ_FACTOR * most)
    recent = [row for row in rows if row.created_at >= since]
    senders = await instances.load_by_id(connection, {row.instance_id for row in recent})
    events = [
        MessageDue(
            event_id=row.message_id,
            customer_id=row.customer_id,
            occurred_at=row.created_at,
            message_id=row.message_id,
            state=build_state(senders[row.instance_id], journeys.stamp),
            channel=row.channel,
            template=row.template,
            content=row.content,
        )
        for row in recent
        if row.instance_id in senders
    ]
    last = [str(rows[-1].customer_id), str(rows[-1].message_id)] if rows else None
    return ResyncPage(events, last if len(rows) == READ_FACTOR * most else None)


def _parse_position(after: Json | None) -> tuple[UUID, UUID] | None:
    return (UUID(after[0]), UUID(after[1])) if after else None
