"""Answers operations: knows what is meant, lets through what may pass, executes.

Knows nothing of HTTP, so that any protocol can stand before it. `prepare` looks at the operation,
which it does once for each; `answer` and `subscribe` look at one caller with his variables.
"""

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cached_property, partial
from random import random
from typing import Any, TypeAlias

from gateway.access.audit.audit_log import AuditedOperation, AuditEntry, AuditLog
from gateway.access.authentication.caller_tokens import ServiceTokens
from gateway.access.authorization.authorization import Authorization
from gateway.access.authorization.customer_references import check_reference, references_in
from gateway.access.authorization.roles import Roles
from gateway.access.limits.cost import CostModel, CostWeights, OperationCost, check_cost
from gateway.access.limits.load_shedding import Admission, Workload
from gateway.access.limits.operation_limits import OperationLimits, check_page, check_variables
from gateway.access.limits.rate_limits import caller_key
from gateway.access.limits.registered_operations import OperationRegistry, hash_of
from gateway.pipeline.operation_facts import (
    Argument,
    OperationFacts,
    coerced,
    included_root_fields,
    read_document,
    read_operation,
)
from gateway.supergraph import (
    HeadersFor,
    Plan,
    PlanCache,
    Supergraph,
    Terms,
    Transport,
    Witnessed,
    execute,
    subscribe,
)
from gateway.supergraph.lru import Lru
from gateway.supergraph.override_labels import active_labels
from services.chassis.errors import RaakError
from services.chassis.graphql_http import MutationNotAllowed, told
from services.chassis.principal import NotAuthenticated, Principal
from services.contracts.words import Role

JSON = dict[str, Any]

CustomerReference: TypeAlias = tuple[Argument, Mapping[str, Any]]
"""A customer that is named in a request, and where."""

SubscriptionGuard: TypeAlias = Callable[
    [frozenset[str], AsyncGenerator[JSON, None]], AsyncGenerator[JSON, None]
]
"""The answers of a subscription to some coordinates, for as long as these are served."""

ANONYMOUS = Principal(Role.VISITOR, "anonymous")
"""Who asks for the schema in development without a token; no service is asked for that."""

WITNESS: Mapping[str, str] = {"Customer": "id"}
"""What every customer in an answer is fetched with, so that the audit log can name him."""


class IntrospectionOff(RaakError):
    """A caller asks for the schema in production."""

    code = "INTROSPECTION_OFF"
    status = 403


class OperationNotRegistered(RaakError):
    """A document is not among those that were registered."""

    code = "OPERATION_NOT_REGISTERED"


@dataclass(frozen=True, slots=True)
class GraphQLRequest:
    """One GraphQL request."""

    query: str
    operation_name: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    may_change: bool = True
    """Whether it came by a way on which mutations are allowed."""


@dataclass(frozen=True, slots=True)
class PreparedOperation:
    """An operation that was read, measured and planned: what is kept of it."""

    operation: OperationFacts
    plan: Plan
    price: OperationCost
    work: Workload
    touched: AuditedOperation


