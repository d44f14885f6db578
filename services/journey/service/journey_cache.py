"""All published journeys, ready to run. Every replica reads them again when one was published."""

import asyncio
from collections.abc import Iterable, Sequence

from services.chassis import epochs
from services.chassis.database import Connection
from services.chassis.definitions import parse_yaml
from services.journey.domain.definition import JourneyDefinition
from services.journey.domain.journey import Journey
from services.journey.store import definitions
from services.journey.store.definitions import PublishedJourney
from services.rules import Declaration

JourneyVersion = tuple[str, int]
"""Key and version."""


class JourneySet:
    """All versions of all journeys as of one revision, each compiled when it is first needed.

    `epoch` is that of the database, which is part of every number that is published.
    """

    def __init__(
        self,
        published: Sequence[PublishedJourney],
        compiled: dict[JourneyVersion, Journey],
        epoch: int = 0,
    ) -> None:
        self.epoch = epoch
        last = max(published, key=lambda row: row.revision, default=None)
        self.revision = last.revision if last else 0
        declaration = Declaration.from_json(last.declaration) if last else Declaration()
        self.declaration = declaration.renumber(self.stamp)
        """The series all of them need, and since which revision."""
        self.rows = {(row.key, row.version): row for row in published}
        self.current: dict[str, PublishedJourney] = {row.key: row for row in published}
        self.event_names = frozenset(name for row in published for name in row.event_names)
        self.watches_customer = any(row.watches_customer for row in published)
        self._compiled = compiled
        self._by_entry_event: dict[str | None, list[Journey]] = {}
        for row in self.current.values():
            journey = self.get(row.key, row.version)
            if not journey.definition.paused:
                event = journey.definition.entry.event
                self._by_entry_event.setdefault(event, []).append(journey)

    def stamp(self, number: int) -> int:
        """A revision or sequence as it is published: with the epoch."""
        return epochs.stamp_number(number, self.epoch)

    async def compile(self, versions: Iterable[JourneyVersion]) -> None:
        """Compile versions that are not yet, in a thread: each can take a second."""
        if missing := set(versions) - self._compiled.keys():
            await asyncio.to_thread(self.get_all, missing)

    def get(self, key: str, version: int) -> Journey:
        """One version of a journey; `compile` it first where others wait."""
        if (key, version) not in self._compiled:
            definition, _ = parse_yaml(self.rows[key, version].source, JourneyDefinition)
            self._compiled[key, version] = Journey(definition, version)
        return self._compiled[key, version]

    def get_all(self, versions: Iterable[JourneyVersion]) -> list[Journey]:
        """Several versions, in the order of their keys."""
        return [self.get(key, version) for key, version in sorted(versions)]

    def find_by_entry_event(self, event_name: str | None) -> list[Journey]:
        """Journeys an event lets customers into; with None, those entered without an event."""
        return self._by_entry_event.get(event_name, [])


class JourneyCache:
    """The journeys of a process, read again when one was published."""

    def __init__(self) -> None:
        self._journeys = JourneySet((), {})
        self._compiled: dict[JourneyVersion, Journey] = {}
        self._reload = asyncio.Lock()

    async def load(self, connection: Connection) -> JourneySet:
        """The journeys as of now: one look at a small table, unless something was published."""
        revision = await definitions.load_revision(connection)
        if revision != (self._journeys.revision, self._journeys.epoch):
            async with self._reload:  # once, not by everybody who waits for it
                revision = await definitions.load_revision(connection)
                if revision != (self._journeys.revision, self._journeys.epoch):
                    rows = await definitions.load_all(connection)
                    self._journeys = await asyncio.to_thread(
                        JourneySet, rows, self._compiled, revision[1]
                    )
        return self._journeys

    async def load_uncommitted(self, connection: Connection, epoch: int) -> JourneySet:
        """The journeys as the caller's transaction sees them; the cache does not change."""
        rows = await definitions.load_all(connection)
        return await asyncio.to_thread(JourneySet, rows, dict(self._compiled), epoch)
