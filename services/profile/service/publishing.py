"""Putting segments and the series other services need in force, as the next version of both."""

import asyncio
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from services.chassis.database import Connection
from services.chassis.definitions import InvalidDefinition, Problem, Source, read_model
from services.chassis.masking import Masking
from services.contracts.series import SeriesNeeded
from services.profile.definitions import SegmentDefinition, SegmentFile
from services.profile.domain.segment_definitions import Rulebook, Segment
from services.profile.service.segment_cache import Rulebooks, read_definitions
from services.profile.store import segment_definitions as store
from services.rules import SEGMENT, ConditionError, parse, series_from_json


async def publish_segments(
    connection: Connection,
    rulebooks: Rulebooks,
    text: str,
    now: datetime,
    masking: Masking | None = None,
) -> list[Segment]:
    """Put the segments of a YAML document in force; those that are the same stay as they are.

    Raises:
        InvalidDefinition: All that is wrong, with line, field and remedy.
        IdentitiesAsked: A new condition tells who somebody is, and `masking` is set since whoever
            publishes it may not see that.
    """
    definitions = await asyncio.to_thread(read_segments, text)
    await store.change_alone(connection)
    held = {row.key: row for row in await store.segments(connection)}
    rows = [_row(definition, held.get(definition.key), now) for definition in definitions]
    if fresh := [row for row in rows if row != held.get(row.key)]:
        if masking:
            masking.check({row.condition for row in fresh} - {r.condition for r in held.values()})
        await store.publish(connection, fresh)
        rulebook = await _next_version(connection, now)  # nobody else's before the commit
    else:
        rulebook = await rulebooks.current(connection)
    segments = {segment.key: segment for segment in rulebook.segments}
    return [segments[row.key] for row in rows]


async def declare_series(connection: Connection, needed: SeriesNeeded, now: datetime) -> None:
    """Keep what another service needs from now on, and from the past as soon as can be."""
    series = [series_from_json(one).to_json() for one in needed.series]
    await store.change_alone(connection)
    before = await read_definitions(connection, await store.version(connection))
    if await store.declare(connection, needed.service(), needed.version, series, needed.grew_in):
        after = await read_definitions(connection, before.version)
        same = after.series.series == before.series.series and after.answers == before.answers
        if not same:
            await _next_version(connection, now)


def read_segments(text: str) -> list[SegmentDefinition]:
    """One segment, or the list under `segments:`, checked down to the conditions.

    Takes up to a second: run it in a thread.
    """
    source = Source(text)
    if isinstance(source.value, dict) and "segments" in source.value:
        file = read_model(source, SegmentFile)
        placed: list[tuple[tuple[Any, ...], SegmentDefinition]] = [
            (("segments", position), one) for position, one in enumerate(file.segments)
        ]
    else:
        placed = [((), read_model(source, SegmentDefinition))]
    problems = [*_repeated(source, placed), *_unreadable(source, placed)]
    if problems:
        raise InvalidDefinition(problems)
    return [definition for _, definition in placed]


Placed = list[tuple[tuple[Any, ...], SegmentDefinition]]


def _repeated(source: Source, placed: Placed) -> Iterable[Problem]:
    seen: set[str] = set()
    for path, definition in placed:
        if definition.key in seen:
            yield source.problem(
                (*path, "key"),
                f"{definition.key!r} is defined a second time.",
                "Give each segment a key of its own.",
            )
        seen.add(definition.key)


def _unreadable(source: Source, placed: Placed) -> Iterable[Problem]:
    for path, definition in placed:
        try:
            parse(definition.condition, SEGMENT)
        except ConditionError as error:
            yield source.problem(
                (*path, "condition"),
                f"{error.problem} (line {error.line}, column {error.column} of the condition)",
                error.hint,
            )


def _row(
    definition: SegmentDefinition, held: store.SegmentRow | None, now: datetime
) -> store.SegmentRow:
    said = (definition.name, definition.description, definition.condition)
    if held and held[2:5] == said:
        return held
    version = held.version + 1 if held else 1
    return store.SegmentRow(definition.key, version, *said, now)


async def _next_version(connection: Connection, now: datetime) -> Rulebook:
    number = await store.version(connection) + 1
    rulebook = await read_definitions(connection, number)
    kept = [series.to_json() for series in rulebook.series.series.values()]
    await store.make(connection, number, kept, rulebook.answers, now)
    return rulebook
