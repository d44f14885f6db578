"""Answers operations: reads and plans them once, lets through what may pass, executes.

Knows nothing of HTTP, so that any protocol can stand before it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graphql import print_ast
from graphql.execution.values import VariableValues
from graphql.type import is_non_null_type

from gateway.access.limits import Limits, check_page
from gateway.access.operations import (
    Operation,
    coerced,
    included_root_fields,
    read_operation,
    without,
)
from gateway.access.ownership import check_own
from gateway.access.roles import Roles
from gateway.access.tokens import ServiceTokens
from gateway.supergraph import HeadersFor, Plan, PlanCache, Supergraph, Transport, execute
from gateway.supergraph.plan import Lru
from services.chassis.errors import RaakError
from services.chassis.principal import NotAuthenticated, Principal
from services.contracts.words import Role

JSON = dict[str, Any]

ANONYMOUS = Principal(Role.VISITOR, "anonymous")
"""Who asks for the schema in development without a token; no service is asked for that."""


class MutationNotAllowed(RaakError):
    """A mutation came by a way that must not change anything."""

    code = "MUTATION_NOT_ALLOWED"
    status = 405


class IntrospectionOff(RaakError):
    """The schema is not told in production."""

    code = "INTROSPECTION_OFF"
    status = 403


@dataclass(frozen=True, slots=True)
class Asked:
    """One GraphQL request."""

    query: str
    operation_name: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    may_change: bool = True
    """Whether it came by a way on which mutations are allowed."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An operation that was read, checked and planned: what is kept of it."""

    operation: Operation
    plan: Plan


@dataclass(frozen=True, slots=True)
class Graph:
    """The supergraph behind its guards."""

    supergraph: Supergraph
    plans: PlanCache
    prepared: Lru[Prepared]
    transport: Transport
    service_tokens: ServiceTokens
    roles: Roles
    limits: Limits
    is_open: bool
    """Whether the schema is told, also to callers without a token."""

    def prepare(self, asked: Asked, caller: Principal | None) -> Prepared:
        """The operation a request means, planned; raises RaakError if it may not be asked at all.

        Whoever needs a token and has none is refused before any work is done for him.
        """
        if caller is None and not self.is_open:
            raise _no_token()
        prepared = self._known(asked.query, asked.operation_name)
        operation = prepared.operation
        if operation.introspects and not self.is_open:
            raise IntrospectionOff(
                "The schema is not told in production.",
                hint="Read the SDL of the release, or ask a gateway in development mode.",
            )
        if caller is None and not operation.asks_only_the_schema:
            raise _no_token()
        if prepared.plan.is_mutation and not asked.may_change:
            raise MutationNotAllowed("A mutation can't be sent by GET.", hint="Send it by POST.")
        return prepared

    def _known(self, text: str, name: str | None) -> Prepared:
        known = self.prepared.get((text, name))
        if known is None:
            operation = read_operation(text, name, self.supergraph.schema, self.limits)
            known = Prepared(operation, self.plans.plan(text, name))
            self.prepared.put((text, name), known)
        return known

    async def answer(self, prepared: Prepared, asked: Asked, caller: Principal | None) -> JSON:
        """`data` and `errors`; only `errors` when the variables are wrong. Raises RaakError."""
        caller = caller or ANONYMOUS
        operation = prepared.operation
        self._check_arguments(operation, asked, caller)
        denied = self._denied(operation, caller)
        if denied:
            return await self._answer_rest(operation, asked, caller, denied)
        return await self._execute(prepared.plan, asked, caller)

    def _check_arguments(self, operation: Operation, asked: Asked, caller: Principal) -> None:
        references = operation.references if caller.own_customer_only else ()
        if not references and not operation.pages:
            return
        variables = self._variables(operation, asked)
        if variables is None:
            return
        for page in operation.pages:
            check_page(page.place, page.name, page.given(variables), self.limits)
        for reference in references:
            place = f"{reference.place}({reference.name}:)"
            check_own(caller, place, reference.given(variables), reference.type)

    def _variables(self, operation: Operation, asked: Asked) -> VariableValues | None:
        return coerced(operation, asked.variables, self.supergraph.schema)

    def _denied(self, operation: Operation, caller: Principal) -> frozenset[str]:
        names = {f.name.value for f in operation.root_fields if not f.name.value.startswith("__")}
        return frozenset(
            name
            for name in names
            if not self.roles.may(caller.role, f"{operation.root_type}.{name}")
        )

    async def _execute(self, plan: Plan, asked: Asked, caller: Principal) -> JSON:
        return await execute(plan, asked.variables, self.transport, headers=self._headers(caller))

    def _headers(self, caller: Principal) -> HeadersFor:
        headers = {"Authorization": self.service_tokens.authorization(caller)}
        return lambda subgraph: headers

    async def _answer_rest(
        self, operation: Operation, asked: Asked, caller: Principal, denied: frozenset[str]
    ) -> JSON:
        """Answer without the root fields the caller may not ask: each is null, and an error.

        Nothing is done where that null would take all data with it, nor of a mutation: half of
        what was to be changed may be worse than nothing.
        """
        variables = self._variables(operation, asked)
        if variables is None:
            return await self._execute(self._rest(operation, denied), asked, caller)
        included = included_root_fields(operation, variables)
        errors = [
            self._denial(operation, caller, key, name)
            for key, name in included.items()
            if name in denied
        ]
        if errors and self._all_or_nothing(operation, denied & set(included.values())):
            return {"data": None, "errors": errors}
        answer = await self._execute(self._rest(operation, denied), asked, caller)
        data = answer.get("data")
        if data is not None:
            answer["data"] = {key: data.get(key) for key in included}
        if errors:
            answer["errors"] = errors + answer.get("errors", [])
        return answer

    def _rest(self, operation: Operation, denied: frozenset[str]) -> Plan:
        return self.plans.plan(print_ast(without(operation, denied)), operation.name)

    def _denial(self, operation: Operation, caller: Principal, key: str, name: str) -> JSON:
        return told(self.roles.refusal(caller.role, f"{operation.root_type}.{name}"), [key])

    def _all_or_nothing(self, operation: Operation, denied: frozenset[str]) -> bool:
        root = self.supergraph.schema.get_root_type(operation.definition.operation)
        assert root is not None, "a valid operation has a root type"
        return operation.kind == "mutation" or any(
            is_non_null_type(root.fields[name].type) for name in denied
        )


def told(error: RaakError, path: list[str] | None = None) -> JSON:
    """An error of ours as an entry of `errors`."""
    extensions = error.as_json()
    entry: JSON = {"message": extensions.pop("problem"), "extensions": extensions}
    return entry | {"path": path} if path else entry


def _no_token() -> NotAuthenticated:
    return NotAuthenticated(
        "The request carries no token.",
        hint="Send `Authorization: Bearer <token>`; locally: `raak token ROLE`.",
    )
