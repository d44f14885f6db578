"""`/graphql`: GraphQL over HTTP, as its specification says, and a page for developers."""

import logging
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import parse_qsl

import orjson
from opentelemetry import trace
from prometheus_client import Counter, Histogram
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.access.bodies import read_body
from gateway.access.callers import Callers
from gateway.graph import Asked, Graph, Prepared, told
from gateway.supergraph import OperationRefused
from services.chassis import telemetry
from services.chassis.errors import RaakError
from services.chassis.graphql_http import MASKED

log = logging.getLogger(__name__)

JSON = dict[str, Any]

MODERN = "application/graphql-response+json"
LEGACY = "application/json"
EXPLORER = Path(__file__).with_name("explorer.html")
EXPLORER_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; connect-src 'self'; img-src data:; frame-ancestors 'none'"
}

REQUESTS = Counter(
    "raak_graphql_requests", "GraphQL requests by operation type and first error", ["type", "code"]
)
SECONDS = Histogram(
    "raak_graphql_seconds",
    "Time to answer GraphQL requests by operation type",
    ["type"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.1, 0.25, 1, 5),
)


class NotAcceptable(RaakError):
    """The client takes nothing we could answer with."""

    code = "NOT_ACCEPTABLE"
    status = 406


class UnsupportedContent(RaakError):
    """A body is labelled as something else than JSON."""

    code = "UNSUPPORTED_CONTENT_TYPE"
    status = 415


class MethodNotAllowed(RaakError):
    """Neither GET nor POST."""

    code = "METHOD_NOT_ALLOWED"
    status = 405


class MalformedRequest(RaakError):
    """A request cannot be understood, whatever its operation."""

    code = "MALFORMED_REQUEST"


class GraphQLOverHttp:
    """The endpoint, as an ASGI application."""

    def __init__(
        self, graph: Graph, callers: Callers, max_body_bytes: int, *, shows_explorer: bool
    ) -> None:
        self._graph = graph
        self._callers = callers
        self._max_body_bytes = max_body_bytes
        self._explorer = EXPLORER.read_bytes() if shows_explorer else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        response = await self.respond(Request(scope, receive))
        await response(scope, receive, send)

    async def respond(self, request: Request) -> Response:
        """Answer one request, or show the explorer to a browser that asks for a page."""
        accept = request.headers.get("accept", "*/*")
        if self._explorer is not None and request.method == "GET" and "text/html" in accept:
            return Response(self._explorer, 200, EXPLORER_HEADERS, "text/html; charset=utf-8")
        started = perf_counter()
        exchange = _Exchange(media_type=negotiated(accept) or LEGACY)
        try:
            await self._answer(request, exchange, accept)
        except ClientDisconnect:
            exchange.refuse(MalformedRequest("The request broke off.", hint="Send it again."))
        except RaakError as refusal:
            exchange.refuse(refusal)
        except Exception as error:
            log.error("a request failed", extra={"fields": {"because": telemetry.describe(error)}})
            exchange.status, exchange.body = 500, {"errors": [MASKED]}
        exchange.observe(perf_counter() - started)
        return exchange.response()

    async def _answer(self, request: Request, exchange: "_Exchange", accept: str) -> None:
        if negotiated(accept) is None:
            raise NotAcceptable(
                f"The client accepts only {accept!r}.", hint=f"Accept {MODERN} or {LEGACY}."
            )
        asked = await self._asked(request)
        caller = await self._callers.of(request.headers)
        exchange.is_understood = True
        exchange.prepared = prepared = self._graph.prepare(asked, caller)
        _name_span(prepared)
        exchange.body = await self._graph.answer(prepared, asked, caller)
        if "data" not in exchange.body and exchange.media_type == MODERN:
            exchange.status = 400

    async def _asked(self, request: Request) -> Asked:
        if request.method == "GET":
            return read_parameters(_from_url(request), may_change=False)
        if request.method != "POST":
            raise MethodNotAllowed(
                f"{request.method} is not allowed.", hint="Send queries by GET or POST."
            )
        check_content_type(request.headers.get("content-type", ""))
        body = await read_body(request, self._max_body_bytes, "max_body_bytes")
        return read_parameters(from_json(body, "body"), may_change=True)


