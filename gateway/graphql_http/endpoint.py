"""The endpoint: what HTTP says before and after an operation is answered."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any, Self

import orjson
from opentelemetry import trace
from prometheus_client import Counter, Histogram
from starlette.types import Receive, Scope, Send

from gateway.access.authentication.authenticator import Authenticator
from gateway.access.limits.operation_limits import LimitExceeded
from gateway.graphql_http.caching import VARY, how_long, with_validator
from gateway.graphql_http.documents import Documents
from gateway.graphql_http.packing import packed, takes_gzip
from gateway.graphql_http.rules import Rules
from gateway.pipeline.pipeline import RequestPipeline
from gateway.pipeline.prepare import PreparedOperation
from gateway.pipeline.request import GraphQLRequest
from gateway.supergraph import OperationRefused
from services.chassis import telemetry
from services.chassis.bodies import BodyLimits, headers_of, read_body
from services.chassis.errors import RaakError
from services.chassis.graphql_http import (
    JSON,
    LEGACY,
    MASKED,
    MODERN,
    Answer,
    MalformedRequest,
    MethodNotAllowed,
    check_content_type,
    extra_headers,
    from_body,
    from_url,
    media_type_for,
    read_parameters,
    status_of,
    told,
)
from services.chassis.principal import Principal

log = logging.getLogger(__name__)

EXPLORER = Path(__file__).parents[1] / "explorer.html"
EXPLORER_POLICY = (
    b"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    b"connect-src 'self'; img-src data:; frame-ancestors 'none'"
)

COST = "x-raak-cost"
"""With this header an answer tells its cost, in development."""

PREFLIGHTED = (
    "authorization",
    "x-api-key",
    "graphql-require-preflight",
    "apollo-require-preflight",
    "x-apollo-operation-name",
)
"""Headers a page of another origin cannot send before its browser has asked us whether it may."""

MAX_CODES = 300
"""Codes of errors that are told apart in metrics; ours are a hundred."""

REQUESTS = Counter(
    "raak_graphql_requests", "GraphQL requests by operation type and first error", ["type", "code"]
)
SECONDS = Histogram(
    "raak_graphql_seconds",
    "Time to answer GraphQL requests by operation type",
    ["type"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.1, 0.25, 1, 5),
)


class PreflightRequired(RaakError):
    """A request that a browser sends for any page, without asking us first."""

    code = "PREFLIGHT_REQUIRED"


class BatchingOff(RaakError):
    """Several requests in one, where that is not allowed."""

    code = "BATCHING_NOT_ALLOWED"


class GraphQLOverHttp:
    """The endpoint, as an ASGI application. `graph` gives the graph as it is now."""

    def __init__(
        self,
        graph: Callable[[], RequestPipeline],
        callers: Authenticator,
        documents: Documents,
        rules: Rules,
    ) -> None:
        self._graph = graph
        self._callers = callers
        self._documents = documents
        self._rules = rules
        self._explorer = EXPLORER.read_bytes() if rules.shows_explorer else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or show the explorer to a browser that asks for a page."""
        headers = headers_of(scope)
        is_get = scope["method"] == "GET"
        if self._explorer is not None and is_get and "text/html" in headers.get("accept", ""):
            policy = [(b"content-security-policy", EXPLORER_POLICY)]
            answer = Answer(200, self._explorer, "text/html", policy)
        else:
            answer = await self._answer(scope, receive, headers)
        await answer.send(send)

    async def _answer(self, scope: Scope, receive: Receive, headers: Mapping[str, str]) -> Answer:
        is_get = scope["method"] == "GET"
        exchange = Exchange()
        with exchange:
            exchange.media_type = media_type_for(headers)
            caller = await self._callers.authenticate(headers)
            value = await read_value(scope, receive, headers, self._rules.body)
            if isinstance(value, list):
                whole = await self._batch(value, caller, exchange.media_type)
                return await self._packed(whole, headers)
            await self._ask(exchange, value, caller, may_change=not is_get)
            if self._rules.shows_explorer and COST in headers:
                exchange.tell_cost(value.get("variables") or {})
        answer = exchange.finished()
        if is_get and (keep_s := self._keep_s(exchange)) is not None:
            answer = with_validator(answer, headers.get("if-none-match"), keep_s)
        return await self._packed(answer, headers)

    async def _ask(
        self, exchange: "Exchange", value: Any, caller: Principal | None, *, may_change: bool
    ) -> None:
        """Have one request answered, from the JSON it came as."""
        asked = read_parameters(value)
        exchange.is_understood = True
        document = self._documents.text_of(asked)
        question = GraphQLRequest(document, asked.operation_name, asked.variables, may_change)
        graph = self._graph()
        exchange.prepared = prepared = graph.prepare(question, caller)
        self._documents.learn(asked)
        _name_span(prepared)
        exchange.body = await graph.answer(prepared, question, caller)

    async def _batch(self, values: list[Any], caller: Principal | None, media_type: str) -> Answer:
        """The answers to several requests, in their order; each has its own errors."""
        most = self._rules.max_batch
        if not most:
            raise BatchingOff(
                "The body is a list, and batches are switched off.",
                hint="Send one request at a time, as an object with `query`.",
            )
        if len(values) > most:
            raise LimitExceeded(f"The batch has {len(values)} requests.", "batch", most)
        if not values:
            raise MalformedRequest("The batch is empty.", hint="Send at least one request in it.")

        async def answered(value: Any) -> bytes:
            exchange = Exchange(media_type)
            with exchange:
                await self._ask(exchange, value, caller, may_change=True)
            return exchange.finished().body

        answers = await asyncio.gather(*map(answered, values))
        return Answer(200, b"[%b]" % b",".join(answers), media_type)

    def _keep_s(self, exchange: "Exchange") -> int | None:
        """For how long the answer to a GET may be kept, as `how_long` says."""
        if exchange.prepared is None or "errors" in exchange.body:
            return None
        tags = self._graph().supergraph.markings.tags
        return how_long(exchange.prepared.plan.coordinates, tags, self._rules.keep_s)

    async def _packed(self, answer: Answer, headers: Mapping[str, str]) -> Answer:
        smallest = self._rules.pack_from_bytes
        if not smallest or len(answer.body) < smallest:
            return answer
        if VARY not in answer.headers:
            answer.headers.append((b"vary", b"Accept-Encoding"))
        return await packed(answer) if takes_gzip(headers.get("accept-encoding", "")) else answer


