"""The graph that is served, and how another takes its place while requests go on.

Where it comes from, the schemas and the file of roles, is looked at again and again. What has
changed is composed beside the graph that is served, the operations in use are planned over it, and
only then it takes its place. Whatever does not compose is told, and changes nothing. A request ends
on the graph it began on.
"""

import asyncio
import logging
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from prometheus_client import Counter

from gateway.access.authorization.roles import Roles, text_of
from gateway.pipeline.pipeline import RequestPipeline
from gateway.supergraph import Supergraph, compose, read_supergraph
from services.chassis import telemetry
from services.chassis.errors import RaakError

log = logging.getLogger(__name__)

JSON = dict[str, Any]

SUBGRAPHS = Path(__file__).with_name("subgraphs")
HOT = 500
"""How many of the operations asked last are planned before a graph is served."""

RELOADS = Counter("raak_graph_reloads", "Graphs that were served or refused", ["outcome"])


class SubgraphUnknown(RaakError):
    """A schema has no service behind it, or there is no schema."""

    code = "SUBGRAPH_UNKNOWN"
    status = 500


def read_subgraphs(folder: Path = SUBGRAPHS) -> dict[str, str]:
    """The schemas in a folder, by service; raises SubgraphUnknown if there are none."""
    sdls = {path.stem: _text(path) for path in sorted(folder.glob("*.graphql"))}
    if not sdls:
        raise SubgraphUnknown(
            f"There is no schema in {folder}.", hint="Write the services' schemas: `make schema`."
        )
    return sdls


@dataclass(frozen=True, slots=True)
class SchemaSource:
    """Where a graph comes from."""

    read: Callable[[], Mapping[str, str]]
    """Texts of SDL, by name; raises RaakError if they can't be had."""
    make: Callable[[Mapping[str, str]], Supergraph]
    """Makes a graph of them; raises RaakError with everything that is wrong."""
    read_roles: Callable[[], str] = text_of
    """The text of the file of roles; raises RaakError if it can't be had."""

    def texts(self) -> "SourceTexts":
        """What it holds now; raises RaakError."""
        return SourceTexts(self.read(), self.read_roles())


def subgraph_folder(folder: Path) -> SchemaSource:
    """Compose the schemas of a folder."""
    return SchemaSource(lambda: read_subgraphs(folder), compose)


def supergraph_file(file: Path) -> SchemaSource:
    """Serve a supergraph that was composed elsewhere."""
    return SchemaSource(
        lambda: {file.name: _text(file)}, lambda texts: read_supergraph(texts[file.name])
    )


def given(sdls: Mapping[str, str]) -> SchemaSource:
    """Compose this SDL, by subgraph. It never changes."""
    return SchemaSource(lambda: sdls, compose)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SubgraphUnknown(
            f"{str(path)!r} can't be read ({type(error).__name__}).",
            hint="Write it as UTF-8, where the gateway may read it.",
        ) from None


def digest_of(texts: Mapping[str, str]) -> str:
    """Equal for equal texts under equal names."""
    digest = sha256()
    for name, text in sorted(texts.items()):
        for part in (name, text):
            encoded = part.encode(errors="surrogatepass")
            digest.update(b"%d:" % len(encoded) + encoded)
    return digest.hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class SourceTexts:
    """What a source holds at one moment: schemas by name, and the file of roles."""

    schemas: Mapping[str, str]
    roles: str

    @property
    def digest(self) -> str:
        """Equal for equal texts."""
        return digest_of({"schemas": digest_of(self.schemas), "roles": self.roles})


@dataclass(frozen=True, slots=True)
class CompositionResult:
    """A graph with its roles, and the digest of what they were made of."""

    supergraph: Supergraph
    roles: Roles
    digest: str

    @classmethod
    def of(cls, source: SchemaSource, texts: SourceTexts | None = None) -> "CompositionResult":
        """What a source holds now, unless its texts are given; raises RaakError."""
        texts = texts or source.texts()
        return cls(source.make(texts.schemas), Roles.parse(texts.roles), texts.digest)


class SubscriptionEnded(RaakError):
    """What a subscription subscribes to is gone, or fewer may read it."""

    code = "SUBSCRIPTION_ENDED"

    @classmethod
    def gone(cls, coordinates: frozenset[str]) -> "SubscriptionEnded":
        """The graph lacks these fields."""
        return cls(
            f"The graph has changed, and has no {', '.join(sorted(coordinates))} any more.",
            hint="Read the schema again, and subscribe to what it has now.",
        )

    @classmethod
    def narrowed(cls) -> "SubscriptionEnded":
        """What was allowed at its beginning may not be now."""
        return cls("Some roles may read less than before.", hint="Subscribe again.")


