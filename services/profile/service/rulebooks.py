"""The rulebook in force, held compiled, and the ways it changes."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
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
from services.contracts.base import Json
from services.contracts.series import SeriesNeeded
from services.profile.definitions import SegmentDefinition, SegmentFile
from services.profile.domain.rulebook import EMPTY, Kept, Rulebook, Segment
from services.profile.store import rulebook as store
from services.rules import SEGMENT, Condition, ConditionError, Series, parse, series_from_json


class Rulebooks:
    """This process's copy of the definitions; asked for anew in every transaction.

    Customers remember the version they were computed with, so a process that is late, or a
    publication under way, never leaves a wrong state behind: whoever sees an older customer
    brings him up to date first.
    """

    def __init__(self) -> None:
        self._held = EMPTY
        self.base = 0
        """What a customer's version counts from in this epoch."""
        self._kept: dict[int, Kept] = {0: Kept((), {})}
        self._reading = asyncio.Lock()

    async def current(self, connection: Connection) -> Rulebook:
        """The rulebook in force."""
        # The version is read first: definitions newer than it are recomputed, older ones never.
        version, self.base = await store.version_and_base(connection)
        if version != self._held.version:
            async with self._reading:  # compiled once, not by everybody who waits for it
                if version != self._held.version:
                    # A declaration committed since the version was read is kept, not answered.
                    answers = await store.answers(connection, version)
                    self._held = await _read(connection, version, answers)
                return self._held
        return self._held

    async def kept(self, connection: Connection, versions: Iterable[int]) -> Mapping[int, Kept]:
        """What each of these versions kept."""
        unknown = set(versions) - self._kept.keys()
        if unknown:
            for version, (series, answers) in (await store.kept(connection, unknown)).items():
                self._kept[version] = Kept(_series(series), answers)
        return self._kept


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
        IdentitiesNotReadable: A condition reveals identities, and `masking` is set since whoever
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
    before = await _read(connection, await store.version(connection))
    if await store.declare(connection, needed.service(), needed.version, series, needed.grew_in):
        after = await _read(connection, before.version)
        same = after.series.series == before.series.series and after.answers == before.answers
        if not same:
            await _next_version(connection, now)


def read_segments(text: str) -> list[SegmentDefinition]:
    """One segment, or the list under `segments:`, checked down to the conditions.

    Takes up to a second: run it in a thread.
    """
    source = DefinitionSource(text)
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


def _repeated(source: DefinitionSource, placed: Placed) -> Iterable[DefinitionProblem]:
    seen: set[str] = set()
    for path, definition in placed:
        if definition.key in seen:
            yield source.problem(
                (*path, "key"),
                f"{definition.key!r} is defined a second time.",
                "Give each segment a key of its own.",
            )
        seen.add(definition.key)


def _unreadable(source: DefinitionSource, placed: Placed) -> Iterable[DefinitionProblem]:
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


async def _read(
    connection: Connection, version: int, answers: Mapping[str, int] | None = None
) -> Rulebook:
    """The definitions of now as a rulebook, which answers what is declared unless it is told."""
    rows = await store.segments(connection)
    wishes = await store.declared(connection)
    if answers is None:
        answers = {service: grew_in for service, (_, grew_in) in wishes.items()}
    declared = [series for series, _ in wishes.values()]
    return await asyncio.to_thread(_compiled, version, rows, declared, answers)


def _compiled(
    version: int,
    rows: Sequence[store.SegmentRow],
    declared: Sequence[list[Json]],
    answers: Mapping[str, int],
) -> Rulebook:
    """A rulebook with all its conditions compiled, which takes milliseconds each."""
    segments = tuple(
        Segment(**{**row._asdict(), "condition": _condition(row.condition)}) for row in rows
    )
    series = tuple(one for wished in declared for one in _series(wished))
    rulebook = Rulebook(version, segments, series, answers)
    _ = rulebook.series  # compiles the rules too
    return rulebook


def _condition(text: str) -> Condition:
    return parse(text, SEGMENT)


def _series(series: Iterable[Json]) -> tuple[Series, ...]:
    return tuple(series_from_json(one) for one in series)


async def _next_version(connection: Connection, now: datetime) -> Rulebook:
    number = await store.version(connection) + 1
    rulebook = await _read(connection, number)
    kept = [series.to_json() for series in rulebook.series.series.values()]
    await store.make(connection, number, kept, rulebook.answers, now)
    return rulebook
