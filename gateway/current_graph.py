"""The graph that is served now. A request ends on the graph it began on."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from gateway.access.authorization.roles import Roles
from gateway.pipeline.pipeline import RequestPipeline
from services.chassis.errors import RaakError

JSON = dict[str, Any]


class SubscriptionEnded(RaakError, code="SUBSCRIPTION_ENDED"):
    """What a subscription subscribes to is no longer there, or fewer may read it."""

    @classmethod
    def missing(cls, coordinates: frozenset[str]) -> "SubscriptionEnded":
        """The graph lacks these fields."""
        return cls(
            f"The graph has changed, and has no {', '.join(sorted(coordinates))} any more.",
            hint="Read the schema again, and subscribe to what it has now.",
        )

    @classmethod
    def narrowed(cls) -> "SubscriptionEnded":
        """What was allowed at its beginning may not be now."""
        return cls("Some roles may read less than before.", hint="Subscribe again.")


class CurrentGraph:
    """Holds the request pipeline over the graph that is served: call it to get that.

    It is made before everything that needs the graph, and holds none until the first is served.
    """

    def __init__(self) -> None:
        self._pipeline: RequestPipeline | None = None
        self._narrowed = 0
        """How often roles came to be served that took something away."""
        self._waiting: dict[asyncio.Timeout, tuple[frozenset[str], int]] = {}

    def __call__(self) -> RequestPipeline:
        assert self._pipeline is not None, "no graph is served yet"
        return self._pipeline

    def serve(self, pipeline: RequestPipeline) -> None:
        """Answer requests by this from now on; subscriptions end that may not go on."""
        if self._pipeline is not None:
            self._narrowed += _is_narrowed(self._pipeline.roles, pipeline)
        self._pipeline = pipeline
        self._end_subscriptions()

    def plan(self, text: str, name: str | None) -> None:
        """Prepare an operation ahead; raises RaakError."""
        self().operations.get(text, name)

    async def guard_subscription(
        self, coordinates: frozenset[str], answers: AsyncGenerator[JSON, None]
    ) -> AsyncGenerator[JSON, None]:
        """The answers of a subscription; it ends when a field it subscribes to is gone, or when
        roles take something away, maybe from its caller: what it is denied was worked out at its
        beginning.
        """
        async with aclosing(answers):
            try:
                async for answer in self._until_missing(coordinates, answers):
                    yield answer
            except SubscriptionEnded as ended:
                extensions = ended.as_json()
                message = extensions.pop("problem")
                yield {"errors": [{"message": message, "extensions": extensions}]}

    async def _until_missing(
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
        missing = frozenset(c for c in coordinates if not _has(self(), c))
        if missing:
            return SubscriptionEnded.missing(missing)
        return SubscriptionEnded.narrowed() if since != self._narrowed else None

    def _end_subscriptions(self) -> None:
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