@dataclass(frozen=True, eq=False)
class RequestPipeline:
    """The supergraph behind its guards.

    It never changes: `dataclasses.replace(graph, supergraph=…)` is another one, which remembers
    nothing of the first.
    """

    supergraph: Supergraph
    transport: Transport
    service_tokens: ServiceTokens
    roles: Roles
    limits: OperationLimits
    registry: OperationRegistry
    is_open: bool
    """Whether the schema is told, also to callers without a token."""
    trusted_only: bool = False
    """Whether nothing but registered documents is answered."""
    kept: int = 1_000
    """How many operations are remembered."""
    within_s: float | None = None
    """When a request, or an event of a subscription, is answered with what there is."""
    changes_within_s: float | None = None
    """When a mutation is."""
    weights: CostWeights = field(default_factory=CostWeights)
    admission: Admission = field(default_factory=Admission.usual)
    audit: AuditLog | None = None
    """Where it is written down who read or changed which customer."""
    lasting: SubscriptionGuard = lambda coordinates, answers: answers
    labels: frozenset[str] = frozenset()
    """The labels of `@override(label:)` that are switched on."""
    draw: Callable[[], float] = random
    """A number in [0, 1), for the share of requests a label `percent(x)` is active for."""

    # --- an operation, whoever asks it ---

    def prepare(self, asked: GraphQLRequest, caller: Principal | None) -> PreparedOperation:
        """The operation a request means, planned; raises RaakError if it may not be asked at all.

        Whoever needs a token and has none is refused before any work is done for him.
        """
        if caller is None and not self.is_open:
            raise _no_token()
        if caller is not None:
            self.admission.arrive(caller_key(caller))
        self._check_trusted(asked.query)
        if (asked.query, asked.operation_name) in self._known:
            prepared = self.read(asked.query, asked.operation_name)
        else:
            with self.admission.considering(caller_key(caller)):
                prepared = self.read(asked.query, asked.operation_name)
        self._check_schema(prepared.operation, caller)
        if prepared.plan.is_mutation and not asked.may_change:
            raise MutationNotAllowed("A mutation can't be sent by GET.", hint="Send it by POST.")
        return prepared

    def _check_trusted(self, text: str) -> None:
        if self.trusted_only and not self.registry.is_registered(text):
            self.registry.check_read()
            raise OperationNotRegistered(
                "Only registered documents are answered, and this is none of them.",
                hint="Register it: `raak operations publish DIR`.",
            )

    def read(self, text: str, name: str | None) -> PreparedOperation:
        """An operation of a document, read, measured and planned once; raises RaakError."""
        known = self._known.get((text, name))
        if known is None:
            document = read_document(text, self.limits)
            operation = read_operation(document, name, self.supergraph.schema, self.limits)
            price = self._pricing.price(operation.document, operation.definition)
            if price.is_fixed:
                check_cost(price, {}, self.limits)
            work = self.admission.work(operation.root_coordinates)
            plan = self._plans.plan(text, name, document)
            touched = AuditedOperation.by(operation.document, operation.definition, hash_of(text))
            known = PreparedOperation(operation, plan, price, work, touched)
            self._known.put((text, name), known)
        return known

    def _check_schema(self, operation: OperationFacts, caller: Principal | None) -> None:
        if operation.introspects and not self.is_open:
            raise IntrospectionOff(
                "The schema can't be read in production.",
                hint="Read the SDL of the release, or ask a gateway in development mode.",
            )
        if caller is None and not operation.asks_only_the_schema:
            raise _no_token()

    # --- one caller, with his variables ---

    async def answer(
        self, prepared: PreparedOperation, asked: GraphQLRequest, caller: Principal | None
    ) -> JSON:
        """`data` and `errors`; only `errors` when the variables are wrong. Raises RaakError."""
        caller = caller or ANONYMOUS
        meant = self._meant(prepared.operation, asked)
        if self.audit is None:
            return await self._answer(prepared, asked, caller, meant, None)
        visit = self._visit(self.audit, prepared, asked, caller, meant)
        await visit.begin()
        try:
            answer = await self._answer(prepared, asked, caller, meant, visit.see)
        except BaseException as error:  # even a request that was cancelled may have changed things
            visit.cut_off(error)
            raise
        visit.note(answer)
        return answer

    async def _answer(
        self,
        prepared: PreparedOperation,
        asked: GraphQLRequest,
        caller: Principal,
        meant: Sequence[CustomerReference],
        witnessed: Witnessed | None,
    ) -> JSON:
        cost = self._check_request(prepared, asked, caller, meant)
        terms = self._terms(caller, witnessed, prepared.plan)
        if refused := self._refused_changes(prepared, asked, caller, terms.denied):
            return {"data": None, "errors": refused}
        with self.admission.enter(caller_key(caller), prepared.work, cost) as ticket:
            answer = await execute(prepared.plan, asked.variables, self.transport, terms)
            ticket.is_whole = _is_whole(answer)
        return answer

    def subscribe(
        self, prepared: PreparedOperation, asked: GraphQLRequest, caller: Principal | None
    ) -> AsyncGenerator[JSON, None]:
        """One answer for each event, until it is closed (`aclose`). Raises RaakError at once."""
        caller = caller or ANONYMOUS
        meant = self._meant(prepared.operation, asked)
        visit = (
            self._visit(self.audit, prepared, asked, caller, meant)
            if self.audit is not None
            else None
        )
        try:
            cost = self._check_request(prepared, asked, caller, meant)
        except RaakError as refusal:
            if visit:
                visit.cut_off(refusal)
            raise
        terms = self._terms(caller, visit.see if visit else None, prepared.plan)
        answers = subscribe(prepared.plan, asked.variables, self.transport, terms)
        if visit:
            answers = _noted(answers, visit)
        lasting = self.lasting(prepared.operation.root_coordinates, answers)
        return self.admission.hold(caller_key(caller), lasting, cost)

    def _visit(
        self,
        audit: AuditLog,
        prepared: PreparedOperation,
        asked: GraphQLRequest,
        caller: Principal,
        meant: Sequence[CustomerReference],
    ) -> AuditEntry:
        named = [named for _, named in meant]
        if not prepared.operation.texts:
            return AuditEntry(audit, caller, prepared.touched, named)
        details = audit.describe(self._texts(prepared.operation, asked))
        return AuditEntry(audit, caller, prepared.touched, named, details)

    def _texts(
        self, operation: OperationFacts, asked: GraphQLRequest
    ) -> Iterator[tuple[str, str, str]]:
        """The definitions and conditions of a request: field, argument, text."""
        variables = coerced(operation.text_variables, asked.variables, self.supergraph.schema)
        for argument in operation.texts if variables is not None else ():
            if isinstance(text := argument.given(variables), str):
                yield argument.place.partition(".")[2], argument.name, text

    def _meant(
        self, operation: OperationFacts, asked: GraphQLRequest
    ) -> Sequence[CustomerReference]:
        """The customers a request names, as the services get them; none if they will get nothing:
        variables that are not what is declared are left to execution, which says how.

        Raises LimitExceeded.
        """
        check_variables(asked.variables, self.limits)
        if not operation.references:
            return ()
        schema = self.supergraph.schema
        variables = coerced(operation.reference_variables, asked.variables, schema)
        return [
            (reference, named)
            for reference in (operation.references if variables is not None else ())
            for named in references_in(reference.given(variables), reference.type)
        ]

    def _check_request(
        self,
        prepared: PreparedOperation,
        asked: GraphQLRequest,
        caller: Principal,
        meant: Sequence[CustomerReference],
    ) -> int:
        """What the request costs; raises RaakError if it may not be answered."""
        for page in prepared.operation.pages:
            check_page(page.place, page.name, page.given(asked.variables), self.limits)
        cost = check_cost(prepared.price, asked.variables, self.limits)
        for reference, named in meant:
            check_reference(caller, f"{reference.place}({reference.name}:)", named)
        return cost

    def _refused_changes(
        self,
        prepared: PreparedOperation,
        asked: GraphQLRequest,
        caller: Principal,
        denied: frozenset[str],
    ) -> list[JSON]:
        """Why nothing of a mutation is done: half of what was to be changed may be worse."""
        operation = prepared.operation
        if not prepared.plan.is_mutation or denied.isdisjoint(operation.root_coordinates):
            return []
        declared = operation.definition.variable_definitions or ()
        variables = coerced(declared, asked.variables, self.supergraph.schema)
        if variables is None:
            return []
        included = included_root_fields(operation, variables)
        refusal = self._refusal(caller)
        return [
            refusal(coordinate) | {"path": [key]}
            for key, name in included.items()
            if (coordinate := f"{operation.root_type}.{name}") in denied
        ]

    def _refusal(self, caller: Principal) -> Callable[[str], JSON]:
        return lambda coordinate: told(self._authorization.refusal(caller, coordinate))

    def _terms(self, caller: Principal, witnessed: Witnessed | None, plan: Plan) -> Terms:
        return Terms(
            headers=self.headers(caller),
            within_s=self.changes_within_s if plan.is_mutation else self.within_s,
            labels=self._active_labels(),
            denied=self._authorization.denied(caller),
            refusal=self._refusal(caller),
            planning=partial(self.admission.considering, caller_key(caller)),
            witnessed=witnessed,
            max_errors=self.limits.errors,
        )

    def _active_labels(self) -> frozenset[str]:
        return active_labels(self.supergraph.labels, lambda label: self.draw(), self.labels)

    def headers(self, caller: Principal) -> HeadersFor:
        """Asked for anew for every request: a subscription outlives the tokens of a caller."""
        tokens = self.service_tokens
        return lambda subgraph: {"Authorization": tokens.authorization(caller, subgraph)}

    # --- what is remembered ---

    def operations(self) -> list[tuple[str, str | None]]:
        """The operations remembered, by text and name, the one asked last at the end."""
        return self._known.keys()

    @cached_property
    def _known(self) -> Lru[PreparedOperation]:
        return Lru(self.kept)

    @cached_property
    def _plans(self) -> PlanCache:
        return PlanCache(
            self.supergraph, size=self.kept, max_tokens=self.limits.tokens, witness=WITNESS
        )

    @cached_property
    def _pricing(self) -> CostModel:
        return CostModel(self.supergraph.schema, self.supergraph.markings, self.weights)

    @cached_property
    def _authorization(self) -> Authorization:
        return Authorization.over(self.supergraph, self.roles)


def _is_whole(answer: JSON) -> bool:
    """Whether no service failed; what is denied is no failure."""
    errors = answer.get("errors", ())
    return not any("service" in error.get("extensions", ()) for error in errors)


async def _noted(
    answers: AsyncGenerator[JSON, None], visit: AuditEntry
) -> AsyncGenerator[JSON, None]:
    """The same answers, each written down before it is given."""
    async with aclosing(answers):
        async for answer in answers:
            visit.note(answer)
            yield answer


def _no_token() -> NotAuthenticated:
    return NotAuthenticated(
        "The request carries no token.",
        hint="Send `Authorization: Bearer <token>`; locally: `raak token ROLE`.",
    )
