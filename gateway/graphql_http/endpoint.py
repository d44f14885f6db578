"""The endpoint `/graphql` over HTTP, as an ASGI application."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry import trace
from starlette.types import Receive, Scope, Send

from gateway.access.authentication.authenticator import Authenticator
from gateway.access.limits.operation_limits import LimitExceeded
from gateway.graphql_http.caching import VARY, add_validator, cache_seconds
from gateway.graphql_http.compression import accepts_gzip, compress
from gateway.graphql_http.persisted_operations import PersistedOperations
from gateway.graphql_http.preflight import read_client_request
from gateway.graphql_http.request_context import RequestContext
from gateway.graphql_http.settings import EndpointSettings
from gateway.pipeline.pipeline import RequestPipeline
from gateway.pipeline.prepare import PreparedOperation
from services.chassis import telemetry
from services.chassis.bodies import read_headers
from services.chassis.errors import RaakError
from services.chassis.graphql_http.media_types import negotiate_media_type
from services.chassis.graphql_http.request import MalformedRequest, read_parameters
from services.chassis.graphql_http.response import HttpResponse
from services.chassis.principal import Principal

COST = "x-raak-cost"
"""With this header a response has the operation's cost, in development."""

IN_PRODUCTION = b"x-raak-in-production"
"""In this header of a response, in development, stands the code production would refuse it with."""

PLAN = "apollo-expose-query-plan"
"""With this header a response has its query plan, in development and to a signed-in caller, as
Apollo Router does: `true`, or `dry-run` to have the plan and not execute it.
"""
PLAN_MODES = ("true", "dry-run")


class BatchingNotAllowed(RaakError, code="BATCHING_NOT_ALLOWED"):
    """Several requests in one body, where that is not allowed."""


class GraphQLOverHttp:
    """The endpoint. `graph` gives the graph as it is now."""

    def __init__(
        self,
        graph: Callable[[], RequestPipeline],
        callers: Authenticator,
        operations: PersistedOperations,
        settings: EndpointSettings,
    ) -> None:
        self._graph = graph
        self._callers = callers
        self._operations = operations
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        response = await self._respond(scope, receive, read_headers(scope))
        await response.send(send)

    async def _respond(
        self, scope: Scope, receive: Receive, headers: Mapping[str, str]
    ) -> HttpResponse:
        is_get = scope["method"] == "GET"
        context, plan = RequestContext(), ""
        with context:
            context.media_type = negotiate_media_type(headers)
            caller = await self._callers.authenticate(headers)
            value = await read_client_request(scope, receive, headers, self._settings.body)
            if isinstance(value, list):
                batch = await self._execute_batch(value, caller, context.media_type)
                return await self._compress(batch, headers)
            plan = self._plan_mode(headers, caller)
            await self._execute(context, value, caller, may_change=not is_get, plan=plan)
            if self._settings.shows_explorer and COST in headers:
                context.add_cost(value.get("variables") or {})
        response = context.finish()
        response.headers += self._headers_in_development(context)
        if is_get and not plan and (max_age_s := self._cache_seconds(context)) is not None:
            response = add_validator(response, headers.get("if-none-match"), max_age_s)
        return await self._compress(response, headers)

    async def _execute(
        self,
        context: RequestContext,
        value: Any,
        caller: Principal | None,
        *,
        may_change: bool,
        plan: str = "",
    ) -> None:
        """Execute one request, from the JSON it came as. With `plan` (see PLAN) the response has
        its query plan.
        """
        parameters = read_parameters(value)
        context.is_well_formed = True
        graph = self._graph()
        prepared, request = context.prepare(
            graph, self._operations, parameters, caller, may_change=may_change
        )
        _name_span(prepared)
        if plan == "dry-run":
            context.body = {"data": None}
        else:
            context.body = await graph.answer(prepared, request, caller)
        if plan and caller:
            context.add_extension("apolloQueryPlan", graph.explain(prepared, request, caller))

    def _headers_in_development(self, context: RequestContext) -> list[tuple[bytes, bytes]]:
        if not self._settings.shows_explorer or context.document is None:
            return []
        code = self._graph().refusal_in_production(context.document)
        return [(IN_PRODUCTION, code.encode())] if code else []

    def _plan_mode(self, headers: Mapping[str, str], caller: Principal | None) -> str:
        """How the query plan is wanted, if it is and this caller may have it."""
        mode = headers.get(PLAN, "")
        is_open = self._settings.shows_explorer and caller is not None
        return mode if is_open and mode in PLAN_MODES else ""

    async def _execute_batch(
        self, values: list[Any], caller: Principal | None, media_type: str
    ) -> HttpResponse:
        """The responses to several requests, in their order; each has its own errors."""
        most = self._settings.max_batch
        if not most:
            raise BatchingNotAllowed(
                "The body is a list, and batches are switched off.",
                hint="Send one request at a time, as an object with `query`.",
            )
        if len(values) > most:
            raise LimitExceeded(f"The batch has {len(values)} requests.", "batch", most)
        if not values:
            raise MalformedRequest("The batch is empty.", hint="Send at least one request in it.")

        async def respond(value: Any) -> bytes:
            context = RequestContext(media_type)
            with context:
                await self._execute(context, value, caller, may_change=True)
            return context.finish().body

        bodies = await asyncio.gather(*map(respond, values))
        return HttpResponse(200, b"[%b]" % b",".join(bodies), media_type)

    def _cache_seconds(self, context: RequestContext) -> int | None:
        """For how long the response to a GET may be cached, as `cache_seconds` says."""
        if context.prepared is None or "errors" in context.body:
            return None
        tags = self._graph().supergraph.metadata.tags
        return cache_seconds(context.prepared.plan.coordinates, tags, self._settings.max_age_s)

    async def _compress(self, response: HttpResponse, headers: Mapping[str, str]) -> HttpResponse:
        smallest = self._settings.compress_from_bytes
        if not smallest or len(response.body) < smallest:
            return response
        if VARY not in response.headers:
            response.headers.append((b"vary", b"Accept-Encoding"))
        if accepts_gzip(headers.get("accept-encoding", "")):
            await compress(response)
        return response


def _name_span(prepared: PreparedOperation) -> None:
    if telemetry.tracing():
        operation = prepared.facts
        span = trace.get_current_span()
        span.update_name(f"{operation.kind} {operation.name or ''}".strip())
        span.set_attribute("graphql.operation.type", operation.kind)
        if operation.name:
            span.set_attribute("graphql.operation.name", operation.name)
