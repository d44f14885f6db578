"""Publishing a catalogue: read, compared, kept as a version, announced."""

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from services.chassis import epochs, outbox
from services.chassis.database import Connection
from services.chassis.ids import new_id
from services.chassis.masking import Masking
from services.contracts.decision import DecisionSeriesNeeded
from services.decision.domain.catalogue_changes import Changes, changes
from services.decision.domain.catalogue_validation import warnings
from services.decision.domain.compiled_catalogue import Compiled
from services.decision.service.catalogue_cache import Knowledge, read_catalogue, renumbered
from services.decision.service.errors import StillOffered
from services.decision.store import catalogues
from services.rules import Declaration


@dataclass(frozen=True, slots=True)
class Publication:
    """The catalogue that decides after a publication, and what is different about it."""

    catalogue: Compiled
    changes: Changes
    warnings: list[str]


async def publish(
    connection: Connection,
    knowledge: Knowledge,
    source: str,
    *,
    by: str,
    force: bool,
    now: datetime,
    recently: timedelta,
    masking: Masking | None = None,
) -> Publication:
    """Make a document the catalogue, in the caller's transaction. The same text is no new version.

    Raises:
        InvalidDefinition: With every problem of the document.
        StillOffered: It drops active actions that were offered recently, and `force` is not set.
        IdentitiesAsked: A new condition tells who somebody is, and `masking` is set since whoever
            publishes it may not see that.
    """
    new = await asyncio.to_thread(read_catalogue, source, 0)
    await catalogues.publish_alone(connection)
    row = await catalogues.latest(connection)
    old = await knowledge.at(row["version"]) if row else None
    is_new = row is None or row["source"] != source
    latest = row["version"] if row else 0
    version = latest + 1 if is_new else latest
    epoch = await epochs.current(connection)
    declaration = renumbered(old.declaration, epoch) if old else Declaration()
    number = epochs.stamped(version, epoch)
    declaration = declaration.extend(number, new.series.series.values())
    new = replace(new, version=version, declaration=declaration)
    found = changes(old.catalogue if old else None, new.catalogue)
    if is_new:
        if masking:
            masking.check(_sources(new) - (_sources(old) if old else set()))
        if not force:
            await _check_removals(connection, found, now - recently)
        await catalogues.insert(connection, version, source, declaration.to_json(), now, by)
        await outbox.publish(connection, [series_needed(new, epoch, now)])
    return Publication(new, found, warnings(new.catalogue))


async def _check_removals(connection: Connection, found: Changes, since: datetime) -> None:
    offered = await catalogues.offered_since(connection, found.removed_while_active, since.date())
    if offered:
        told = ", ".join(f"{key!r} (last on {day})" for key, day in sorted(offered.items()))
        raise StillOffered(
            f"The new catalogue removes active actions that were offered lately: {told}.",
            hint="Set their status to PAUSED first, or publish with force: true.",
        )


def _sources(catalogue: Compiled) -> set[str]:
    return {condition.source for condition in catalogue.rules.conditions}


def series_needed(catalogue: Compiled, epoch: int, now: datetime) -> DecisionSeriesNeeded:
    """What a catalogue asks of history, as it is told in an epoch."""
    return DecisionSeriesNeeded(
        event_id=new_id(),
        customer_id=None,
        occurred_at=now,
        version=epochs.stamped(catalogue.version, epoch),
        series=tuple(series.to_json() for series in catalogue.series.series.values()),
        grew_in=catalogue.declaration.grew_in,
    )
