"""Putting segments, and the series other services need, in force as the next version of both."""

import asyncio
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from services.chassis.database import Connection
from services.chassis.definitions import (
    DefinitionProblem,
    DefinitionSource,
    InvalidDefinition,
    read_model,
)
from services.chassis.masking import Masking
from services.contracts.series import SeriesNeeded
from services.profile.definitions import SegmentDefinition, SegmentFile
from services.profile.domain.segment_definitions import Segment, SegmentDefinitions
from services.profile.service.segment_cache import SegmentCache, read_definitions
from services.profile.store import segment_definitions as store
from services.rules import SEGMENT, ConditionError, parse, series_from_json

PathAndSegment = tuple[tuple[Any, ...], SegmentDefinition]
"""Where in the document a segment is defined, and the segment."""


async def publish_segments(
    connection: Connection,
    cache: SegmentCache,
    text: str,
    now: datetime,
    masking: Masking | None = None,
) -> list[Segment]:
    """Put the segments of a YAML document in force; those that are the same stay as they are.

    Raises:
        InvalidDefinition: All that is wrong, with line, field and remedy.
        IdentitiesNotReadable: A condition reveals identities to a publisher that may not read
            them; `masking` is set for such a one.
    """
    wanted = await asyncio.to_thread(read_segments, text)
    await store.lock_definitions(connection)
    old = {row.key: row for row in await store.read_segments(connection)}
    rows = [_make_row(segment, old.get(segment.key), now) for segment in wanted]
    if new := [row for row in rows if row != old.get(row.key)]:
        if masking:
            masking.check({row.condition for row in new} - {r.condition for r in old.values()})
        await store.insert_segments(connection, new)
        definitions = await _make_next_version(connection, now)  # nobody else's before the commit
    else:
        definitions = await cache.current(connection)
    segments = {segment.key: segment for segment in definitions.segments}
    return [segments[row.key] for row in rows]


async def declare_series(connection: Connection, needed: SeriesNeeded, now: datetime) -> None:
    """Compute what another service needs from now on, and from the past as soon as can be."""
    series = [series_from_json(one).to_json() for one in needed.series]
    await store.lock_definitions(connection)
    before = await read_definitions(connection, await store.read_version(connection))
    if await store.declare(connection, needed.service(), needed.version, series, needed.grew_in):
        after = await read_definitions(connection, before.version)
        if after.series.series != before.series.series or after.answers != before.answers:
            await _make_next_version(connection, now)


def read_segments(text: str) -> list[SegmentDefinition]:
    """One segment, or the list under `segments:`, valid down to the conditions.

    Takes up to a second: run it in a thread.
    """
    source = DefinitionSource(text)
    segments: list[PathAndSegment]
    if isinstance(source.value, dict) and "segments" in source.value:
        file = read_model(source, SegmentFile)
        segments = [(("segments", position), one) for position, one in enumerate(file.segments)]
    else:
        segments = [((), read_model(source, SegmentDefinition))]
    if problems := list(_find_problems(source, segments)):
        raise InvalidDefinition(problems)
    return [definition for _, definition in segments]


def _find_problems(
    source: DefinitionSource, segments: Iterable[PathAndSegment]
) -> Iterable[DefinitionProblem]:
    keys: set[str] = set()
    for path, definition in segments:
        if definition.key in keys:
            yield source.problem(
                (*path, "key"),
                f"{definition.key!r} is defined a second time.",
                "Give each segment a key of its own.",
            )
        keys.add(definition.key)
        try:
            parse(definition.condition, SEGMENT)
        except ConditionError as error:
            where = f"(line {error.line}, column {error.column} of the condition)"
            yield source.problem((*path, "condition"), f"{error.problem} {where}", error.hint)


def _make_row(definition: SegmentDefinition, old: Segment | None, now: datetime) -> Segment:
    content = (definition.name, definition.description, definition.condition)
    if old and old[2:5] == content:
        return old
    version = old.version + 1 if old else 1
    return Segment(definition.key, version, *content, now)


async def _make_next_version(connection: Connection, now: datetime) -> SegmentDefinitions:
    number = await store.read_version(connection) + 1
    definitions = await read_definitions(connection, number)
    series = [one.to_json() for one in definitions.series.series.values()]
    await store.insert_version(connection, number, series, definitions.answers, now)
    return definitions
