"""What a replica holds in memory: the catalogue, compiled, and what was learned of it.

PostgreSQL has the truth. News is announced by NOTIFY when its transaction commits; a look every few
seconds finds what an announcement lost.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import asyncpg
import numpy as np
from numpy.typing import NDArray

from services.chassis import epochs
from services.chassis.database import Connection, Database
from services.chassis.definitions import InvalidDefinition, parse_yaml
from services.decision.domain.catalogue import Catalogue
from services.decision.domain.compiled_catalogue import Compiled, FlawedCatalogue, compiled
from services.decision.domain.propensity import Arm, Evidence, Tally
from services.decision.store import catalogues
from services.rules import Declaration

OLD_VERSIONS = 8
MOST_VALUES = 200_000
"""In a catalogue: 2,500 actions with 10,000 treatments need 175,000."""
NOTHING = Tally(0, 0)


def read_catalogue(source: str, version: int) -> Compiled:
    """A catalogue made ready from its text; raises InvalidDefinition with every problem.

    Takes about a millisecond an action: run it in a thread.
    """
    catalogue, document = parse_yaml(source, Catalogue, most_values=MOST_VALUES)
    try:
        return compiled(version, catalogue)
    except FlawedCatalogue as flawed:
        raise InvalidDefinition(
            [
                document.problem(flaw.path, flaw.problem, flaw.hint, offset=flaw.offset)
                for flaw in flawed.flaws
            ]
        ) from None


def _read_back(row: asyncpg.Record, epoch: int) -> Compiled:
    """A published catalogue made ready. Takes as long as `read_catalogue`."""
    catalogue = read_catalogue(row["source"], row["version"])
    declaration = renumbered(Declaration.from_json(row["declaration"]), epoch)
    return replace(catalogue, declaration=declaration)


def renumbered(declaration: Declaration, epoch: int) -> Declaration:
    """A declaration as profile hears of it in an epoch."""
    return declaration.renumber(partial(epochs.stamped, epoch=epoch))


class Model(NamedTuple):
    """What is expected of treatments, and how many outcomes that was learned from."""

    propensities: NDArray[np.float64]
    """Shape (m,)."""
    observations: int


class Knowledge:
    """The catalogue and counts of this moment. Only the event loop's thread changes them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.current: Compiled | None = None
        self._epoch = 0
        self._old: OrderedDict[int, Compiled] = OrderedDict()
        self._counts: dict[Arm, Tally] = {}
        self._evidence: Evidence | None = None
        self._model: Model | None = None
        self._stale_arms: set[Arm] = set()
        self._news = asyncio.Event()

    @property
    def version(self) -> int:
        """The version of the catalogue that decides, 0 when there is none."""
        return self.current.version if self.current else 0

    def model(self) -> Model:
        """What is expected of the treatments of the current catalogue."""
        if self._model is None:
            assert self.current is not None
            levels = self.current.levels
            if self._evidence is None:
                self._evidence = levels.tallied(self._counts)
            self._model = Model(levels.propensities(self._evidence), self._evidence.observations)
        return self._model

    def use(self, catalogue: Compiled) -> None:
        """Decide by this catalogue from now on, unless a later one is in use."""
        if catalogue.version > self.version:
            if self.current is not None:
                self._keep_old(self.current)
            self.current, self._evidence, self._model = catalogue, None, None

    def learn(self, counts: Mapping[Arm, Tally]) -> None:
        """Take over counts. They only grow, so of two the higher is the later."""
        for arm, tally in counts.items():
            held = self._counts.get(arm, NOTHING)
            now = self._counts[arm] = Tally(*map(max, held, tally))
            if self._evidence is not None and self.current is not None:
                self.current.levels.add(self._evidence, arm, now.since(held))
        self._model = None

    async def at(self, version: int) -> Compiled | None:
        """A version of the catalogue, from memory or made ready anew; None for no version."""
        if self.current is not None and version == self.current.version:
            return self.current
        if version in self._old:
            self._old.move_to_end(version)
            return self._old[version]
        async with self._database.connection() as connection:
            row = await catalogues.at(connection, version)
        if row is None:
            return None
        catalogue = await asyncio.to_thread(_read_back, row, self._epoch)
        self._keep_old(catalogue)
        return catalogue

    def _keep_old(self, catalogue: Compiled) -> None:
        self._old[catalogue.version] = catalogue
        while len(self._old) > OLD_VERSIONS:
            self._old.popitem(last=False)

    async def refresh(self, connection: Connection) -> None:
        """Look at everything: the latest catalogue and all counts."""
        await self._refresh_catalogue(connection)
        self.learn(await catalogues.tallies(connection))

    async def _refresh_catalogue(self, connection: Connection) -> None:
        epoch = await epochs.current(connection)
        if epoch != self._epoch:
            self._begin(epoch)
        if await catalogues.latest_version(connection) > self.version:
            row = await catalogues.latest(connection)
            assert row is not None
            self.use(await asyncio.to_thread(_read_back, row, epoch))

    def _begin(self, epoch: int) -> None:
        """Ask for histories by the numbers of another epoch."""
        self._epoch = epoch
        self._old.clear()
        if self.current is not None:
            declaration = renumbered(self.current.declaration, epoch)
            self.current = replace(self.current, declaration=declaration)

    async def watch(self, every_s: float) -> None:
        """Follow what other replicas publish and count, until cancelled or cut off."""
        async with self._database.connection() as connection:
            await connection.add_listener(catalogues.PUBLISHED, self._heard)
            await connection.add_listener(catalogues.COUNTED, self._heard_count)
            try:
                await self.refresh(connection)
                while True:
                    await self._wait(every_s)
                    await self._catch_up(connection)
            finally:
                with suppress(asyncpg.InterfaceError):  # it is gone, and the listeners with it
                    await connection.remove_listener(catalogues.PUBLISHED, self._heard)
                    await connection.remove_listener(catalogues.COUNTED, self._heard_count)

    def _heard(self, *announcement: Any) -> None:
        self._news.set()

    def _heard_count(self, connection: Any, pid: int, channel: str, payload: object) -> None:
        action, told_channel, treatment = str(payload).split("|")
        self._stale_arms.add(Arm(action, told_channel, treatment))
        self._news.set()

    async def _wait(self, every_s: float) -> None:
        try:
            async with asyncio.timeout(every_s):
                await self._news.wait()
        except TimeoutError:
            return

    async def _catch_up(self, connection: Connection) -> None:
        self._news.clear()
        arms, self._stale_arms = list(self._stale_arms), set()
        await self._refresh_catalogue(connection)
        if arms:
            self.learn(await catalogues.tallies(connection, arms))
