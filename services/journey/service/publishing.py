"""Publishing journeys, and ending instances by hand."""

import asyncio
from datetime import datetime
from uuid import UUID

from services.chassis import outbox
from services.chassis.database import Connection
from services.chassis.definitions import InvalidDefinition, parse_yaml
from services.chassis.errors import RaakError
from services.chassis.masking import Masking
from services.contracts.journey import JourneySeriesNeeded
from services.journey.domain.definition import JourneyDefinition
from services.journey.domain.instance import Instance
from services.journey.domain.journey import Journey
from services.journey.domain.validation import find_flaws
from services.journey.service.engine import Engine
from services.journey.service.journey_cache import JourneySet
from services.journey.store import definitions, instances
from services.journey.store.definitions import PublishedJourney
from services.rules import merge_series


class UnknownInstance(RaakError, code="JOURNEY_UNKNOWN_INSTANCE", status=404):
    """There is no instance with this id."""

    def __init__(self, id: str) -> None:
        super().__init__(
            f"There is no journey instance {id!r}.",
            hint="Take the id of one from `Customer.journeys`.",
        )


def parse_definition(yaml: str) -> JourneyDefinition:
    """A valid definition; raises InvalidDefinition with all that is wrong with it.

    Takes up to a second: run it in a thread.
    """
    definition, source = parse_yaml(yaml, JourneyDefinition)
    problems = [
        source.problem(place, problem, hint, offset=offset)
        for place, problem, hint, offset in find_flaws(definition)
    ]
    if problems:
        raise InvalidDefinition(problems)
    return definition


async def publish(
    engine: Engine, connection: Connection, yaml: str, by: str, masking: Masking | None = None
) -> tuple[PublishedJourney, JourneySet]:
    """Make a definition the version of its journey that customers enter from now on.

    Active instances finish on their version. Publishing the current text again changes nothing.

    Raises:
        InvalidDefinition: All that is wrong with it.
        IdentitiesNotReadable: A condition reveals identities to a publisher that may not read
            them; `masking` is set for such a one.
    """
    journey = await asyncio.to_thread(_compile, yaml)
    definition = journey.definition
    await definitions.lock_publishing(connection)
    journeys = await engine.cache.load(connection)
    current = journeys.current.get(definition.key)
    if current is not None and current.source == yaml:
        return current, journeys
    if masking:
        before = journeys.get(current.key, current.version).conditions if current else frozenset()
        masking.check(journey.conditions - before)
    row = await definitions.insert(
        connection,
        definition.key,
        yaml,
        journey.event_names,
        journey.watches_customer,
        engine.clock(),
        by,
    )
    return row, await _declare(engine, connection, row.revision, journeys)


def _compile(yaml: str) -> Journey:
    return Journey(parse_definition(yaml), version=0)


async def _declare(
    engine: Engine, connection: Connection, revision: int, before: JourneySet
) -> JourneySet:
    """Declare to profile the series of all versions that customers enter or are active on."""
    journeys = await engine.cache.load_uncommitted(connection, before.epoch)
    versions = {(row.key, row.version) for row in journeys.current.values()}
    versions |= await definitions.load_active_versions(connection)
    in_use = await asyncio.to_thread(journeys.get_all, versions)
    series = merge_series(one for journey in in_use for one in journey.series)
    journeys.declaration = before.declaration.extend(journeys.stamp(revision), series)
    await definitions.save_declaration(connection, revision, journeys.declaration.to_json())
    await outbox.publish(
        connection, [build_series_event(journeys, revision, engine.new_id(), engine.clock())]
    )
    return journeys


def build_series_event(
    journeys: JourneySet, revision: int, id: UUID, now: datetime
) -> JourneySeriesNeeded:
    """The event that declares the series the journeys need since a publication."""
    declared = sorted(journeys.declaration.series.items())
    return JourneySeriesNeeded(
        event_id=id,
        customer_id=None,
        occurred_at=now,
        version=journeys.stamp(revision),
        series=tuple(one.series.to_json() for _, one in declared),
        grew_in=journeys.declaration.grew_in,
    )


async def exit_instance(engine: Engine, connection: Connection, id: str, reason: str) -> Instance:
    """End an instance by hand; one that has ended already stays as it ended."""
    instance = await instances.lock_by_id(connection, _parse_id(id))
    if instance is None:
        raise UnknownInstance(id)
    if not instance.is_active:
        return instance
    journeys = await engine.cache.load(connection)
    state = await engine.load_state(connection, journeys, [instance.customer_id], [instance])
    state.end(instance, reason)
    await engine.save(connection, state)
    return state.changed[instance.id]


def _parse_id(id: str) -> UUID:
    try:
        return UUID(id)
    except ValueError:
        raise UnknownInstance(id) from None
