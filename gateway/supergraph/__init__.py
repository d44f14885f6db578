"""A federation router: compose subgraphs, plan operations over them, execute the plans.

`compose` once at start, `plan_document` once for each operation, and `execute` for each request.
"""

from gateway.supergraph.composition.compose import compose, compose_sdl
from gateway.supergraph.composition.read_supergraph_sdl import read_supergraph
from gateway.supergraph.errors import (
    CannotPlan,
    CompositionError,
    CompositionProblem,
    NotIdempotentInSubscription,
    OperationRefused,
    SupergraphUnreadable,
)
from gateway.supergraph.executor.execute import (
    EntityIdsHandler,
    ExecutionOptions,
    HeadersFor,
    execute,
    respond_to_refusal,
    subscribe,
)
from gateway.supergraph.operation import Operation
from gateway.supergraph.planner.explain_plan import explain_plan, print_plan
from gateway.supergraph.planner.plan_document import plan_document
from gateway.supergraph.planner.query_plan import QueryPlan, plan
from gateway.supergraph.supergraph import Supergraph
from gateway.supergraph.transport.circuit_breaker import ResilientTransport
from gateway.supergraph.transport.http import HttpTransport
from gateway.supergraph.transport.subgraph_response import (
    SubgraphError,
    SubgraphInvalidResponse,
    SubgraphResponse,
    SubgraphTimeout,
    SubgraphUnavailable,
)
from gateway.supergraph.transport.transport import RoutingTransport, Transport

__all__ = [
    "CannotPlan",
    "CompositionError",
    "CompositionProblem",
    "EntityIdsHandler",
    "ExecutionOptions",
    "HeadersFor",
    "HttpTransport",
    "NotIdempotentInSubscription",
    "Operation",
    "OperationRefused",
    "QueryPlan",
    "ResilientTransport",
    "RoutingTransport",
    "SubgraphError",
    "SubgraphInvalidResponse",
    "SubgraphResponse",
    "SubgraphTimeout",
    "SubgraphUnavailable",
    "Supergraph",
    "SupergraphUnreadable",
    "Transport",
    "compose",
    "compose_sdl",
    "execute",
    "explain_plan",
    "plan",
    "plan_document",
    "print_plan",
    "read_supergraph",
    "respond_to_refusal",
    "subscribe",
]
