"""What decision publishes again: the series its catalogue needs, decisions and outcomes."""

from datetime import datetime
from functools import partial
from uuid import UUID

from services.chassis import epochs
from services.chassis.clock import Clock
from services.chassis.database import Connection
from services.chassis.ids import first_id_at
from services.chassis.resync import ResyncPage, ResyncSource
from services.contracts.base import Json
from services.decision.domain import input_codec
from services.decision.service import deciding, outcomes, publishing
from services.decision.service.catalogue_cache import CatalogueCache
from services.decision.service.deciding import PendingDecision
from services.decision.store import catalogues, decisions
from services.decision.store import outcomes as outcome_store

FIRST_ID = UUID(int=0)
WIDE = 5
"""Times as many rows are read where most of them are not published."""


def build_sources(catalogue_cache: CatalogueCache, clock: Clock) -> dict[str, ResyncSource]:
    return {
        "catalogue": partial(_load_catalogue, catalogue_cache, clock),
        "decisions": _load_decisions,
        "outcomes": _load_outcomes,
    }


async def _load_catalogue(
    catalogue_cache: CatalogueCache,
    clock: Clock,
    connection: Connection,
    after: Json | None,
    since: datetime,
    most: int,
) -> ResyncPage:
    await catalogues.lock_publishing(connection)
    await catalogue_cache.refresh(connection)
    if catalogue_cache.current is None:
        return ResyncPage((), None)
    epoch = await epochs.current(connection)
    return ResyncPage([publishing.build_event(catalogue_cache.current, epoch, clock())], None)


async def _load_decisions(
    connection: Connection, after: Json | None, since: datetime, most: int
) -> ResyncPage:
    """Without the actions that were withheld: only the trace has those."""
    start = UUID(after) if after else first_id_at(since)
    rows = await decisions.load_after(connection, start, most)
    events = [
        deciding.build_event(
            PendingDecision(
                row,
                (),
                input_codec.read_sender(row.packed_input),
                input_codec.read_unproved(row.packed_input),
            )
        )
        for row in rows
    ]
    return ResyncPage(events, str(rows[-1].decision_id) if len(rows) == most else None)


async def _load_outcomes(
    connection: Connection, after: Json | None, since: datetime, most: int
) -> ResyncPage:
    customer_id, outcome_id = map(UUID, after) if after else (FIRST_ID, FIRST_ID)
    rows = await outcome_store.load_after(connection, customer_id, outcome_id, WIDE * most)
    events = [outcomes.build_event(row) for row in rows if row.recorded_at >= since]
    last = [str(rows[-1].customer_id), str(rows[-1].outcome_id)] if rows else None
    return ResyncPage(events, last if len(rows) == WIDE * most else None)
