"""Publishing a catalogue: compile it, compare it, store it as a version, announce it."""

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from services.chassis import epochs, outbox
from services.chassis.database import Connection
from services.chassis.ids import new_id
from services.chassis.masking import Masking
from services.contracts.decision import DecisionSeriesNeeded
from services.decision.domain.catalogue_changes import CatalogueChanges, compare_catalogues
from services.decision.domain.catalogue_validation import find_warnings
from services.decision.domain.compiled_catalogue import CompiledCatalogue
from services.decision.service.catalogue_cache import (
    CatalogueCache,
    read_catalogue,
    renumber_declaration,
)
from services.decision.service.errors import ActionInUse
from services.decision.store import catalogues
from services.rules import Declaration


@dataclass(frozen=True, slots=True)
class Publication:
    catalogue: CompiledCatalogue
    changes: CatalogueChanges
    warnings: list[str]


async def publish(
    connection: Connection,
    catalogue_cache: CatalogueCache,
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
        ActionInUse: It removes active actions that were offered recently, and `force` is not set.
        IdentitiesNotReadable: A new condition uses identifying data, and `masking` is set since the
            publisher may not see those.
    """
    new = await asyncio.to_thread(read_catalogue, source, 0)
    await catalogues.lock_publishing(connection)
    row = await catalogues.load_latest(connection)
    old = await catalogue_cache.load_version(row["version"]) if row else None
    is_new = row is None or row["source"] != source
    latest = row["version"] if row else 0
    version = latest + 1 if is_new else latest
    epoch = await epochs.current(connection)
    declaration = renumber_declaration(old.declaration, epoch) if old else Declaration()
    number = epochs.stamp_number(version, epoch)
    declaration = declaration.extend(number, new.series.series.values())
    new = replace(new, version=version, declaration=declaration)
    changes = compare_catalogues(old.catalogue if old else None, new.catalogue)
    if is_new:
        if masking:
            masking.check(_list_conditions(new) - (_list_conditions(old) if old else set()))
        if not force:
            await _check_removals(connection, changes, now - recently)
        await catalogues.insert(connection, version, source, declaration.to_json(), now, by)
        await outbox.publish(connection, [build_event(new, epoch, now)])
    return Publication(new, changes, find_warnings(new.catalogue))


async def _check_removals(
    connection: Connection, changes: CatalogueChanges, since: datetime
) -> None:
    offered = await catalogues.load_offered_since(
        connection, changes.removed_while_active, since.date()
    )
    if offered:
        actions = ", ".join(f"{key!r} (last on {day})" for key, day in sorted(offered.items()))
        raise ActionInUse(
            f"The new catalogue removes active actions that were offered lately: {actions}.",
            hint="Set their status to PAUSED first, or publish with force: true.",
        )


def _list_conditions(catalogue: CompiledCatalogue) -> set[str]:
    return {condition.source for condition in catalogue.rules.conditions}


def build_event(catalogue: CompiledCatalogue, epoch: int, now: datetime) -> DecisionSeriesNeeded:
    """The event that says which series a catalogue needs, with the version numbers of an epoch."""
    return DecisionSeriesNeeded(
        event_id=new_id(),
        customer_id=None,
        occurred_at=now,
        version=epochs.stamp_number(catalogue.version, epoch),
        series=tuple(series.to_json() for series in catalogue.series.series.values()),
        grew_in=catalogue.declaration.grew_in,
    )
