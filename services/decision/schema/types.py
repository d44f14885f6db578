"""The types of the graph that decision owns, and what it adds to customers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Self
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from services.chassis.authorization import DECISIONS, STAFF, for_staff, of_customer
from services.chassis.masking import MASK, Hide, Masking, leave_unmasked
from services.chassis.pagination import (
    PageInfo,
    decode_cursor,
    encode_cursor,
    page_size,
)
from services.chassis.resolvers import copy_fields
from services.decision.domain import catalogue as domain
from services.decision.domain import trace as traces
from services.decision.domain.compiled_catalogue import CompiledCatalogue
from services.decision.domain.identifiers import make_proposition_id, make_tracking_code
from services.decision.domain.input_codec import read_unproved
from services.decision.schema.context import Context
from services.decision.schema.enums import (
    ActionKind,
    ActionStatus,
    Channel,
    OutcomeKind,
    SenderClass,
    Stage,
)
from services.decision.schema.inputs import EventInput, to_json_object
from services.decision.service import explaining, publishing
from services.decision.service.catalogue_cache import CatalogueCache
from services.decision.service.deciding import DecisionRequest, decide_next_best_actions
from services.decision.store import decisions, outcomes
from services.decision.store.customers import CustomerRef
from services.rules.template import hide_values

Info = strawberry.Info[Context, None]


@strawberry.federation.type(shareable=True, description="An amount in minor units of a currency.")
class Money:
    cents: int
    currency: str


CATALOGUE = [["catalogue:read"], ["decisions:explain"]]
"""How an action is chosen is read in the catalogue, and in the explanation of a decision."""


def to_explain(description: str | None = None) -> Any:
    return strawberry.federation.field(
        description=description, requires_scopes=[["decisions:explain"]]
    )


@strawberry.federation.type(
    description="How an action looks on a channel, in one or more placements.",
    policy=STAFF,
    requires_scopes=CATALOGUE,
)
class Treatment:
    key: strawberry.ID
    channel: Channel
    placements: list[str]
    content: JSON = strawberry.field(description="As written: placeholders are not filled in.")


@strawberry.federation.type(
    keys=["key"], description="Something that can be said to a customer: an offer, a message, ..."
)
class Action:
    key: strawberry.ID
    name: str
    kind: ActionKind
    issue: str
    group: str
    status: ActionStatus | None = for_staff(scopes=CATALOGUE)
    valid_from: datetime | None
    valid_until: datetime | None
    value: Money | None = for_staff("When no condition says otherwise.", CATALOGUE)
    lever: float | None = for_staff(scopes=CATALOGUE)
    consent: list[str] | None = for_staff("Purposes that need the customer's consent.", CATALOGUE)
    eligibility: list[str] | None = for_staff(scopes=CATALOGUE)
    applicability: list[str] | None = for_staff(scopes=CATALOGUE)
    suitability: list[str] | None = for_staff(scopes=CATALOGUE)
    treatments: list[Treatment] | None
    catalogue_version: int | None = for_staff(scopes=CATALOGUE)

    @classmethod
    def from_definition(cls, action: domain.Action, catalogue: CompiledCatalogue) -> Self:
        return copy_fields(
            cls,
            action,
            value=Money(cents=action.value_cents, currency=catalogue.catalogue.currency),
            catalogue_version=catalogue.version,
        )

    @classmethod
    def find(cls, key: str, catalogue: CompiledCatalogue | None) -> Self | None:
        position = catalogue.position_of.get(key) if catalogue else None
        if catalogue is None or position is None:
            return None
        return cls.from_definition(catalogue.actions[position], catalogue)

    @classmethod
    def resolve_reference(cls, info: Info, key: strawberry.ID) -> Self | None:
        return cls.find(str(key), info.context.decision_context.catalogue_cache.current)


@strawberry.type(description="A ranked action of a decision, as it is to be shown.")
class Proposition:
    id: strawberry.ID = strawberry.field(description="What an outcome refers to.")
    rank: int
    action: Action
    content: JSON = strawberry.field(description="The treatment, personalised.")
    tracking_code: str = strawberry.field(description="For links: names this proposition.")
    propensity: float | None = to_explain()
    value: Money | None = to_explain()
    score: float | None = to_explain()
    reason: str = strawberry.field(description="One sentence an agent can say aloud.")
    templates: strawberry.Private[tuple[object, str | None]]
    """Content and reason as the catalogue has them, with placeholders."""


@strawberry.type(description="A part of a condition that was not true.")
class FailedCondition:
    condition: str
    actual: JSON = strawberry.field(description='The actual value; "missing" if there was none.')


@strawberry.federation.type(
    description="One action's way through a decision, to the stage it reached last.",
    requires_scopes=[["decisions:explain"]],
)
class ActionTrace:
    action: Action
    stage: Stage
    passed: bool = strawberry.field(description="Whether it was proposed.")
    failed: list[FailedCondition]
    treatment: strawberry.ID | None
    propensity: float | None
    context_weight: float | None
    value: Money | None
    lever: float | None
    price: float | None = strawberry.field(
        description="Shadow price of the budgets and capacities it would use; none are set."
    )
    score: float | None
    rank: int | None
    probability: float | None = strawberry.field(
        description="Of being shown at this rank, exploration included."
    )

    @classmethod
    def from_trace(cls, trace: traces.ActionTrace, catalogue: CompiledCatalogue) -> Self:
        arbitration, value = trace.arbitration, None
        numbers: dict[str, Any] = dict.fromkeys(traces.ArbitrationResult._fields)
        if arbitration:
            numbers = arbitration._asdict()
            value = Money(cents=arbitration.value_cents, currency=catalogue.catalogue.currency)
        del numbers["value_cents"]
        return copy_fields(
            cls,
            trace,
            action=Action.find(trace.action, catalogue),
            value=value,
            price=0.0 if arbitration else None,
            **numbers,
        )


@strawberry.type(description="What became of a proposition.")
class Outcome:
    id: strawberry.ID
    proposition: strawberry.ID
    kind: OutcomeKind
    at: datetime
    recorded_at: datetime
    value: Money | None
    reason: str | None = for_staff()
    sender: SenderClass | None = for_staff("Who reported it.")

    @classmethod
    def from_record(cls, outcome: outcomes.OutcomeRecord) -> Self:
        value = None
        if outcome.value_cents is not None and outcome.currency is not None:
            value = Money(cents=outcome.value_cents, currency=outcome.currency)
        return copy_fields(
            cls,
            outcome,
            id=strawberry.ID(str(outcome.outcome_id)),
            proposition=strawberry.ID(str(make_proposition_id(outcome.decision_id, outcome.rank))),
            kind=OutcomeKind(outcome.kind),
            at=outcome.happened_at,
            value=value,
            sender=SenderClass(outcome.sender),
        )


@strawberry.federation.type(
    keys=["id"],
    description="What was decided for a customer, and why.",
    requires_scopes=DECISIONS,
)
class Decision:
    id: strawberry.ID
    decided_at: datetime
    customer: "Customer | None"
    channel: Channel
    placement: str
    propositions: list[Proposition]
    degraded: str | None = strawberry.field(
        description="Null, or why the answer is less than it could be."
    )
    control_group: str | None = to_explain("The holdout that withheld something, if any.")
    catalogue_version: int | None = for_staff()
    record: strawberry.Private[decisions.DecisionRecord]

    @strawberry.federation.field(
        description="What its conditions may have used that only a browser or an app reported: "
        "`traits.city`, `event.product_viewed`, `context.page`.",
        policy=STAFF,
    )
    def unproved(self) -> list[str] | None:
        return read_unproved(self.record.packed_input)

    @strawberry.field(description="Every action considered, and where it fell out.")
    async def trace(self, info: Info) -> list[ActionTrace] | None:
        catalogue_cache = info.context.decision_context.catalogue_cache
        catalogue = await catalogue_cache.load_version(self.record.catalogue_version)
        if catalogue is None:
            return []
        traces = explaining.explain_decision(catalogue, self.record)
        return [ActionTrace.from_trace(trace, catalogue) for trace in traces]

    @strawberry.field(description="What became of its propositions so far.")
    async def outcomes(self, info: Info) -> list[Outcome]:
        records = await info.context.outcomes.load(self.record.decision_id)
        return [Outcome.from_record(record) for record in records]

    @classmethod
    async def from_record(
        cls, record: decisions.DecisionRecord, catalogue_cache: CatalogueCache
    ) -> Self:
        """The decision, with the actions of the catalogue it was made by."""
        catalogue = await catalogue_cache.load_version(record.catalogue_version)
        return copy_fields(
            cls,
            record,
            id=strawberry.ID(str(record.decision_id)),
            customer=Customer(id=strawberry.ID(str(record.customer_id))),
            channel=Channel(record.channel),
            propositions=_to_propositions(record, catalogue),
            record=record,
        )

    @classmethod
    async def resolve_reference(cls, info: Info, id: strawberry.ID) -> Self | None:
        return await load_decision(info.context, str(id))  # type: ignore[return-value]


async def load_decision(context: Context, id: str) -> Decision | None:
    """A decision, for those who may see it; raises Forbidden."""
    try:
        record = await context.decisions.load(UUID(id))
    except ValueError:
        return None
    if record is None:
        return None
    await context.require_own(CustomerRef(record.customer_id))
    return await Decision.from_record(record, context.decision_context.catalogue_cache)


def _to_propositions(
    record: decisions.DecisionRecord, catalogue: CompiledCatalogue | None
) -> list[Proposition]:
    propositions = []
    for rank, one in enumerate(record.propositions, start=1):
        assert catalogue is not None, "a decision names the version of the catalogue it was made by"
        definition = catalogue.actions[catalogue.position_of[one["action"]]]
        contents = {treatment.key: treatment.content for treatment in definition.treatments}
        proposition_id = make_proposition_id(record.decision_id, rank)
        propositions.append(
            Proposition(
                id=strawberry.ID(str(proposition_id)),
                rank=rank,
                action=Action.from_definition(definition, catalogue),
                content=one["content"],
                tracking_code=make_tracking_code(proposition_id),
                propensity=one["propensity"],
                value=Money(cents=one["value_cents"], currency=one["currency"]),
                score=one["score"],
                reason=one["reason"],
                templates=(contents.get(one["treatment"]), definition.reason),
            )
        )
    return propositions


def _mask_values(masking: Masking, template: object, text: Any) -> Any:
    """A personalised text without the values that identify the customer."""
    return hide_values(template, text, MASK, masking.is_path_personal, masking.mask)


HIDES: Mapping[str, Hide] = {
    "Action": leave_unmasked,
    "CatalogueChange": leave_unmasked,
    "FailedCondition.actual": lambda masking, failed, actual: masking.mask_compared(
        failed.condition, actual
    ),
    "Money": leave_unmasked,
    "PageInfo": leave_unmasked,
    "Proposition.content": lambda masking, proposition, content: _mask_values(
        masking, proposition.templates[0], content
    ),
    "Proposition.reason": lambda masking, proposition, reason: (
        _mask_values(masking, proposition.templates[1], reason)
        if proposition.templates[1]
        else reason
    ),
    "Proposition.trackingCode": leave_unmasked,
    "Treatment": leave_unmasked,
}
"""What callers that may not identify customers get instead of a field that could tell."""


@strawberry.type(description="A decision and where it stands.")
class DecisionEdge:
    cursor: str
    node: Decision


@strawberry.type(description="A page of decisions.")
class DecisionConnection:
    edges: list[DecisionEdge]
    page_info: PageInfo

    @classmethod
    async def from_records(
        cls, records: Sequence[decisions.DecisionRecord], size: int, catalogue_cache: CatalogueCache
    ) -> Self:
        edges = [
            DecisionEdge(
                cursor=encode_cursor(str(record.decision_id)),
                node=await Decision.from_record(record, catalogue_cache),
            )
            for record in records[:size]
        ]
        return cls(edges=edges, page_info=PageInfo.from_edges(edges, len(records) > size))


@strawberry.federation.type(keys=["id"])
class Customer:
    """The profile service owns this entity; here it gains what was and can be decided."""

    id: strawberry.ID

    @classmethod
    def resolve_reference(cls, id: strawberry.ID) -> Self:
        return cls(id=strawberry.ID(str(UUID(id))))

    @property
    def ref(self) -> CustomerRef:
        return CustomerRef(UUID(self.id))

    @strawberry.federation.field(
        description="What to say to this customer next, here and now.",
        requires_scopes=[["decisions:make"]],
        tags=["not-idempotent"],
    )
    async def next_best_actions(
        self,
        info: Info,
        channel: Channel,
        placement: str,
        limit: int = 3,
        context: JSON | None = None,
        event: EventInput | None = None,
    ) -> Decision | None:
        request = build_request(
            self.ref, channel, placement, limit, context, event, is_vouched_for=True
        )
        return await make_decision(info.context, request)

    @of_customer("What was decided for this customer, newest first.", [["decisions:read"]])
    async def decisions(
        self, info: Info, first: int = 20, after: str | None = None
    ) -> DecisionConnection | None:
        await info.context.require_own(self.ref)
        size, (before,) = page_size(first), decode_cursor(after, UUID) or (None,)
        deciding = info.context.decision_context
        async with deciding.database.connection() as connection:
            records = await decisions.load_page(connection, UUID(self.id), before, size + 1)
        return await DecisionConnection.from_records(records, size, deciding.catalogue_cache)

    @of_customer("What would become of an action now. Changes nothing.", [["decisions:explain"]])
    async def why_not(
        self,
        info: Info,
        action: strawberry.ID,
        channel: Channel,
        placement: str,
        context: JSON | None = None,
    ) -> ActionTrace | None:
        await info.context.require_own(self.ref)
        request = build_request(self.ref, channel, placement, 3, context, None, is_vouched_for=True)
        deciding = info.context.decision_context
        trace, catalogue = await explaining.explain_why_not(deciding, request, str(action))
        return ActionTrace.from_trace(trace, catalogue)


def build_request(
    customer: CustomerRef,
    channel: Channel,
    placement: str,
    limit: int,
    context: JSON | None,
    event: EventInput | None,
    *,
    is_vouched_for: bool = False,
) -> DecisionRequest:
    return DecisionRequest(
        customer,
        channel,
        placement,
        limit,
        to_json_object(context),
        event.parse() if event else None,
        is_vouched_for,
    )


async def make_decision(context: Context, request: DecisionRequest) -> Decision:
    """Decide for a caller that may ask; raises Forbidden."""
    await context.require_own(request.customer)
    request = replace(request, sender=context.principal.sender_class)
    record = await decide_next_best_actions(context.decision_context, request)
    return await Decision.from_record(record, context.decision_context.catalogue_cache)


@strawberry.type(description="What a published catalogue changed, by keys of actions.")
class CatalogueChange:
    version: int = strawberry.field(description="The version that decides from now on.")
    added: list[strawberry.ID]
    removed: list[strawberry.ID]
    changed: list[strawberry.ID]
    unchanged: list[strawberry.ID]
    warnings: list[str] = strawberry.field(description="Allowed, but probably a mistake.")

    @classmethod
    def from_publication(cls, publication: publishing.Publication) -> Self:
        return copy_fields(
            cls,
            publication.changes,
            version=publication.catalogue.version,
            warnings=publication.warnings,
        )
