"""A service's subgraph over HTTP: fast for the gateway, deaf to everyone else, silent about itself.

Parsed and validated documents are cached, bounded; errors that are not ours are masked; nothing a
caller typed is logged.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson
from graphql import GraphQLError, OperationDefinitionNode
from starlette.types import Receive, Scope, Send
from strawberry.extensions import ParserCache, SchemaExtension, ValidationCache
from strawberry.federation import Schema as FederationSchema
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types import ExecutionContext, ExecutionResult
from strawberry.types.execution import PreExecutionError
from strawberry.types.graphql import OperationType

from services.chassis import graphql_http, telemetry
from services.chassis.authorization import guard
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
    MutationNotAllowed,
    Parameters,
    check_content_type,
    extra_headers,
    from_body,
    from_url,
    media_type_for,
    read_parameters,
    status_of,
)
from services.chassis.principal import Principal, Verifier

log = logging.getLogger(__name__)

DOCUMENTS = 2_000
"""Documents a process keeps parsed and validated; the gateway sends a few per operation."""

BODY = BodyLimits(size=16 * 1024 * 1024, setting="a subgraph's limit", within_s=30)
"""The gateway has its own, tighter limits; this keeps its mistakes from becoming ours."""

ALLOWED = {
    "GET": frozenset({OperationType.QUERY}),
    "POST": frozenset({OperationType.QUERY, OperationType.MUTATION}),
}
"""What may be done by which method."""


class UnknownOperation(RaakError):
    """A document has no operation of the name that was asked for, or several and no name."""

    code = "UNKNOWN_OPERATION"


class _Parsing(ParserCache):
    """Parses a document once, and does not choose among its operations: strawberry would take the
    first, also where that changes something nobody asked for.
    """

    def on_parse(self) -> Iterator[None]:
        yield from super().on_parse()
        context = self.execution_context
        if context._provided_operation_name is None and context.graphql_document is not None:
            definitions = context.graphql_document.definitions
            if sum(isinstance(node, OperationDefinitionNode) for node in definitions) > 1:
                unknown = _unknown(None)
                raise GraphQLError(unknown.problem, original_error=unknown)


def _parsed() -> SchemaExtension:
    return _Parsing(maxsize=DOCUMENTS)


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
    shown = graphql_http.told(cause) if isinstance(cause, RaakError) else dict(MASKED)
    if error.path:
        shown["path"] = list(error.path)
    return shown


class Subgraph:
    """The ASGI application at `/graphql`. `context` makes the context of one request."""

    def __init__(
        self, schema: Schema, context: Callable[[Principal], Any], verifier: Verifier
    ) -> None:
        self._schema = schema
        self._context = context
        self._verifier = verifier

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the gateway, and nobody else."""
        answer = await self._answer(scope, receive)
        await answer.send(send)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        headers, media_type, is_understood = headers_of(scope), LEGACY, False
        try:
            principal = self._verifier.principal(headers.get("authorization"))
            media_type = media_type_for(headers)
            asked = await _asked(scope, receive, headers)
            is_understood = True
            body = await self._executed(asked, ALLOWED[scope["method"]], principal)
            status = 400 if "data" not in body and media_type == MODERN else 200
            return Answer(status, orjson.dumps(body), media_type)
        except RaakError as refusal:
            status = status_of(refusal, media_type, is_understood=is_understood)
            body = {"errors": [graphql_http.told(refusal)]}
            return Answer(status, orjson.dumps(body), media_type, extra_headers(refusal))
        except Exception as error:
            log.error("a request failed", extra={"fields": {"because": telemetry.describe(error)}})
            return Answer(500, orjson.dumps({"errors": [MASKED]}), media_type)

    async def _executed(
        self, asked: Parameters, allowed: frozenset[OperationType], principal: Principal
    ) -> JSON:
        """`data` and `errors`, masked; only `errors` when nothing was executed."""
        try:
            result = await self._schema.execute(
                asked.document,
                asked.variables,
                context_value=self._context(principal),
                operation_name=asked.operation_name,
                allowed_operation_types=allowed,
            )
        except CannotGetOperationTypeError:
            raise _unknown(asked.operation_name) from None
        except InvalidOperationTypeError:
            raise MutationNotAllowed(
                "Only queries can be sent so.", hint="Send mutations by POST."
            ) from None
        errors = [told(error) for error in result.errors or ()]
        if _was_executed(result):
            return {"data": result.data, "errors": errors} if errors else {"data": result.data}
        return {"errors": errors}


async def _asked(scope: Scope, receive: Receive, headers: Mapping[str, str]) -> Parameters:
    if scope["method"] == "GET":
        asked = read_parameters(from_url(scope["query_string"], BODY.size, BODY.setting))
    elif scope["method"] == "POST":
        check_content_type(headers.get("content-type", ""))
        asked = read_parameters(from_body(await read_body(receive, headers, BODY)))
    else:
        raise MethodNotAllowed(
            f"{scope['method']} is not allowed.", hint="Send queries by GET or POST."
        )
    if not asked.document:
        raise MalformedRequest("`query` is empty.", hint="Put the GraphQL document there.")
    return asked


def _unknown(name: str | None) -> UnknownOperation:
    problem = f"There is no operation {name!r}." if name else "It is not clear which operation."
    return UnknownOperation(problem, hint="Name one of the document's in `operationName`.")


def _was_executed(result: ExecutionResult) -> bool:
    """Whether resolvers ran: where they fail there is a path, what keeps them from it has none."""
    if isinstance(result, PreExecutionError):
        return False
    return result.data is not None or any(error.path for error in result.errors or ())
