"""The rulebook in force, held compiled, and the ways it changes."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from services.chassis.database import Connection
from services.contracts.base import Json
from services.profile.domain.segment_definitions import EMPTY, Kept, Rulebook, Segment
from services.profile.store import segment_definitions as store
from services.rules import SEGMENT, Condition, Series, parse, series_from_json


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
                    self._held = await read_definitions(connection, version, answers)
                return self._held
        return self._held

    async def kept(self, connection: Connection, versions: Iterable[int]) -> Mapping[int, Kept]:
        """What each of these versions kept."""
        unknown = set(versions) - self._kept.keys()
        if unknown:
            for version, (series, answers) in (await store.kept(connection, unknown)).items():
                self._kept[version] = Kept(_series(series), answers)
        return self._kept


async def read_definitions(
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
