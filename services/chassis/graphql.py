"""A service's subgraph over HTTP, for the gateway only.

Parsed and validated documents are cached, bounded; errors that are no RaakError are masked; nothing
a caller typed is logged.
"""

import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import lru_cache
from inspect import isawaitable
from typing import Any, cast

from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLInputObjectType,
    OperationType,
    execute,
    get_operation_ast,
    parse,
    specified_rules,
    subscribe,
)
from starlette.types import Receive, Scope, Send
from strawberry.execution import optimized_is_awaitable
from strawberry.federation import Schema as FederationSchema
from strawberry.schema.schema import validate_document
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types import ExecutionContext

from services.chassis import json_scalar, telemetry
from services.chassis.authorization import guard_fields
from services.chassis.bodies import BodyLimits, read_headers
from services.chassis.descriptions import describe_schema
from services.chassis.errors import RaakError, UnknownOperation
from services.chassis.execution import CompiledOperation, MaskedExecutor, PlainFieldExecutor
from services.chassis.graphql_http.media_types import negotiate_media_type
from services.chassis.graphql_http.request import (
    JSON,
    MalformedRequest,
    MutationNotAllowed,
    read_parameters,
    read_request,
)
from services.chassis.graphql_http.response import (
    MASKED_ERROR,
    GraphQLResponse,
    HttpResponse,
    format_error,
)
from services.chassis.masking import USUAL, Hide, Masking
from services.chassis.principal import Principal

log = logging.getLogger(__name__)

NO_HIDES: Mapping[str, Hide] = {}

HINTS: Mapping[str, str] = {
    "represent a DateTime:": 'Write a moment as in "2026-11-30T09:30:00Z".',
    "represent a Date:": 'Write a day as in "2026-11-30".',
    "represent a UUID:": 'Write an id as in "01940b5e-7c1c-7000-8000-000000000000".',
    "exactly one key": "Pass exactly one of its fields, which is not null.",
    "must be non-null": "Pass exactly one of its fields, which is not null.",
}
"""How to write a value, by what graphql-core and Strawberry say of one that they refuse."""

DOCUMENTS = 2_000
"""Size of the cache of parsed documents; the gateway sends a few per operation."""

BODY = BodyLimits(size=16 * 1024 * 1024, setting="a subgraph's limit", within_s=30)
"""The gateway has its own, tighter limits; this keeps its mistakes from becoming ours."""

ALLOWED_OPERATIONS = {
    "GET": frozenset({OperationType.QUERY}),
    "POST": frozenset({OperationType.QUERY, OperationType.MUTATION}),
}
"""The types of operation of each method."""


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """A document, parsed (None if it has syntax errors) and validated.

    `compiled`, by masking, is shared by its executions; None if directives make them differ.
    """

    parsed: DocumentNode | None
    errors: Sequence[GraphQLError]
    compiled: dict[Masking | None, CompiledOperation] | None = None


class Schema(FederationSchema):
    """A subgraph's schema with guarded fields and a cache of parsed documents.

    It calls graphql-core directly: Strawberry's hooks of extensions, of which there are none, cost
    as much as a small query. `hides` says how fields are masked, by `Type` or `Type.field`.
    """

    def __init__(self, *, hides: Mapping[str, Hide] = NO_HIDES, **types: Any) -> None:
        super().__init__(**types)
        self.hides = hides
        describe_schema(self._schema)
        guard_fields(self._schema)
        json_scalar.install_json_scalar(self._schema)
        self._read = lru_cache(maxsize=DOCUMENTS)(self._read_anew)

    def _extend_introspection(self) -> None:
        """Mark @oneOf inputs as graphql-core does.

        Strawberry would change `__Type` instead, which all schemas of a process share: in the
        gateway's, which it did not make, no input would be @oneOf.
        """
        for type_ in self._schema.type_map.values():
            definition = type_.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
            if isinstance(type_, GraphQLInputObjectType) and definition is not None:
                type_.is_one_of = definition.is_one_of

    async def answer(
        self,
        text: str,
        variables: JSON | None = None,
        context: Any = None,
        operation_name: str | None = None,
        allowed: frozenset[OperationType] = ALLOWED_OPERATIONS["POST"],
    ) -> JSON:
        """`data` and `errors`, or only `errors` when nothing was executed.

        Raises UnknownOperation, MutationNotAllowed.
        """
        document = self._read(text)
        if document.parsed is not None:
            _check_operation(document.parsed, operation_name, allowed)
        if document.parsed is None or document.errors:
            return {"errors": [format_graphql_error(error) for error in document.errors]}
        options = self._options(document, variables, context)
        result = execute(self._schema, document.parsed, operation_name=operation_name, **options)
        if not isinstance(result, ExecutionResult):
            result = await result
        return self._answer(result)

    async def answers(
        self, text: str, variables: JSON | None = None, context: Any = None
    ) -> AsyncGenerator[JSON, None]:
        """An answer to a subscription for each of its events; what ends it is the last one."""
        document = self._read(text)
        if document.parsed is None or document.errors:
            yield {"errors": [format_graphql_error(error) for error in document.errors]}
            return
        events = subscribe(
            self._schema, document.parsed, **self._options(document, variables, context)
        )
        if isawaitable(events):
            events = await events
        if isinstance(events, ExecutionResult):
            yield self._answer(events)
            return
        async with aclosing(cast(AsyncGenerator[ExecutionResult, None], events)) as results:
            try:
                async for result in results:
                    yield self._answer(result)
            except Exception as error:  # of the stream itself; graphql-core lets it pass
                failed = GraphQLError(str(error), original_error=error)
                yield {"data": None} | self._answer(ExecutionResult(None, [failed]))

    def _options(
        self, document: ParsedDocument, variables: JSON | None, context: Any
    ) -> dict[str, Any]:
        masking, compiled = masking_for(context), document.compiled
        options = {
            "context_value": context,
            "variable_values": variables,
            "is_awaitable": optimized_is_awaitable,
            "compiled": None
            if compiled is None
            else compiled.setdefault(masking, CompiledOperation()),
        }
        if masking is None:
            return options | {"executor_class": PlainFieldExecutor}
        return options | {
            "executor_class": MaskedExecutor,
            "masking": masking,
            "hides": self.hides,
        }

    def _answer(self, result: ExecutionResult) -> JSON:
        answer: JSON = {"data": result.data} if _was_executed(result) else {}
        if result.errors:
            self.process_errors(result.errors)
            answer["errors"] = [format_graphql_error(error) for error in result.errors]
        return answer

    def _read_anew(self, text: str) -> ParsedDocument:
        try:
            parsed = parse(text)
            errors = validate_document(self._schema, parsed, specified_rules)
            return ParsedDocument(parsed, errors, None if "@" in text else {})
        except GraphQLError as error:
            return ParsedDocument(None, [error])

    def process_errors(
        self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None
    ) -> None:
        """Log bugs by type and place; errors of callers are not logged."""
        for error in errors:
            if bug := _find_bug(error):
                fields = {"path": error.path, "because": telemetry.describe(bug)}
                log.error("a resolver failed", extra={"fields": fields})


