"""A federation router: compose subgraphs, plan operations over them, execute the plans.

`compose` once at start, keep a `PlanCache`, and for each request `execute(cache.plan(…), …)`.
"""

from gateway.supergraph.compose import compose
from gateway.supergraph.errors import CannotPlan, CompositionError, OperationRefused, Problem
from gateway.supergraph.execute import HeadersFor, execute, refusal
from gateway.supergraph.joins import Supergraph
from gateway.supergraph.plan import Plan, PlanCache, plan
from gateway.supergraph.transport import (
    AiohttpTransport,
    Reply,
    SubgraphError,
    SubgraphInvalidResponse,
    SubgraphTimeout,
    SubgraphUnavailable,
    Transport,
)

__all__ = [
    "AiohttpTransport",
    "CannotPlan",
    "CompositionError",
    "HeadersFor",
    "OperationRefused",
    "Plan",
    "PlanCache",
    "Problem",
    "Reply",
    "SubgraphError",
    "SubgraphInvalidResponse",
    "SubgraphTimeout",
    "SubgraphUnavailable",
    "Supergraph",
    "Transport",
    "compose",
    "execute",
    "plan",
    "refusal",
]
