"""The types of the graph that decision owns, and what it adds to customers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Self
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from services.chassis.authorization import DECISIONS, STAFF, customer_field, staff_field
from services.chassis.masking import MASK, Hide, Masking, leave_unmasked
from services.chassis.pagination import (
    After,
    First,
    PageInfo,
    decode_cursor,
    encode_cursor,
    page_size,
)
from services.chassis.resolvers import copy_fields
from services.chassis.schema import Money
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
from services.decision.schema.inputs import (
    EventInput,
    RequestChannel,
    RequestContext,
    RequestEvent,
    RequestLimit,
    RequestPlacement,
    to_json_object,
)
from services.decision.service import explaining, publishing
from services.decision.service.catalogue_cache import CatalogueCache
from services.decision.service.deciding import DecisionRequest, decide_next_best_actions
from services.decision.store import decisions, outcomes
from services.decision.store.customers import CustomerRef
from services.rules.template import hide_values

Info = strawberry.Info[Context, None]


CATALOGUE = [["catalogue:read"], ["decisions:explain"]]
"""How an action is chosen is read in the catalogue, and in the explanation of a decision."""


def to_explain() -> Any:
    return strawberry.federation.field(requires_scopes=[["decisions:explain"]])


@strawberry.federation.type(policy=STAFF, requires_scopes=CATALOGUE)
class Treatment:
    """How an action looks on a channel, in one or more placements."""

    key: strawberry.ID
    """Its lasting name, unique within its action."""
    channel: Channel
    """The one channel it is made for."""
    placements: list[str]
    """Keys of the spots on the channel where it may appear."""
    content: JSON
    """Any JSON object, as written: placeholders are not filled in."""


@strawberry.federation.type(keys=["key"])
class Action:
    """Something that can be said to a customer: an offer, a message, ..."""

    key: strawberry.ID
    """Its lasting name: outcomes and counts belong to it through all versions of the catalogue."""
    name: str
    """For people, one line."""
    kind: ActionKind
    """What it is for."""
    issue: str
    """The business question it belongs to, such as retention; wider than `group`. Policies can
    speak of it.
    """
    group: str
    """The group it belongs to within its issue. Policies can speak of it."""
    status: ActionStatus | None = staff_field(CATALOGUE)
    """Whether it takes part in decisions now."""
    valid_from: datetime | None
    """The first moment it can be proposed; null if it always could."""
    valid_until: datetime | None
    """From this moment on it can't be proposed any more; null if it has no end."""
    value: Money | None = staff_field(CATALOGUE)
    """What an acceptance is worth (margin) when no condition says otherwise."""
    lever: float | None = staff_field(CATALOGUE)
    """The business's own weight in the score, from 0 to 1,000; 1 is neutral."""
    consent: list[str] | None = staff_field(CATALOGUE)
    """Purposes that need the customer's consent; empty if none does."""
    eligibility: list[str] | None = staff_field(CATALOGUE)
    """Conditions that must all be true: whether they may have it at all."""
    applicability: list[str] | None = staff_field(CATALOGUE)
    """Conditions that must all be true: whether they can get it now."""
    suitability: list[str] | None = staff_field(CATALOGUE)
    """Conditions that must all be true: whether it is good for them."""
    treatments: list[Treatment] | None
    """How it looks where; without one for the channel and placement it is not considered."""
    catalogue_version: int | None = staff_field(CATALOGUE)
    """The version of the catalogue that all this is read from."""

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


