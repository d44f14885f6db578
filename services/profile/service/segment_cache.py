"""The segment definitions in force, compiled, in memory."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from services.chassis.database import Connection
from services.contracts.base import Json
from services.profile.domain.segment_definitions import (
    EMPTY,
    ComputedVersion,
    Segment,
    SegmentDefinitions,
)
from services.profile.store import segment_definitions as store
from services.rules import Series, series_from_json


class SegmentCache:
    """This process's copy of the segment definitions; their version is read in every transaction.

    Each customer has the version they were computed with, and one of an older version is recomputed
    before use: so a process that is late, or a publication under way, leaves no wrong state behind.
    """

    def __init__(self) -> None:
        self._current = EMPTY
        self.base = 0
        """What a customer's version counts from in this epoch."""
        self._computed: dict[int, ComputedVersion] = {0: ComputedVersion((), {})}
        self._compiling = asyncio.Lock()

    async def current(self, connection: Connection) -> SegmentDefinitions:
        # The version is read first: definitions newer than it are recomputed, older ones never.
        version, self.base = await store.read_version_and_base(connection)
        if version != self._current.version:
            async with self._compiling:  # compiled once, not by everybody who waits for it
                if version != self._current.version:
                    # A declaration committed since the version was read is computed, not answered.
                    answers = await store.read_answers(connection, version)
                    self._current = await read_definitions(connection, version, answers)
                return self._current
        return self._current

    async def computed_versions(
        self, connection: Connection, versions: Iterable[int]
    ) -> Mapping[int, ComputedVersion]:
        """What customers computed with each of these versions have, and with others known."""
        unknown = set(versions) - self._computed.keys()
        if unknown:
            rows = await store.read_computed_versions(connection, unknown)
            for version, (series, answers) in rows.items():
                self._computed[version] = ComputedVersion(_read_series(series), answers)
        return self._computed


async def read_definitions(
    connection: Connection, version: int, answers: Mapping[str, int] | None = None
) -> SegmentDefinitions:
    """The segments and declarations stored now, as a version that answers all declarations.

    `answers` names the declarations it answers, where it is not all.
    """
    segments = await store.read_segments(connection)
    declarations = await store.read_declarations(connection)
    if answers is None:
        answers = {service: grew_in for service, (_, grew_in) in declarations.items()}
    declared = [series for series, _ in declarations.values()]
    return await asyncio.to_thread(_compile, version, segments, declared, answers)


def _compile(
    version: int,
    segments: Sequence[Segment],
    declared: Sequence[list[Json]],
    answers: Mapping[str, int],
) -> SegmentDefinitions:
    """Definitions with all their conditions compiled, which takes milliseconds each."""
    series = tuple(one for declaration in declared for one in _read_series(declaration))
    definitions = SegmentDefinitions(version, tuple(segments), series, answers)
    _ = definitions.series  # compiles the rules too
    return definitions


def _read_series(series: Iterable[Json]) -> tuple[Series, ...]:
    return tuple(series_from_json(one) for one in series)