class _Exchange:
    """One request on its way to its response."""

    def __init__(self, media_type: str) -> None:
        self.media_type = media_type
        self.prepared: Prepared | None = None
        self.is_understood = False
        """Whether it is a well-formed request: from then on, old clients get 200 with errors."""
        self.status = 200
        self.body: JSON = {}

    def refuse(self, refusal: RaakError) -> None:
        """Answer with errors only, and the status that fits."""
        self.body = {"errors": errors_of(refusal)}
        is_told_in_body = self.is_understood and refusal.status in (400, 403)
        self.status = 200 if is_told_in_body and self.media_type == LEGACY else refusal.status

    def observe(self, seconds: float) -> None:
        """Count the request."""
        kind = self.prepared.operation.kind if self.prepared else "none"
        errors = self.body.get("errors")
        code = errors[0].get("extensions", {}).get("code", "UNKNOWN") if errors else "OK"
        REQUESTS.labels(kind, code).inc()
        SECONDS.labels(kind).observe(seconds)

    def response(self) -> Response:
        """The response, in the form that was agreed on."""
        headers = {"Cache-Control": "no-store"}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if self.status == 405:
            headers["Allow"] = "POST" if self.is_understood else "GET, POST"
        media_type = f"{self.media_type}; charset=utf-8"
        return Response(orjson.dumps(self.body), self.status, headers, media_type)


def errors_of(refusal: RaakError) -> list[JSON]:
    """A refusal as `errors`."""
    if isinstance(refusal, OperationRefused):
        return [dict(error) for error in refusal.errors]
    return [told(refusal)]


@lru_cache(maxsize=256)
def negotiated(accept: str) -> str | None:
    """The media type to answer with, by an Accept header; None if it leaves us none.

    Who takes anything gets the older one, which every client reads.
    """
    best: tuple[float, str] | None = None
    for entry in accept.lower().split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        media_type = {"*/*": LEGACY, "application/*": LEGACY}.get(name, name)
        quality = _quality(parameters)
        if media_type in (MODERN, LEGACY) and quality > (best[0] if best else 0):
            best = (quality, media_type)
    return best[1] if best else None


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0


def check_content_type(content_type: str) -> None:
    """Raise UnsupportedContent unless a body is labelled as JSON in UTF-8."""
    name, *parameters = (part.strip() for part in content_type.lower().split(";"))
    charsets = [p[8:].strip('"') for p in parameters if p.startswith("charset=")]
    if name != LEGACY or any(charset not in ("utf-8", "utf8") for charset in charsets):
        raise UnsupportedContent(
            f"The content type is {content_type!r}.",
            hint="Send JSON in UTF-8 as `Content-Type: application/json`.",
        )


def from_json(text: bytes | str, what: str) -> Any:
    """A JSON value; raises MalformedRequest, which tells bad UTF-8 from bad JSON."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        _check_utf8(text, what)
        raise MalformedRequest(
            f"The {what} is not valid JSON: line {error.lineno}, column {error.colno}.",
            hint='Send an object like {"query": "…", "variables": {…}}.',
        ) from None


def _check_utf8(text: bytes | str, what: str) -> None:
    try:
        text.encode() if isinstance(text, str) else text.decode()
    except UnicodeError as error:
        at = getattr(error, "start", 0)
        raise MalformedRequest(
            f"The {what} is not valid UTF-8 (byte {at}).", hint="Encode it as UTF-8."
        ) from None


def _from_url(request: Request) -> JSON:
    """The parameters of a GET; the maps among them are written as JSON."""
    parameters: JSON = dict(parse_qsl(request.url.query, keep_blank_values=True))
    for name in ("variables", "extensions"):
        if name in parameters:
            parameters[name] = from_json(parameters[name], name)
    return parameters


KINDS: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "query": (str, "a string"),
    "operationName": ((str, type(None)), "a string or null"),
    "variables": ((dict, type(None)), "an object or null"),
    "extensions": ((dict, type(None)), "an object or null"),
}


def read_parameters(parameters: Any, *, may_change: bool) -> Asked:
    """A GraphQL request from its parameters; raises MalformedRequest."""
    if not isinstance(parameters, dict):
        raise MalformedRequest(
            f"The body is {_kind(parameters)}, not an object.",
            hint="Send one request at a time, as an object with `query`.",
        )
    if "query" not in parameters:
        raise MalformedRequest(
            "The request has no `query`.", hint="Put the GraphQL document there, as a string."
        )
    for name, (kinds, said) in KINDS.items():
        value = parameters.get(name)
        if name in parameters and not isinstance(value, kinds):
            raise MalformedRequest(f"`{name}` is {_kind(value)}.", hint=f"It must be {said}.")
    return Asked(
        parameters["query"],
        parameters.get("operationName") or None,
        parameters.get("variables") or {},
        may_change,
    )


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return "null" if value is None else names.get(type(value), "a number")


def _name_span(prepared: Prepared) -> None:
    if telemetry.tracing():
        operation = prepared.operation
        span = trace.get_current_span()
        span.update_name(f"{operation.kind} {operation.name or ''}".strip())
        span.set_attribute("graphql.operation.type", operation.kind)
        if operation.name:
            span.set_attribute("graphql.operation.name", operation.name)
