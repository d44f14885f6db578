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
from services.journey.domain.definition import Definition
from services.journey.domain.instance import Instance
from services.journey.domain.journey import Journey
from services.journey.domain.validation import flaws
from services.journey.service.engine import Engine
from services.journey.service.journey_cache import Book
from services.journey.store import definitions, instances
from services.journey.store.definitions import Published
from services.rules import merge_series


class UnknownInstance(RaakError):
    """There is no instance with this id."""

    code = "JOURNEY_UNKNOWN_INSTANCE"
    status = 404

    def __init__(self, id: str) -> None:
        super().__init__(
            f"There is no journey instance {id!r}.",
            hint="Take the id of one from `Customer.journeys`.",
        )


def read(yaml: str) -> Definition:
    """A sound definition; raises InvalidDefinition with all that is wrong with it.

    Takes up to a second: run it in a thread.
    """
    definition, source = parse_yaml(yaml, Definition)
    problems = [
        source.problem(place, problem, hint, offset=offset)
        for place, problem, hint, offset in flaws(definition)
    ]
    if problems:
        raise InvalidDefinition(problems)
    return definition


async def publish(
    engine: Engine, connection: Connection, yaml: str, by: str, masking: Masking | None = None
) -> tuple[Published, Book]:
    """Make a definition the version of its journey that customers enter from now on.

    Instances under way finish on theirs. Publishing what is published already changes nothing.

    Raises:
        InvalidDefinition: All that is wrong with it.
        IdentitiesAsked: A new condition tells who somebody is, and `masking` is set since whoever
            publishes it may not see that.
    """
    made = await asyncio.to_thread(_prepared, yaml)
    definition = made.definition
    await definitions.one_at_a_time(connection)
    book = await engine.library.book(connection)
    held = book.current.get(definition.key)
    if held is not None and held.source == yaml:
        return held, book
    if masking:
        before = book.journey(held.key, held.version).conditions if held else frozenset()
        masking.check(made.conditions - before)
    row = await definitions.insert(
        connection,
        definition.key,
        yaml,
        made.event_names,
        made.watches_customer,
        engine.clock(),
        by,
    )
    return row, await _declare(engine, connection, row.revision, book)


def _prepared(yaml: str) -> Journey:
    return Journey(read(yaml), version=0)


async def _declare(engine: Engine, connection: Connection, revision: int, before: Book) -> Book:
    """Tell profile which histories the journeys need that somebody enters or is under way on."""
    book = await engine.library.read(connection, before.epoch)
    used = {(row.key, row.version) for row in book.current.values()}
    used |= await definitions.running(connection)
    journeys = await asyncio.to_thread(book.journeys, used)
    series = merge_series(one for journey in journeys for one in journey.series)
    book.declaration = before.declaration.followed_by(book.number(revision), series)
    await definitions.declare(connection, revision, book.declaration.to_json())
    await outbox.publish(
        connection, [series_needed(book, revision, engine.new_id(), engine.clock())]
    )
    return book


def series_needed(book: Book, revision: int, id: UUID, now: datetime) -> JourneySeriesNeeded:
    """What the journeys ask of history since a publication, as it is told."""
    declared = sorted(book.declaration.series.items())
    return JourneySeriesNeeded(
        event_id=id,
        customer_id=None,
        occurred_at=now,
        version=book.number(revision),
        series=tuple(one.series.to_json() for _, one in declared),
        grew_in=book.declaration.grew_in,
    )


async def exit_instance(engine: Engine, connection: Connection, id: str, reason: str) -> Instance:
    """End an instance by hand; one that has ended already stays as it ended."""
    instance = await instances.lock_by_id(connection, _id(id))
    if instance is None:
        raise UnknownInstance(id)
    if not instance.active:
        return instance
    book = await engine.library.book(connection)
    standing = await engine.standing(connection, book, [instance.customer_id], [instance])
    standing.end(instance, reason)
    await engine.write(connection, standing)
    return standing.changed[instance.id]


def _id(id: str) -> UUID:
    try:
        return UUID(id)
    except ValueError:
        raise UnknownInstance(id) from None
