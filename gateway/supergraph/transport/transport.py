"""How the gateway talks to the subgraphs: a narrow interface, and what sends by subgraph."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from typing import Any, Protocol

from gateway.supergraph.transport.subgraph_response import JSON, SubgraphResponse, SubgraphTimeout

request_deadline: ContextVar[float | None] = ContextVar("request_deadline", default=None)
"""The loop's time at which the request under way is answered, whatever is missing by then."""


is_mutation: ContextVar[bool] = ContextVar("is_mutation", default=False)
"""Whether the fetch under way is to change something: it has as long as its request, for whoever
gives up on it does not know whether it has happened."""


class Transport(Protocol):
    """Carries requests to subgraphs. Fails with a SubgraphError, and with nothing else.

    Safe to use by many requests at once. A fetch or stream that is cancelled leaves nothing
    behind: no task, and no connection in use.
    """

    def fetch(
        self, subgraph: str, body: bytes, headers: Mapping[str, str], *, is_idempotent: bool
    ) -> Coroutine[Any, Any, SubgraphResponse]:
        """Send a GraphQL request as JSON. It has failed by the time that `request_deadline` tells.

        Args:
            is_idempotent: Whether it may be sent twice without doing anything twice.
        """
        ...

    def stream(
        self, subgraph: str, body: bytes, headers: Mapping[str, str]
    ) -> AbstractAsyncContextManager[AsyncIterator[JSON]]:
        """Send a subscription. Each answer is an object with `data`, `errors` or both; leaving
        the context ends it.
        """
        ...


class RoutingTransport:
    """Sends the requests of some subgraphs over transports of their own, which need not keep
    deadlines, and all others over one.
    """

    def __init__(self, by_subgraph: Mapping[str, Transport], default: Transport) -> None:
        self._by_subgraph = by_subgraph
        self._default = default

    def fetch(
        self, subgraph: str, body: bytes, headers: Mapping[str, str], *, is_idempotent: bool
    ) -> Coroutine[Any, Any, SubgraphResponse]:
        transport = self._by_subgraph.get(subgraph, self._default)
        fetch = transport.fetch(subgraph, body, headers, is_idempotent=is_idempotent)
        return _fetch_in_time(subgraph, fetch) if subgraph in self._by_subgraph else fetch

    def stream(
        self, subgraph: str, body: bytes, headers: Mapping[str, str]
    ) -> AbstractAsyncContextManager[AsyncIterator[JSON]]:
        return self._by_subgraph.get(subgraph, self._default).stream(subgraph, body, headers)


async def _fetch_in_time(
    subgraph: str, fetch: Coroutine[Any, Any, SubgraphResponse]
) -> SubgraphResponse:
    try:
        async with asyncio.timeout_at(request_deadline.get()):
            return await fetch
    except TimeoutError:
        raise SubgraphTimeout(subgraph) from None