class Served:
    """The graph that is served: call it to get it.

    Args:
        guarded: Makes a graph with its guards of a composed one, and tells who has to know where
            its services are; raises RaakError if nobody knows.
        plan_registered: Plans the registered operations over a graph before it is served.
        grant_by: Told the roles of each further graph at the moment it is served.
        every_s: How often to look for changes; 0: only on SIGHUP.
    """

    def __init__(
        self,
        source: SchemaSource,
        composed: CompositionResult,
        guarded: Callable[[Supergraph, Roles], RequestPipeline],
        plan_registered: Callable[[RequestPipeline], Awaitable[None]],
        grant_by: Callable[[Roles], None] = lambda roles: None,
        *,
        every_s: float = 1.0,
    ) -> None:
        self._source = source
        self._guarded = guarded
        self._plan_registered = plan_registered
        self._grant_by = grant_by
        self._every_s = every_s
        self._graph = self._guard(composed)
        self.digest = composed.digest
        self.refused: str | None = None
        """The digest of what was found last, if that can't be served."""
        self.reason: str | None = None
        """Why it can't."""
        self._seen = composed.digest
        self._asked_to_look = asyncio.Event()
        self._narrowed = 0
        """How often roles came to be served that took something away."""
        self._waiting: dict[asyncio.Timeout, tuple[frozenset[str], int]] = {}

    def __call__(self) -> RequestPipeline:
        return self._graph

    def _guard(self, composed: CompositionResult) -> RequestPipeline:
        guarded = self._guarded(composed.supergraph, composed.roles)
        return replace(guarded, subscription_guard=self.guard_subscription)

    # Watching

    async def run(self) -> None:
        """Look for changes until cancelled: again and again, and at once on SIGHUP."""
        with _on_hangup(self._asked_to_look.set):
            while True:
                try:
                    async with asyncio.timeout(self._every_s or None):
                        await self._asked_to_look.wait()
                except TimeoutError:
                    await self.look()
                else:
                    self._asked_to_look.clear()
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
        is_settled = at_once or digest == self._seen
        self._seen = digest
        if digest == self.digest:
            self.refused = self.reason = None
        elif is_settled and digest != self.refused:
            await self._try(texts)

    async def _try(self, texts: SourceTexts) -> None:
        try:
            composed = await asyncio.to_thread(CompositionResult.of, self._source, texts)
            graph = self._guard(composed)
            await _plan(graph, self._graph.operations.keys()[-HOT:])
            await self._plan_registered(graph)
        except Exception as error:  # whatever is wrong with it: the one that is served is better
            self._refuse(texts.digest, error)
            return
        self._serve(graph, texts.digest)

    def _serve(self, graph: RequestPipeline, digest: str) -> None:
        self._narrowed += _is_narrowed(self._graph.roles, graph)
        self._graph, self.digest, self.refused, self.reason = graph, digest, None, None
        self._grant_by(graph.roles)
        RELOADS.labels("served").inc()
        log.info("another graph is served", extra={"fields": {"digest": digest}})
        self._end_what_may_not_go_on()

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

    # Subscriptions

    async def guard_subscription(
        self, coordinates: frozenset[str], answers: AsyncGenerator[JSON, None]
    ) -> AsyncGenerator[JSON, None]:
        """The answers of a subscription; it ends when a field it subscribes to is gone, or when
        roles take something away, maybe from its caller: what he is denied was seen to at its
        beginning.
        """
        async with aclosing(answers):
            try:
                async for answer in self._until_gone(coordinates, answers):
                    yield answer
            except SubscriptionEnded as ended:
                extensions = ended.as_json()
                message = extensions.pop("problem")
                yield {"errors": [{"message": message, "extensions": extensions}]}

    async def _until_gone(
        self, coordinates: frozenset[str], answers: AsyncIterator[JSON]
    ) -> AsyncIterator[JSON]:
        since = self._narrowed
        while (ended := self._ended(coordinates, since)) is None:
            try:
                async with asyncio.timeout(None) as patience:
                    self._waiting[patience] = coordinates, since
                    try:
                        answer = await anext(answers, None)
                    finally:
                        del self._waiting[patience]
            except TimeoutError:
                continue
            if answer is None:
                return
            yield answer
        raise ended

    def _ended(self, coordinates: frozenset[str], since: int) -> SubscriptionEnded | None:
        gone = frozenset(c for c in coordinates if not _has(self._graph, c))
        if gone:
            return SubscriptionEnded.gone(gone)
        return SubscriptionEnded.narrowed() if since != self._narrowed else None

    def _end_what_may_not_go_on(self) -> None:
        now = asyncio.get_running_loop().time()
        for patience, begun in self._waiting.items():
            if self._ended(*begun):
                patience.reschedule(now)


def _has(graph: RequestPipeline, coordinate: str) -> bool:
    type_name, _, field = coordinate.partition(".")
    type_ = graph.supergraph.schema.type_map.get(type_name)
    return field in getattr(type_, "fields", ())


def _is_narrowed(before: Roles, graph: RequestPipeline) -> bool:
    """Whether some role may not read a field of the graph that it might before."""
    return any(
        _has(graph, coordinate) and not readers <= graph.roles.readers.get(coordinate, frozenset())
        for coordinate, readers in before.readers.items()
    )


async def _plan(graph: RequestPipeline, operations: list[tuple[str, str | None]]) -> None:
    """Plan operations, for half of the time; those no longer valid are refused when asked.

    Not in a thread: requests would wait for the interpreter at each of their steps, not once.
    """
    now = asyncio.get_running_loop().time
    for text, name in operations:
        began = now()
        with suppress(RaakError):
            graph.operations.get(text, name)
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
