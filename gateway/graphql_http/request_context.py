"""One request from its operation to its response, whatever protocol it came by; and its metrics."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from time import perf_counter
from typing import Any

from prometheus_client import Counter, Histogram

from gateway.graphql_http.persisted_operations import PersistedOperations
from gateway.pipeline.pipeline import RequestPipeline
from gateway.pipeline.prepare import PreparedOperation
from gateway.pipeline.request import GraphQLRequest
from gateway.supergraph import OperationRefused
from services.chassis.errors import RaakError
from services.chassis.graphql_http.request import JSON, RequestParameters
from services.chassis.graphql_http.response import GraphQLResponse, HttpResponse, format_error
from services.chassis.principal import Principal

MAX_CODES = 300
"""Codes of errors that metrics tell apart; ours are a hundred."""

REQUESTS = Counter(
    "raak_graphql_requests", "GraphQL requests by operation type and first error", ["type", "code"]
)
SECONDS = Histogram(
    "raak_graphql_seconds",
    "Time to answer GraphQL requests by operation type",
    ["type"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.1, 0.25, 1, 5),
)


@dataclass(slots=True)
class RequestContext(GraphQLResponse):
    """The response to one request, with the operation it asks for."""

    document: str | None = None
    """The text of the operation, as it was sent or found."""
    prepared: PreparedOperation | None = None
    started: float = field(default_factory=perf_counter)

    def prepare(
        self,
        graph: RequestPipeline,
        operations: PersistedOperations,
        parameters: RequestParameters,
        caller: Principal | None,
        *,
        may_change: bool,
    ) -> tuple[PreparedOperation, GraphQLRequest]:
        """Prepare the operation a client sent, or named by its hash; raises RaakError."""
        self.document = operations.read_document(parameters)
        request = GraphQLRequest(
            self.document, parameters.operation_name, parameters.variables, may_change
        )
        self.prepared = prepared = graph.prepare(request, caller)
        operations.learn(parameters)
        return prepared, request

    def format_errors(self, refusal: RaakError) -> list[JSON]:
        """A refusal as `errors`: of an operation that is not valid, all that is wrong with it."""
        if isinstance(refusal, OperationRefused):
            return [dict(error) for error in refusal.errors]
        return [format_error(refusal)]

    def add_cost(self, variables: Mapping[str, Any]) -> None:
        """Say in the response what the operation was priced at, and where most of that is."""
        assert self.prepared is not None
        path, part = self.prepared.cost.dearest(variables)
        cost = {"requested": self.prepared.cost(variables), "dearest": path, "dearestCost": part}
        self.add_extension("cost", cost)

    def add_extension(self, name: str, value: JSON) -> None:
        self.body.setdefault("extensions", {})[name] = value

    def finish(self) -> HttpResponse:
        """The response as it is sent; the request is counted."""
        response = self.to_http()
        self.count()
        return response

    def count(self) -> None:
        """Count the request, now that it is over, by its kind and first error."""
        kind = self.prepared.facts.kind if self.prepared else "none"
        errors = self.body.get("errors")
        code = errors[0].get("extensions", {}).get("code", "UNKNOWN") if errors else "OK"
        _counter(kind, _label(code)).inc()
        _histogram(kind).observe(perf_counter() - self.started)


_codes: set[str] = set()


def _label(code: str) -> str:
    """A code to count by: services may have any number of them, metrics may not."""
    if code not in _codes:
        if len(_codes) >= MAX_CODES:
            return "OTHER"
        _codes.add(code)
    return code


@lru_cache(maxsize=1_024)
def _counter(kind: str, code: str) -> Counter:
    return REQUESTS.labels(kind, code)


@lru_cache
def _histogram(kind: str) -> Histogram:
    return SECONDS.labels(kind)
