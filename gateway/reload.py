"""How another graph takes the place of the one that is served, while requests go on.

Where it comes from, the schemas and the file of roles, is looked at again and again. What has
changed is composed beside the graph that is served, the operations in use are planned over it, and
only then it takes its place. What does not compose is logged, and changes nothing.
"""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

from prometheus_client import Counter

from gateway.access.authorization.roles import Roles
from gateway.current_graph import CurrentGraph
from gateway.pipeline.pipeline import RequestPipeline
from gateway.schema_source import CompositionResult, SchemaSource, SourceTexts
from gateway.supergraph import Supergraph
from services.chassis import telemetry
from services.chassis.errors import RaakError

log = logging.getLogger(__name__)

HOT = 500
"""How many of the operations used last are planned before a graph is served."""

RELOADS = Counter("raak_graph_reloads", "Graphs that were served or refused", ["outcome"])


class GraphReloader:
    """Watches where the graph comes from, and serves what it has become.

    Args:
        build: Makes a pipeline over a composed graph, and tells who has to know where its services
            are; raises RaakError if nobody knows.
        plan_registered: Plans the registered operations over a graph before it is served.
        grant_by: Called with the roles of each further graph at the moment it is served.
        every_s: How often to look for changes; 0: only on SIGHUP.
    """

    def __init__(
        self,
        source: SchemaSource,
        composed: CompositionResult,
        graph: CurrentGraph,
        build: Callable[[Supergraph, Roles], RequestPipeline],
        plan_registered: Callable[[RequestPipeline], Awaitable[None]],
        grant_by: Callable[[Roles], None] = lambda roles: None,
        *,
        every_s: float = 1.0,
    ) -> None:
        self._source = source
        self._graph = graph
        self._build = build
        self._plan_registered = plan_registered
        self._grant_by = grant_by
        self._every_s = every_s
        self.digest = composed.digest
        self.refused: str | None = None
        """The digest of what was found last, if that can't be served."""
        self.reason: str | None = None
        """Why it can't."""
        self._latest = composed.digest
        self._hangup = asyncio.Event()
        graph.serve(build(composed.supergraph, composed.roles))

    async def run(self) -> None:
        """Look for changes until cancelled: again and again, and at once on SIGHUP."""
        with _on_hangup(self._hangup.set):
            while True:
                try:
                    async with asyncio.timeout(self._every_s or None):
                        await self._hangup.wait()
                except TimeoutError:
                    await self.look()
                else:
                    self._hangup.clear()
                    await self.look(at_once=True)

    async def look(self, *, at_once: bool = False) -> None:
        """Serve what the source holds, if that has changed. A change is only believed when it has
        been seen twice, or `at_once`: several files are seldom written in one moment.
        """
        try:
            texts = await asyncio.to_thread(self._source.texts)
        except RaakError as error:
            self._refuse("unreadable", error)
            return
        digest = texts.digest
        is_settled = at_once or digest == self._latest
        self._latest = digest
        if digest == self.digest:
            self.refused = self.reason = None
        elif is_settled and digest != self.refused:
            await self._try(texts)

    async def _try(self, texts: SourceTexts) -> None:
        try:
            composed = await asyncio.to_thread(CompositionResult.of, self._source, texts)
            pipeline = self._build(composed.supergraph, composed.roles)
            await _plan(pipeline, self._graph().operations.keys()[-HOT:])
            await self._plan_registered(pipeline)
        except Exception as error:  # whatever is wrong with it: the one that is served is better
            self._refuse(texts.digest, error)
            return
        self._serve(pipeline, texts.digest)

    def _serve(self, pipeline: RequestPipeline, digest: str) -> None:
        self._graph.serve(pipeline)
        self.digest, self.refused, self.reason = digest, None, None
        self._grant_by(pipeline.roles)
        RELOADS.labels("served").inc()
        log.info("another graph is served", extra={"fields": {"digest": digest}})

    def _refuse(self, digest: str, error: Exception) -> None:
        if digest == self.refused:
            return
        self.refused = digest
        self.reason = str(error) if isinstance(error, RaakError) else telemetry.describe(error)
        RELOADS.labels("refused").inc()
        log.error(
            "a changed graph can't be served; the one before it still is",
            extra={"fields": {"digest": digest, "served": self.digest, "reason": self.reason}},
        )


async def _plan(pipeline: RequestPipeline, operations: list[tuple[str, str | None]]) -> None:
    """Plan operations, for half of the time; those no longer valid are refused when asked.

    Not in a thread: requests would wait for the interpreter at each of their steps, not once.
    """
    now = asyncio.get_running_loop().time
    for text, name in operations:
        began = now()
        with suppress(RaakError):
            pipeline.operations.get(text, name)
        await asyncio.sleep(now() - began)


@contextmanager
def _on_hangup(call: Callable[[], None]) -> Iterator[None]:
    """Call on SIGHUP, where the loop may handle signals."""
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(signal.SIGHUP, call)
    except (NotImplementedError, RuntimeError, ValueError):
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
