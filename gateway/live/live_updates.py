"""All of live, put together for the gateway."""

from collections.abc import Callable

from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp

from gateway.access.callers import Callers
from gateway.graph import Graph
from gateway.graphql_http.persisted_operations import PersistedOperations
from gateway.live.connections import ClientConnections
from gateway.live.customer_feed import CustomerFeed
from gateway.live.graphql_sse import GraphQLOverSse
from gateway.live.graphql_ws import GraphQLOverWebSocket
from gateway.live.operation_stream import OperationStreams
from gateway.live.settings import LiveSettings
from gateway.live.subgraph import NAME, LiveSubgraph, finding
from gateway.supergraph import Transport, Transports


class LiveUpdates:
    """What listens, and who is told. `graph` gives the graph as it is now."""

    def __init__(self, rules: LiveSettings, nats_url: str, graph: Callable[[], Graph]) -> None:
        self._rules = rules
        self._graph = graph
        self.feed = CustomerFeed(nats_url, rules.waiting_activities)
        self.connections = ClientConnections(rules.connections_per_caller)

    def beside(self, others: Transport) -> Transport:
        """A transport that answers `live` here, and has the others answer the rest."""
        live = LiveSubgraph(self.feed, finding(self._graph), self._rules.masking)
        return Transports({NAME: live}, others)

    def doors(
        self, path: str, over_http: ASGIApp, callers: Callers, documents: PersistedOperations
    ) -> tuple[ASGIApp, WebSocketRoute]:
        """The endpoint of a path's requests, with those for events, and of its websockets."""
        answering = OperationStreams(self._graph, documents)
        streams = GraphQLOverSse(over_http, answering, callers, self.connections, self._rules)
        sockets = GraphQLOverWebSocket(answering, callers, self.connections, self._rules)
        return streams, WebSocketRoute(path, sockets)