def masking_for(context: Any) -> Masking | None:
    """The masking for a request: the context's own, or the usual one; None: no masking."""
    principal: Principal | None = getattr(context, "principal", None)
    if principal is None or principal.can_identify:
        return None
    masking: Masking = getattr(context, "masking", USUAL)
    return masking


def format_graphql_error(error: GraphQLError) -> JSON:
    """An error as an entry of `errors`, masked unless it is the caller's or ours."""
    cause = error.original_error
    if isinstance(cause, RaakError):
        entry = format_error(cause)
    elif _find_bug(error):
        entry = dict(MASKED_ERROR)
    else:
        extensions = {"code": "BAD_USER_INPUT", "hint": _hint_for(error.message)}
        return {**error.formatted, "extensions": extensions | (error.extensions or {})}
    if error.path:
        entry["path"] = list(error.path)
    return entry


def _hint_for(message: str) -> str:
    hints = (hint for part, hint in HINTS.items() if part in message)
    return next(hints, "Send what the schema declares.")


def _find_bug(error: GraphQLError) -> Exception | None:
    """The unexpected exception behind an error; values that do not fit are GraphQLErrors."""
    cause = error.original_error
    return None if isinstance(cause, GraphQLError | RaakError) else cause


class SubgraphEndpoint:
    """The ASGI application at `/graphql`.

    `context` makes the context of a request; `caller` verifies an `Authorization` header.
    """

    def __init__(
        self,
        schema: Schema,
        context: Callable[[Principal], Any],
        caller: Callable[[str | None], Principal],
    ) -> None:
        self._schema = schema
        self._context = context
        self._caller = caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._answer(scope, receive)
        await answer.send(send)

    async def _answer(self, scope: Scope, receive: Receive) -> HttpResponse:
        headers, response = read_headers(scope), GraphQLResponse()
        with response:
            principal = self._caller(headers.get("authorization"))
            response.media_type = negotiate_media_type(headers)
            parameters = read_parameters(await read_request(scope, receive, headers, BODY))
            if not parameters.document:
                raise MalformedRequest("`query` is empty.", hint="Put the GraphQL document there.")
            response.is_well_formed = True
            response.body = await self._schema.answer(
                parameters.document,
                parameters.variables,
                self._context(principal),
                parameters.operation_name,
                ALLOWED_OPERATIONS[scope["method"]],
            )
        return response.to_http()


def _check_operation(
    document: DocumentNode, name: str | None, allowed: frozenset[OperationType]
) -> None:
    operation = get_operation_ast(document, name)
    if operation is None:
        raise UnknownOperation(
            f"The document has no operation {name!r}."
            if name
            else "The document has several operations and no operationName was sent.",
            hint="Name one of the document's operations in `operationName`.",
        )
    if operation.operation not in allowed:
        raise MutationNotAllowed("Only queries can be sent by GET.", hint="Send mutations by POST.")


def _was_executed(result: ExecutionResult) -> bool:
    """Whether resolvers ran: only their errors have a path."""
    return result.data is not None or any(error.path for error in result.errors or ())
