"""All of live, put together for the gateway."""

from collections.abc import Callable

from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp

from gateway.access.authentication.authenticator import Authenticator
from gateway.graphql_http.documents import Documents
from gateway.live.answering import Answering
from gateway.live.connections import Connections
from gateway.live.feed import Feed
from gateway.live.rules import Rules
from gateway.live.sockets import Sockets
from gateway.live.streams import Streams
from gateway.live.subgraph import NAME, LiveSubgraph, finding
from gateway.pipeline.pipeline import RequestPipeline
from gateway.supergraph import Transport, Transports


class Live:
    """What listens, and who is told. `graph` gives the graph as it is now."""

    def __init__(self, rules: Rules, nats_url: str, graph: Callable[[], RequestPipeline]) -> None:
        self._rules = rules
        self._graph = graph
        self.feed = Feed(nats_url, rules.waiting_activities)
        self.connections = Connections(rules.connections_per_caller)

    def beside(self, others: Transport) -> Transport:
        """A transport that answers `live` here, and has the others answer the rest."""
        live = LiveSubgraph(self.feed, finding(self._graph), self._rules.masking)
        return Transports({NAME: live}, others)

    def doors(
        self, path: str, over_http: ASGIApp, callers: Authenticator, documents: Documents
    ) -> tuple[ASGIApp, WebSocketRoute]:
        """The endpoint of a path's requests, with those for events, and of its websockets."""
        answering = Answering(self._graph, documents)
        streams = Streams(over_http, answering, callers, self.connections, self._rules)
        sockets = Sockets(answering, callers, self.connections, self._rules)
        return streams, WebSocketRoute(path, sockets)
