"""What decision tells again: what its catalogue asks of history, decisions and outcomes."""

from datetime import datetime
from functools import partial
from uuid import UUID

from services.chassis import epochs
from services.chassis.clock import Clock
from services.chassis.database import Connection
from services.chassis.ids import first_id_at
from services.chassis.resync import Page, Source
from services.contracts.base import Json
from services.decision.domain import input_codec
from services.decision.service import deciding, outcomes, publishing
from services.decision.service.catalogue_cache import Knowledge
from services.decision.service.deciding import Made
from services.decision.store import catalogues, decisions
from services.decision.store import outcomes as outcome_store

WIDE = 5
"""Times as many rows are read where most of them are not told."""


def sources(knowledge: Knowledge, clock: Clock) -> dict[str, Source]:
    """By name, in this order."""
    return {
        "catalogue": partial(_catalogue, knowledge, clock),
        "decisions": _decisions,
        "outcomes": _outcomes,
    }


async def _catalogue(
    knowledge: Knowledge,
    clock: Clock,
    connection: Connection,
    after: Json | None,
    since: datetime,
    most: int,
) -> Page:
    await catalogues.publish_alone(connection)
    await knowledge.refresh(connection)
    if knowledge.current is None:
        return Page((), None)
    epoch = await epochs.current(connection)
    return Page([publishing.series_needed(knowledge.current, epoch, clock())], None)


async def _decisions(
    connection: Connection, after: Json | None, since: datetime, most: int
) -> Page:
    """Without the actions that were withheld: those are in the trace alone."""
    start = UUID(after) if after else first_id_at(since)
    rows = await decisions.later(connection, start, most)
    events = [
        deciding.event_of(
            Made(row, (), input_codec.sender(row.record), input_codec.unproved(row.record))
        )
        for row in rows
    ]
    return Page(events, str(rows[-1].decision_id) if len(rows) == most else None)


async def _outcomes(connection: Connection, after: Json | None, since: datetime, most: int) -> Page:
    place = (UUID(after[0]), UUID(after[1])) if after else None
    rows = await outcome_store.all_after(connection, place, WIDE * most)
    events = [outcomes.event_of(row) for row in rows if row.recorded_at >= since]
    last = [str(rows[-1].customer_id), str(rows[-1].outcome_id)] if rows else None
    return Page(events, last if len(rows) == WIDE * most else None)
