"""Whether a request may be answered at all."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from graphql import GraphQLSchema

from gateway.access.authorization.customer_references import check_reference
from gateway.access.limits.operation_limits import OperationLimits
from gateway.access.limits.registered_operations import OperationRegistry, hash_document
from gateway.pipeline.caller_request import CallerRequest
from gateway.pipeline.operation_facts import coerce_variables
from gateway.pipeline.parse import parse_document
from gateway.pipeline.prepare import PreparedOperation
from gateway.pipeline.request import GraphQLRequest
from gateway.supergraph.lru import Lru
from services.chassis.errors import RaakError
from services.chassis.graphql_http.request import MutationNotAllowed
from services.chassis.principal import NotAuthenticated, Principal

JSON = dict[str, Any]

LONGEST_DIFFERENCE = 400
"""Characters remembered of what sets a document apart from those registered."""


class IntrospectionOff(RaakError, code="INTROSPECTION_OFF", status=403):
    """A caller asks for the schema in production."""


class OperationNotRegistered(RaakError, code="OPERATION_NOT_REGISTERED"):
    """A document is not among those that were registered."""


class RegistrationCheck:
    """Says whether documents count as registered; what was compared is remembered.

    A registered text is found by itself. Any other is parsed, and compared in its canonical form:
    once, and `planning` counts it as reading a new operation.
    """

    def __init__(self, registry: OperationRegistry, limits: OperationLimits, size: int) -> None:
        self._registry = registry
        self._limits = limits
        self._differences: Lru[str] = Lru(size)
        """What sets a document apart from those registered, by its hash; empty: nothing."""

    def check(self, text: str, planning: Callable[[], AbstractContextManager[None]]) -> None:
        """Raise OperationNotRegistered for any other document than those registered."""
        if self._registry.is_registered(text):
            return
        self._registry.check_read()
        key = self._registry.version, hash_document(text)
        difference = self._differences.get(key)
        if difference is None:
            with planning():
                difference = self._compare(text)
            self._differences.put(key, difference)
        if difference:
            raise OperationNotRegistered(
                "The document is not registered, and only registered ones are answered here. "
                f"{difference}",
                hint="Publish the file or manifest your client is built with: `raak operations "
                "publish PATH`, or POST it to /operations with an API key.",
            )

    def _compare(self, text: str) -> str:
        try:
            document = parse_document(text, self._limits)
        except RaakError as unreadable:
            return unreadable.problem
        return (self._registry.find_difference(document) or "")[:LONGEST_DIFFERENCE]


def check_operation(
    prepared: PreparedOperation,
    request: GraphQLRequest,
    caller: Principal | None,
    *,
    is_open: bool,
) -> None:
    """Raise RaakError if this caller may not send this operation in this way. Where the schema is
    open, whoever asks for nothing else needs no token.
    """
    facts = prepared.facts
    if facts.introspects and not is_open:
        raise IntrospectionOff(
            "The schema can't be read in production.",
            hint="Read the SDL of the release, or ask a gateway in development mode.",
        )
    if caller is None and not facts.introspects_only:
        raise token_missing()
    if prepared.plan.is_mutation and not request.may_change:
        raise MutationNotAllowed("A mutation can't be sent by GET.", hint="Send it by POST.")


def token_missing() -> NotAuthenticated:
    """The refusal of who sends no token."""
    return NotAuthenticated(
        "The request carries no token.",
        hint="Send `Authorization: Bearer <token>`; locally: `raak token ROLE`.",
    )


def check_customers(call: CallerRequest) -> None:
    """Raise Forbidden for a customer the caller may not name."""
    for argument, reference in call.customers:
        check_reference(call.caller, f"{argument.place}({argument.name}:)", reference)


def refuse_changes(
    call: CallerRequest,
    schema: GraphQLSchema,
    denied: frozenset[str],
    refusal: Callable[[str], JSON],
) -> list[JSON]:
    """The errors of a mutation some of whose fields are denied: nothing of it is done, since half
    of what was to be changed may be worse.
    """
    facts = call.prepared.facts
    if not call.prepared.plan.is_mutation or denied.isdisjoint(facts.root_coordinates):
        return []
    declared = facts.operation.definition.variable_definitions or ()
    variables = coerce_variables(declared, call.request.variables, schema)
    if variables is None:
        return []
    return [
        refusal(coordinate) | {"path": [key]}
        for key, field in {f.key: f for f in facts.root.fields(variables.coerced)}.items()
        if (coordinate := f"{facts.root_type}.{field.name}") in denied
    ]