@dataclass(slots=True)
class Exchange:
    """One request on its way to its answer. As a context, it turns what fails into an answer."""

    media_type: str = LEGACY
    is_understood: bool = False
    """Whether it is a well-formed request: from then on, old clients get 200 with errors."""
    body: JSON = field(default_factory=dict)
    prepared: PreparedOperation | None = None
    refusal: RaakError | None = None
    has_failed: bool = False
    started: float = field(default_factory=perf_counter)

    def tell_cost(self, variables: Mapping[str, Any]) -> None:
        """Say in the answer what the operation was priced at, and where most of that is."""
        assert self.prepared is not None
        path, part = self.prepared.cost.dearest(variables)
        cost = {"requested": self.prepared.cost(variables), "dearest": path, "dearestCost": part}
        self.body["extensions"] = {"cost": cost}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> bool:
        if error is None:
            return False
        if isinstance(error, RaakError):
            self.refusal = error
            self.body = {"errors": errors_of(error)}
        elif isinstance(error, Exception):
            self._fail(error)
        return isinstance(error, Exception)

    def _fail(self, error: Exception) -> None:
        log.error("a request failed", extra={"fields": {"because": telemetry.describe(error)}})
        self.has_failed = True
        self.body = {"errors": [MASKED]}

    def finished(self) -> Answer:
        """What is answered, in the form that was agreed on; the request is counted."""
        text = self._written()
        self.count()
        headers = extra_headers(self.refusal) if self.refusal else []
        return Answer(self._status(), text, self.media_type, headers)

    def _written(self) -> bytes:
        """The answer as JSON, which what a service says may be too deep or too large for."""
        try:
            return orjson.dumps(self.body)
        except TypeError as error:
            self._fail(error)
            return orjson.dumps(self.body)

    def count(self) -> None:
        """The request is over: tell the metrics its kind, its first error and its time."""
        kind = self.prepared.operation.kind if self.prepared else "none"
        errors = self.body.get("errors")
        code = errors[0].get("extensions", {}).get("code", "UNKNOWN") if errors else "OK"
        _counter(kind, _label(code)).inc()
        _seconds(kind).observe(perf_counter() - self.started)

    def _status(self) -> int:
        if self.has_failed:
            return 500
        if self.refusal is not None:
            return status_of(self.refusal, self.media_type, is_understood=self.is_understood)
        return 400 if "data" not in self.body and self.media_type == MODERN else 200


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
def _seconds(kind: str) -> Histogram:
    return SECONDS.labels(kind)


async def read_value(
    scope: Scope, receive: Receive, headers: Mapping[str, str], limits: BodyLimits
) -> Any:
    """The JSON of a request, from its address or its body; raises RaakError."""
    if scope["method"] == "GET":
        check_preflighted(headers)
        return from_url(scope["query_string"], limits.size, limits.setting)
    if scope["method"] != "POST":
        raise MethodNotAllowed(
            f"{scope['method']} is not allowed.", hint="Send queries by GET or POST."
        )
    check_content_type(headers.get("content-type", ""))
    return from_body(await read_body(receive, headers, limits))


def check_preflighted(headers: Mapping[str, str]) -> None:
    """Raise PreflightRequired for what a browser may send for any page it shows."""
    if not any(headers.get(name) for name in PREFLIGHTED):
        raise PreflightRequired(
            "Any page could have made a browser send this request.",
            hint="Send `GraphQL-Require-Preflight: 1` with it, or an Authorization.",
        )


def errors_of(refusal: RaakError) -> list[JSON]:
    """A refusal as `errors`."""
    if isinstance(refusal, OperationRefused):
        return [dict(error) for error in refusal.errors]
    return [told(refusal)]


def _name_span(prepared: PreparedOperation) -> None:
    if telemetry.tracing():
        operation = prepared.operation
        span = trace.get_current_span()
        span.update_name(f"{operation.kind} {operation.name or ''}".strip())
        span.set_attribute("graphql.operation.type", operation.kind)
        if operation.name:
            span.set_attribute("graphql.operation.name", operation.name)