@strawberry.type
class Proposition:
    """A ranked action of a decision, as it is to be shown."""

    id: strawberry.ID
    """What an outcome refers to, opaque; another one in each decision."""
    rank: int
    """1 is the best."""
    action: Action
    """What is proposed, in the version of the catalogue the decision was made by."""
    content: JSON
    """The treatment's JSON object with the customer's values filled in. Escape it if you show it as
    HTML.
    """
    tracking_code: str
    """26 letters and digits that name this proposition in a link, an e-mail or on paper. Whoever
    sees what became of it reports that with the code: `recordOutcome(input: {proposition: …})`.
    """
    propensity: float | None = to_explain()
    """The chance (0 to 1) that they accept it when it is presented."""
    value: Money | None = to_explain()
    """What an acceptance is worth, with the conditions that apply to them."""
    score: float | None = to_explain()
    """Propensity x context weight x value in cents x lever; higher ranks first."""
    reason: str
    """One sentence an agent can say aloud."""
    templates: strawberry.Private[tuple[object, str | None]]
    """Content and reason as the catalogue has them, with placeholders."""


@strawberry.type
class FailedCondition:
    """A part of a condition that was not true."""

    condition: str
    """The part in the condition language, or the policy, purpose or group that held the action
    back.
    """
    actual: JSON
    """The actual value; "missing" if there was none."""


@strawberry.federation.type(requires_scopes=[["decisions:explain"]])
class ActionTrace:
    """One action's way through a decision, to the stage it reached last."""

    action: Action
    """The action as the decision's version of the catalogue has it."""
    stage: Stage
    """The last stage it reached. If it did not pass, it fell out here."""
    passed: bool
    """Whether it was proposed."""
    failed: list[FailedCondition]
    """What made it fall out; empty if it reached arbitration."""
    treatment: strawberry.ID | None
    """The treatment with the best score, by key; null before arbitration, as are the numbers below.
    """
    propensity: float | None
    """The chance (0 to 1) that they accept it when it is presented."""
    context_weight: float | None
    """The product of the weights whose condition held; 1 is neutral."""
    value: Money | None
    """What an acceptance is worth, with the conditions that apply to them."""
    lever: float | None
    """The business's own weight in the score; 1 is neutral."""
    price: float | None
    """Shadow price of the budgets and capacities it would use; 0, since none are set."""
    score: float | None
    """Propensity x context weight x value in cents x lever; higher ranks first."""
    rank: int | None
    """1 is the best; beyond the limit of the request it was not proposed."""
    probability: float | None
    """The chance (0 to 1) of being shown at this rank, exploration included."""

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


@strawberry.type
class Outcome:
    """How a customer reacted to a proposition, as it was reported."""

    id: strawberry.ID
    """Opaque; the same when the same outcome is reported again."""
    proposition: strawberry.ID
    """The `id` of the proposition they reacted to."""
    kind: OutcomeKind
    """The reaction."""
    at: datetime
    """When they reacted, by the reporter's account."""
    recorded_at: datetime
    """When it reached us."""
    value: Money | None
    """What it was worth; null if the reporter did not say."""
    reason: str | None = staff_field()
    """What an agent noted; null if nothing."""
    sender: SenderClass | None = staff_field()
    """Who reported it; a conversion comes from servers and staff only."""

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


@strawberry.federation.type(keys=["id"], requires_scopes=DECISIONS)
class Decision:
    """What was decided for a customer at one moment, and why. It never changes; only outcomes are
    added.
    """

    id: strawberry.ID
    """Opaque; stored before you read it, so that it can be asked for from now on."""
    decided_at: datetime
    """The moment all conditions were judged at."""
    customer: "Customer | None"
    """Whom it was made for; after a merge the customer that remains."""
    channel: Channel
    """Where the propositions are to be shown."""
    placement: str
    """The key of the spot on the channel they are for."""
    propositions: list[Proposition]
    """What to show, best first; empty if nothing may be said to them now."""
    degraded: str | None
    """Null, or in a sentence why the answer is less than it could be: the customer was treated as a
    stranger.
    """
    control_group: str | None = to_explain()
    """The key of the control group that something was withheld for; null if nothing was."""
    catalogue_version: int | None = staff_field()
    """The version of the catalogue it was made by; 0 before any was published."""
    record: strawberry.Private[decisions.DecisionRecord]

    @strawberry.federation.field(policy=STAFF)
    def unproved(self) -> list[str] | None:
        """What its conditions may have used that only a browser or an app reported: `traits.city`,
        `event.product_viewed`, `context.page`.
        """
        return read_unproved(self.record.packed_input)

    @strawberry.field
    async def trace(self, info: Info) -> list[ActionTrace] | None:
        """Every action considered: what reached arbitration, best first, then what fell out."""
        catalogue_cache = info.context.decision_context.catalogue_cache
        catalogue = await catalogue_cache.load_version(self.record.catalogue_version)
        if catalogue is None:
            return []
        traces = explaining.explain_decision(catalogue, self.record)
        return [ActionTrace.from_trace(trace, catalogue) for trace in traces]

    @strawberry.field
    async def outcomes(self, info: Info) -> list[Outcome]:
        """What became of its propositions so far; empty if nothing was reported."""
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


