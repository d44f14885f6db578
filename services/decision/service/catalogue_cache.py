"""The catalogue in force, compiled, and what was learned of it, in the memory of a replica.

PostgreSQL has the truth. Changes are announced by NOTIFY when their transaction commits; a look
every few seconds finds those whose announcement was lost.
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
from services.decision.domain.compiled_catalogue import (
    CompiledCatalogue,
    FlawedCatalogue,
    compile_catalogue,
)
from services.decision.domain.propensity import Arm, Evidence, Tally
from services.decision.store import catalogues
from services.rules import Declaration

OLD_VERSIONS = 8
MOST_VALUES = 200_000
"""In a catalogue: 2,500 actions with 10,000 treatments need 175,000."""
NO_OUTCOMES = Tally(0, 0)


def read_catalogue(source: str, version: int) -> CompiledCatalogue:
    """Parse and compile a catalogue; raises InvalidDefinition with every problem.

    Takes about a millisecond an action: run it in a thread.
    """
    catalogue, document = parse_yaml(source, Catalogue, most_values=MOST_VALUES)
    try:
        return compile_catalogue(version, catalogue)
    except FlawedCatalogue as flawed:
        raise InvalidDefinition(
            [
                document.problem(flaw.path, flaw.problem, flaw.hint, offset=flaw.offset)
                for flaw in flawed.flaws
            ]
        ) from None


def _read_version(row: asyncpg.Record, epoch: int) -> CompiledCatalogue:
    """Compile a published version. Takes as long as `read_catalogue`."""
    catalogue = read_catalogue(row["source"], row["version"])
    declaration = renumber_declaration(Declaration.from_json(row["declaration"]), epoch)
    return replace(catalogue, declaration=declaration)


def renumber_declaration(declaration: Declaration, epoch: int) -> Declaration:
    """A declaration with the version numbers of an epoch, as events have them."""
    return declaration.renumber(partial(epochs.stamp_number, epoch=epoch))


class PropensityModel(NamedTuple):
    propensities: NDArray[np.float64]
    """Shape (m,)."""
    observations: int


class CatalogueCache:
    """The catalogue in force and its tallies. Only the event loop's thread changes them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.current: CompiledCatalogue | None = None
        self._epoch = 0
        self._old: OrderedDict[int, CompiledCatalogue] = OrderedDict()
        self._tallies: dict[Arm, Tally] = {}
        self._evidence: Evidence | None = None
        self._model: PropensityModel | None = None
        self._stale_arms: set[Arm] = set()
        self._changed = asyncio.Event()

    @property
    def version(self) -> int:
        """The version in force, 0 when there is none."""
        return self.current.version if self.current else 0

    def get_model(self) -> PropensityModel:
        """The propensities of the current catalogue, computed anew after an outcome."""
        if self._model is None:
            assert self.current is not None
            levels = self.current.levels
            if self._evidence is None:
                self._evidence = levels.build_evidence(self._tallies)
            self._model = PropensityModel(
                levels.compute_propensities(self._evidence), self._evidence.observations
            )
        return self._model

    def use(self, catalogue: CompiledCatalogue) -> None:
        """Decide by this catalogue from now on, unless a later one is in use."""
        if catalogue.version > self.version:
            if self.current is not None:
                self._keep_old(self.current)
            self.current, self._evidence, self._model = catalogue, None, None

    def learn(self, tallies: Mapping[Arm, Tally]) -> None:
        """Take over tallies. They only grow, so the higher of two is the later."""
        for arm, tally in tallies.items():
            earlier = self._tallies.get(arm, NO_OUTCOMES)
            now = self._tallies[arm] = Tally(*map(max, earlier, tally))
            if self._evidence is not None and self.current is not None:
                self.current.levels.add(self._evidence, arm, now.subtract(earlier))
        self._model = None

    async def load_version(self, version: int) -> CompiledCatalogue | None:
        """A version of the catalogue, from memory or compiled anew; None if there is none."""
        if self.current is not None and version == self.current.version:
            return self.current
        if version in self._old:
            self._old.move_to_end(version)
            return self._old[version]
        async with self._database.connection() as connection:
            row = await catalogues.load_version(connection, version)
        if row is None:
            return None
        catalogue = await asyncio.to_thread(_read_version, row, self._epoch)
        self._keep_old(catalogue)
        return catalogue

    def _keep_old(self, catalogue: CompiledCatalogue) -> None:
        self._old[catalogue.version] = catalogue
        while len(self._old) > OLD_VERSIONS:
            self._old.popitem(last=False)

    async def refresh(self, connection: Connection) -> None:
        await self._refresh_catalogue(connection)
        self.learn(await catalogues.load_tallies(connection))

    async def _refresh_catalogue(self, connection: Connection) -> None:
        epoch = await epochs.current(connection)
        if epoch != self._epoch:
            self._enter_epoch(epoch)
        if await catalogues.load_latest_version(connection) > self.version:
            row = await catalogues.load_latest(connection)
            assert row is not None
            self.use(await asyncio.to_thread(_read_version, row, epoch))

    def _enter_epoch(self, epoch: int) -> None:
        """Renumber the declaration of the current catalogue; others are loaded anew."""
        self._epoch = epoch
        self._old.clear()
        if self.current is not None:
            declaration = renumber_declaration(self.current.declaration, epoch)
            self.current = replace(self.current, declaration=declaration)

    async def watch(self, every_s: float) -> None:
        """Follow what other replicas publish and count, until cancelled or disconnected."""
        async with self._database.connection() as connection:
            await connection.add_listener(catalogues.PUBLISHED, self._on_published)
            await connection.add_listener(catalogues.COUNTED, self._on_counted)
            try:
                await self.refresh(connection)
                while True:
                    await self._wait(every_s)
                    await self._refresh_changes(connection)
            finally:
                with suppress(asyncpg.InterfaceError):  # the connection is closed
                    await connection.remove_listener(catalogues.PUBLISHED, self._on_published)
                    await connection.remove_listener(catalogues.COUNTED, self._on_counted)

    def _on_published(self, *announcement: Any) -> None:
        self._changed.set()

    def _on_counted(self, connection: Any, pid: int, channel: str, payload: object) -> None:
        self._stale_arms.add(Arm(*str(payload).split("|")))
        self._changed.set()

    async def _wait(self, every_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(every_s):
                await self._changed.wait()

    async def _refresh_changes(self, connection: Connection) -> None:
        self._changed.clear()
        arms, self._stale_arms = list(self._stale_arms), set()
        await self._refresh_catalogue(connection)
        if arms:
            self.learn(await catalogues.load_tallies(connection, arms))
