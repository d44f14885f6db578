"""A federation router: compose subgraphs, plan operations over them, execute the plans.

`compose` once at start, keep a `PlanCache`, and for each request `execute(cache.plan(…), …)`.
"""

from gateway.supergraph.compose import compose, compose_sdl
from gateway.supergraph.errors import (
    CannotPlan,
    CompositionError,
    NotIdempotentBelowEvents,
    OperationRefused,
    Problem,
    SupergraphUnreadable,
)
from gateway.supergraph.execute import HeadersFor, Terms, Witnessed, execute, refusal
from gateway.supergraph.joins import Supergraph
from gateway.supergraph.plan import Plan, plan
from gateway.supergraph.plan_cache import PlanCache
from gateway.supergraph.resilience import Resilient
from gateway.supergraph.standard_reading import read_supergraph
from gateway.supergraph.subscribe import subscribe
from gateway.supergraph.transport import (
    HttpTransport,
    Reply,
    SubgraphError,
    SubgraphInvalidResponse,
    SubgraphTimeout,
    SubgraphUnavailable,
    Transport,
    Transports,
)

__all__ = [
    "CannotPlan",
    "CompositionError",
    "HeadersFor",
    "HttpTransport",
    "NotIdempotentBelowEvents",
    "OperationRefused",
    "Plan",
    "PlanCache",
    "Problem",
    "Reply",
    "Resilient",
    "SubgraphError",
    "SubgraphInvalidResponse",
    "SubgraphTimeout",
    "SubgraphUnavailable",
    "Supergraph",
    "SupergraphUnreadable",
    "Terms",
    "Transport",
    "Transports",
    "Witnessed",
    "compose",
    "compose_sdl",
    "execute",
    "plan",
    "read_supergraph",
    "refusal",
    "subscribe",
]
