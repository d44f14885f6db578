"""The request pipeline: prepare, authorize, price, admit, execute and audit.

It knows nothing of HTTP, so that any protocol can stand before it. `prepare` looks at the
operation, which is done once for each; `answer` and `subscribe` at one caller with its variables.
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from random import random
from typing import Any, TypeAlias

from gateway.access.audit.audit_log import AuditLog
from gateway.access.authentication.service_tokens import ServiceTokens
from gateway.access.authorization.authorization import Authorization
from gateway.access.authorization.roles import Roles
from gateway.access.limits.cost import CostWeights
from gateway.access.limits.load_shedding import Admission
from gateway.access.limits.operation_limits import OperationLimits
from gateway.access.limits.rate_limits import caller_key
from gateway.access.limits.registered_operations import OperationRegistry, OperationsUnknown
from gateway.pipeline.audit import open_entry, record_answers
from gateway.pipeline.authorize import (
    OperationNotRegistered,
    RegistrationCheck,
    check_customers,
    check_operation,
    refuse_changes,
    token_missing,
)
from gateway.pipeline.caller_request import CallerRequest
from gateway.pipeline.operation_facts import coerce_variables
from gateway.pipeline.prepare import PreparedOperation, PreparedOperationCache
from gateway.pipeline.price import price
from gateway.pipeline.request import GraphQLRequest
from gateway.supergraph import (
    EntityIdsHandler,
    ExecutionOptions,
    HeadersFor,
    QueryPlan,
    Supergraph,
    Transport,
    execute,
    explain_plan,
    print_plan,
    subscribe,
)
from gateway.supergraph.override_labels import active_labels
from services.chassis.errors import RaakError
from services.chassis.graphql_http.response import format_error
from services.chassis.principal import Principal
from services.contracts.enums import Role

JSON = dict[str, Any]

SubscriptionGuard: TypeAlias = Callable[
    [frozenset[str], AsyncGenerator[JSON, None]], AsyncGenerator[JSON, None]
]
"""The answers of a subscription to some coordinates, for as long as these are served."""

ANONYMOUS = Principal(Role.VISITOR, "anonymous")
"""Who asks for the schema in development without a token; no service is asked for that."""


@dataclass(frozen=True, eq=False)
class RequestPipeline:
    """The steps from a GraphQL request to its answer, over one supergraph.

    It never changes: `dataclasses.replace(pipeline, supergraph=…)` is another one, which remembers
    nothing of the first.
    """

    supergraph: Supergraph
    transport: Transport
    service_tokens: ServiceTokens
    roles: Roles
    limits: OperationLimits
    registry: OperationRegistry
    is_open: bool
    """Whether the schema can be read, also by callers without a token."""
    trusted_only: bool = False
    """Whether nothing but registered documents is answered."""
    cache_size: int = 1_000
    """How many operations are remembered."""
    within_s: float | None = None
    """When a request, or an event of a subscription, is answered with what there is."""
    changes_within_s: float | None = None
    """When a mutation is."""
    weights: CostWeights = field(default_factory=CostWeights)
    admission: Admission = field(default_factory=Admission.usual)
    audit: AuditLog | None = None
    """Where it is written down who read or changed which customer."""
    subscription_guard: SubscriptionGuard = lambda coordinates, answers: answers
    labels: frozenset[str] = frozenset()
    """The labels of `@override(label:)` that are switched on."""
    draw: Callable[[], float] = random
    """A number in [0, 1), for the share of requests a label `percent(x)` is active for."""

    # --- an operation, whoever asks for it ---

    def prepare(self, request: GraphQLRequest, caller: Principal | None) -> PreparedOperation:
        """The operation of a request; raises RaakError if it may not be asked for at all.

        Who needs a token and has none is refused before any work is done.
        """
        if caller is None and not self.is_open:
            raise token_missing()
        if caller is not None:
            self.admission.arrive(caller_key(caller))
        if self.trusted_only and not self.registry.is_registered(request.query):
            planning = partial(self.admission.charge_planning, caller_key(caller))
            self._registration.check(request.query, planning)
        prepared = self.operations.find(request.query, request.operation_name)
        if prepared is None:
            with self.admission.charge_planning(caller_key(caller)):
                prepared = self.operations.get(request.query, request.operation_name)
        check_operation(prepared, request, caller, is_open=self.is_open)
        return prepared

    def refusal_in_production(self, text: str) -> str | None:
        """The code a gateway refuses a document with that answers registered ones only, if this
        one answers others too; None while nobody can tell what is registered.
        """
        if not self.trusted_only:
            try:
                self._registration.check(text, nullcontext)
            except OperationNotRegistered as refusal:
                return refusal.code
            except OperationsUnknown:
                pass
        return None

    # --- one caller, with its variables ---

    async def answer(
        self,
        prepared: PreparedOperation,
        request: GraphQLRequest,
        caller: Principal | None,
        on_entity_ids: EntityIdsHandler | None = None,
    ) -> JSON:
        """`data` and `errors`; only `errors` when the variables are wrong. Raises RaakError.

        `on_entity_ids` is told which customers are in the data.
        """
        call = self._read(prepared, request, caller)
        if self.audit is None:
            return await self._answer(call, on_entity_ids)
        entry = open_entry(self.audit, call, self.supergraph.schema)
        await entry.begin()
        handlers = [entry.add_customers, *([on_entity_ids] if on_entity_ids else [])]
        try:
            answer = await self._answer(call, partial(_tell_all, handlers))
        except BaseException as error:  # even a request that was cancelled may have changed things
            entry.record_failure(error)
            raise
        entry.record_answer(answer)
        return answer

    async def _answer(self, call: CallerRequest, on_entity_ids: EntityIdsHandler | None) -> JSON:
        cost = self._check(call)
        options = self._options(call.prepared.plan, call.caller, on_entity_ids)
        schema, denied = self.supergraph.schema, options.denied
        if refused := refuse_changes(call, schema, denied, options.denied_error):
            return {"data": None, "errors": refused}
        plan, variables = call.prepared.plan, call.request.variables
        with self.admission.enter(caller_key(call.caller), call.prepared.workload, cost) as ticket:
            answer = await execute(plan, variables, self.transport, options)
            ticket.is_whole = _is_whole(answer)
        return answer

    def subscribe(
        self, prepared: PreparedOperation, request: GraphQLRequest, caller: Principal | None
    ) -> AsyncGenerator[JSON, None]:
        """One answer for each event, until it is closed (`aclose`). Raises RaakError at once."""
        call = self._read(prepared, request, caller)
        entry = open_entry(self.audit, call, self.supergraph.schema) if self.audit else None
        try:
            cost = self._check(call)
        except RaakError as refusal:
            if entry:
                entry.record_failure(refusal)
            raise
        options = self._options(prepared.plan, call.caller, entry.add_customers if entry else None)
        answers = subscribe(prepared.plan, request.variables, self.transport, options)
        if entry:
            answers = record_answers(answers, entry)
        guarded = self.subscription_guard(prepared.facts.root_coordinates, answers)
        return self.admission.hold(caller_key(call.caller), guarded, cost)

    def may_have(self, prepared: PreparedOperation, caller: Principal) -> bool:
        """Whether nothing that an operation asks for is denied to a caller."""
        return self._authorization.denied(caller).isdisjoint(prepared.plan.coordinates)

    def find_customers(
        self, prepared: PreparedOperation, request: GraphQLRequest, caller: Principal
    ) -> list[Mapping[str, Any]]:
        """The `CustomerRef`s in the arguments of a request; raises RaakError."""
        return [reference for _, reference in self._read(prepared, request, caller).customers]

    def explain(
        self, prepared: PreparedOperation, request: GraphQLRequest, caller: Principal
    ) -> JSON:
        """The query plan that a request of this caller is answered by, as routers expose it."""
        plan = prepared.plan
        declared = plan.operation.variable_definitions or ()
        variables = coerce_variables(declared, request.variables, self.supergraph.schema)
        options = self._options(plan, caller, None)
        variant = plan.variant(
            variables.coerced if variables else {},
            labels=options.labels,
            denied=options.denied,
            planning=options.planning,
        )
        explained = explain_plan(self.supergraph, variant)
        return {"object": explained, "text": print_plan(explained)}

    # --- the steps, with what they need ---

    def _read(
        self, prepared: PreparedOperation, request: GraphQLRequest, caller: Principal | None
    ) -> CallerRequest:
        schema, limits = self.supergraph.schema, self.limits
        return CallerRequest.read(prepared, request, caller or ANONYMOUS, schema, limits)

    def _check(self, call: CallerRequest) -> int:
        """The cost of a request; raises RaakError if it may not be answered."""
        cost = price(call, self.limits)
        check_customers(call)
        return cost

    def _options(
        self, plan: QueryPlan, caller: Principal, on_entity_ids: EntityIdsHandler | None
    ) -> ExecutionOptions:
        return ExecutionOptions(
            headers=self.headers(caller),
            within_s=self.changes_within_s if plan.is_mutation else self.within_s,
            labels=active_labels(self.supergraph.labels, lambda label: self.draw(), self.labels),
            denied=self._authorization.denied(caller),
            denied_error=lambda coordinate: format_error(
                self._authorization.refusal(caller, coordinate)
            ),
            planning=partial(self.admission.charge_planning, caller_key(caller)),
            on_entity_ids=on_entity_ids,
            max_errors=self.limits.errors,
        )

    def headers(self, caller: Principal) -> HeadersFor:
        """Called for every request to a subgraph: a subscription outlives a caller's tokens."""
        tokens = self.service_tokens
        return lambda subgraph: {"Authorization": tokens.authorization(caller, subgraph)}

    # --- what is remembered ---

    @cached_property
    def operations(self) -> PreparedOperationCache:
        """The operations that were prepared over this supergraph."""
        return PreparedOperationCache(
            self.supergraph,
            self.limits,
            self.weights,
            self.admission.classify,
            size=self.cache_size,
        )

    @cached_property
    def _registration(self) -> RegistrationCheck:
        return RegistrationCheck(self.registry, self.limits, self.cache_size)

    @cached_property
    def _authorization(self) -> Authorization:
        return Authorization.over(self.supergraph, self.roles)


def _tell_all(handlers: Sequence[EntityIdsHandler], type_name: str, ids: set[str]) -> None:
    for handler in handlers:
        handler(type_name, ids)


def _is_whole(answer: JSON) -> bool:
    """Whether no service failed; what is denied is no failure."""
    errors = answer.get("errors", ())
    return not any("service" in error.get("extensions", ()) for error in errors)
