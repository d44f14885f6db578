"""All published journeys, ready to run. Every replica reads them again when one was published."""

import asyncio
from collections.abc import Iterable, Sequence

from services.chassis import epochs
from services.chassis.database import Connection
from services.chassis.definitions import parse_yaml
from services.journey.domain.definition import Definition
from services.journey.domain.journey import Journey
from services.journey.store import definitions
from services.journey.store.definitions import Published
from services.rules import Declaration

Version = tuple[str, int]


class Book:
    """The journeys as of one revision. Versions are made ready when they are asked for first.

    `epoch` is the database's: what is told of them has numbers of it.
    """

    def __init__(
        self, published: Sequence[Published], ready: dict[Version, Journey], epoch: int = 0
    ) -> None:
        self.epoch = epoch
        last = max(published, key=lambda row: row.revision, default=None)
        self.revision = last.revision if last else 0
        declaration = Declaration.from_json(last.declaration) if last else Declaration()
        self.declaration = declaration.renumber(self.number)
        """Which histories all of them need, and since which revision."""
        self.rows = {(row.key, row.version): row for row in published}
        self.current: dict[str, Published] = {row.key: row for row in published}
        self.listened = frozenset(name for row in published for name in row.event_names)
        self.watches_customer = any(row.watches_customer for row in published)
        self._ready = ready
        self._entered_by: dict[str | None, list[Journey]] = {}
        for row in self.current.values():
            journey = self.journey(row.key, row.version)
            if not journey.definition.paused:
                event = journey.definition.entry.event
                self._entered_by.setdefault(event, []).append(journey)

    def number(self, given: int) -> int:
        """A number as other services are told it."""
        return epochs.stamped(given, self.epoch)

    async def prepare(self, versions: Iterable[Version]) -> None:
        """Make versions ready that are not, in a thread: each can take a second."""
        if missing := set(versions) - self._ready.keys():
            await asyncio.to_thread(self.journeys, missing)

    def journey(self, key: str, version: int) -> Journey:
        """One version of a journey; `prepare` it first where others wait."""
        if (key, version) not in self._ready:
            definition, _ = parse_yaml(self.rows[key, version].source, Definition)
            self._ready[key, version] = Journey(definition, version)
        return self._ready[key, version]

    def entered_by(self, event_name: str | None) -> list[Journey]:
        """Journeys an event lets customers into; with None, those entered without an event."""
        return self._entered_by.get(event_name, [])

    def journeys(self, versions: Iterable[Version]) -> list[Journey]:
        """Several versions."""
        return [self.journey(key, version) for key, version in sorted(versions)]


class Library:
    """Keeps a process's book up to date."""

    def __init__(self) -> None:
        self._book = Book((), {})
        self._ready: dict[Version, Journey] = {}
        self._reading = asyncio.Lock()

    async def book(self, connection: Connection) -> Book:
        """The book as of now: one look at a small table, unless something was published."""
        now = await definitions.revision(connection)
        if now != (self._book.revision, self._book.epoch):
            async with self._reading:  # once, not by everybody who waits for it
                now = await definitions.revision(connection)
                if now != (self._book.revision, self._book.epoch):
                    self._book = await self.read(connection, now[1], self._ready)
        return self._book

    async def read(
        self, connection: Connection, epoch: int, ready: dict[Version, Journey] | None = None
    ) -> Book:
        """The book as the caller's transaction sees it; nothing of it is kept here."""
        rows = await definitions.every(connection)
        known = dict(self._ready) if ready is None else ready
        return await asyncio.to_thread(Book, rows, known, epoch)
