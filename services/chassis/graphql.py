"""A service's subgraph over HTTP: fast for the gateway, deaf to everyone else, silent about itself.

Parsed and validated documents are cached, bounded; errors that are not ours are masked; nothing a
caller typed is logged.
"""

import logging
from collections.abc import Callable
from typing import Any

import orjson
from graphql import GraphQLError
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.extensions import ParserCache, SchemaExtension, ValidationCache
from strawberry.federation import Schema as FederationSchema
from strawberry.http import GraphQLHTTPResponse
from strawberry.types import ExecutionContext, ExecutionResult

from services.chassis import telemetry
from services.chassis.authorization import guard
from services.chassis.errors import RaakError
from services.chassis.principal import NotAuthenticated, Principal, Verifier

log = logging.getLogger(__name__)

DOCUMENTS = 2_000
"""Documents a process keeps parsed and validated; the gateway sends a few per operation."""

MASKED = {
    "message": "Something went wrong in this service; it has been logged.",
    "extensions": {
        "code": "INTERNAL",
        "hint": "Try again; if it lasts, tell the operator the time.",
    },
}


def _parsed() -> SchemaExtension:
    return ParserCache(maxsize=DOCUMENTS)


def _validated() -> SchemaExtension:
    return ValidationCache(maxsize=DOCUMENTS)


class Schema(FederationSchema):
    """A subgraph's schema with the caches on and its marked fields guarded, which logs no query."""

    def __init__(self, **types: Any) -> None:
        super().__init__(extensions=[_parsed, _validated], **types)
        guard(self._schema)

    def process_errors(
        self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None
    ) -> None:
        """Log bugs by type and place; what callers did wrong is their business."""
        for error in errors:
            cause = error.original_error
            if cause is not None and not isinstance(cause, RaakError):
                fields = {"path": error.path, "because": telemetry.describe(cause)}
                log.error("a resolver failed", extra={"fields": fields})


def told(error: GraphQLError) -> dict[str, Any]:
    """An error as the caller may see it."""
    cause = error.original_error
    if cause is None:
        return dict(error.formatted)
    shown: dict[str, Any]
    if isinstance(cause, RaakError):
        extensions = cause.as_json()
        shown = {"message": extensions.pop("problem"), "extensions": extensions}
    else:
        shown = dict(MASKED)
    if error.path:
        shown["path"] = list(error.path)
    return shown


class Subgraph(GraphQL[Any, None]):
    """The ASGI application at `/graphql`. `context` makes the context of one request."""

    def __init__(
        self, schema: Schema, context: Callable[[Principal], Any], verifier: Verifier
    ) -> None:
        super().__init__(
            schema, graphql_ide=None, allow_queries_via_get=False, subscription_protocols=()
        )
        self._context = context
        self._verifier = verifier

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the gateway; refuse a request without a token of it."""
        try:
            principal = self._verifier.principal(Headers(scope=scope).get("authorization"))
        except NotAuthenticated as refusal:
            answer = {"errors": [told(GraphQLError("", original_error=refusal))]}
            response = Response(orjson.dumps(answer), refusal.status, media_type="application/json")
            await response(scope, receive, send)
            return
        scope["principal"] = principal
        await super().__call__(scope, receive, send)

    async def get_context(
        self, request: Request | WebSocket, response: Response | WebSocket
    ) -> Any:
        """A fresh context for every request."""
        return self._context(request.scope["principal"])

    async def process_result(
        self, request: Request, result: ExecutionResult
    ) -> GraphQLHTTPResponse:
        """Data and errors, masked."""
        answer: dict[str, Any] = {"data": result.data}
        if result.errors:
            answer["errors"] = [told(error) for error in result.errors]
        return answer  # type: ignore[return-value]

    def decode_json(self, data: str | bytes) -> object:
        """Bytes to JSON, the fast way."""
        return orjson.loads(data)

    def encode_json(self, data: object) -> str | bytes:
        """JSON to bytes, the fast way."""
        return orjson.dumps(data)
