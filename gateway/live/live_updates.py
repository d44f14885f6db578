"""The live part of the gateway, put together."""

from collections.abc import Callable

from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp

from gateway.access.authentication.authenticator import Authenticator
from gateway.graphql_http.persisted_operations import PersistedOperations
from gateway.live.connections import ClientConnections
from gateway.live.customer_feed import CustomerFeed
from gateway.live.graphql_sse import GraphQLOverSse
from gateway.live.graphql_ws import GraphQLOverWebSocket
from gateway.live.operation_stream import OperationStreams
from gateway.live.settings import LiveSettings
from gateway.live.subgraph import NAME, LiveSubgraph, create_customer_finder
from gateway.pipeline.pipeline import RequestPipeline
from gateway.supergraph import RoutingTransport, Transport


class LiveUpdates:
    """The feed, the subgraph and the connections. `graph` gives the graph as it is now."""

    def __init__(
        self, settings: LiveSettings, nats_url: str, graph: Callable[[], RequestPipeline]
    ) -> None:
        self._settings = settings
        self._graph = graph
        self.feed = CustomerFeed(nats_url, settings.waiting_activities)
        self.connections = ClientConnections(settings.connections_per_caller)

    def add_subgraph(self, others: Transport) -> Transport:
        """A transport to the subgraph `live` in this process, and to all others."""
        find = create_customer_finder(self._graph)
        return RoutingTransport(
            {NAME: LiveSubgraph(self.feed, find, self._settings.masking)}, others
        )

    def create_endpoints(
        self, path: str, over_http: ASGIApp, callers: Authenticator, operations: PersistedOperations
    ) -> tuple[ASGIApp, WebSocketRoute]:
        """The endpoint of a path's requests, with those for events, and of its websockets."""
        streams = OperationStreams(self._graph, operations)
        sse = GraphQLOverSse(over_http, streams, callers, self.connections, self._settings)
        ws = GraphQLOverWebSocket(streams, callers, self.connections, self._settings)
        return sse, WebSocketRoute(path, ws)