@strawberry.type
class DecisionEdge:
    """A decision and where it stands in the list."""

    cursor: str
    """Opaque; as `after` it asks for the decisions made before this one."""
    node: Decision
    """What was decided then."""


@strawberry.type
class DecisionConnection:
    """A page of a customer's decisions, newest first."""

    edges: list[DecisionEdge]
    """At most as many as `first`; empty if none (more) was made."""
    page_info: PageInfo
    """Whether older decisions follow, and from where."""

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
    id: strawberry.ID

    @classmethod
    def resolve_reference(cls, id: strawberry.ID) -> Self:
        return cls(id=strawberry.ID(str(UUID(id))))

    @property
    def ref(self) -> CustomerRef:
        return CustomerRef(UUID(self.id))

    @strawberry.federation.field(requires_scopes=[["decisions:make"]], tags=["not-idempotent"])
    async def next_best_actions(
        self,
        info: Info,
        channel: RequestChannel,
        placement: RequestPlacement,
        limit: RequestLimit = 3,
        context: RequestContext = None,
        event: RequestEvent = None,
    ) -> Decision | None:
        """What to say to this customer next, here and now. Makes and stores a decision each time it
        is selected.
        """
        request = build_request(
            self.ref, channel, placement, limit, context, event, is_vouched_for=True
        )
        return await make_decision(info.context, request)

    @customer_field([["decisions:read"]])
    async def decisions(
        self, info: Info, first: First = 20, after: After = None
    ) -> DecisionConnection | None:
        """What was decided for this customer, newest first."""
        await info.context.require_own(self.ref)
        size, (before,) = page_size(first), decode_cursor(after, UUID) or (None,)
        deciding = info.context.decision_context
        async with deciding.database.connection() as connection:
            records = await decisions.load_page(connection, UUID(self.id), before, size + 1)
        return await DecisionConnection.from_records(records, size, deciding.catalogue_cache)

    @customer_field([["decisions:explain"]])
    async def why_not(
        self,
        info: Info,
        action: strawberry.ID,
        channel: RequestChannel,
        placement: RequestPlacement,
        context: RequestContext = None,
    ) -> ActionTrace | None:
        """What would become of an action now, with the values that decide. Changes and records
        nothing.

        Args:
            action: The key of the action to explain; an unknown one is `DECISION_UNKNOWN_ACTION`.
        """
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


@strawberry.type
class CatalogueChange:
    """What a published catalogue changed, by keys of actions in its order."""

    version: int
    """The version that decides from now on; the same as before if the text was."""
    added: list[strawberry.ID]
    """Actions it has and the version before had not."""
    removed: list[strawberry.ID]
    """Actions the version before had; they are proposed no more."""
    changed: list[strawberry.ID]
    """Actions that are written otherwise than before."""
    unchanged: list[strawberry.ID]
    """Actions that are as they were."""
    warnings: list[str]
    """What is allowed, but probably a mistake, in sentences; empty if nothing was noticed."""

    @classmethod
    def from_publication(cls, publication: publishing.Publication) -> Self:
        return copy_fields(
            cls,
            publication.changes,
            version=publication.catalogue.version,
            warnings=publication.warnings,
        )
