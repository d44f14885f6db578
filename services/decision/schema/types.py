"""The types of the graph that decision owns, and what it adds to customers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Self
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from services.chassis.authorization import DECISIONS, STAFF, for_staff, of_customer
from services.chassis.masking import MASK, Hide, Masking, as_written
from services.chassis.pagination import (
    InvalidPage,
    PageInfo,
    decode_cursor,
    encode_cursor,
    page_size,
)
from services.decision.domain import catalogue as domain
from services.decision.domain import trace as traces
from services.decision.domain.compiled_catalogue import Compiled
from services.decision.domain.identifiers import proposition_id, tracking_code
from services.decision.domain.input_codec import unproved
from services.decision.schema.context import Context
from services.decision.schema.inputs import EventInput, json_object
from services.decision.schema.words import (
    ActionKind,
    ActionStatus,
    Channel,
    OutcomeKind,
    SenderClass,
    Stage,
)
from services.decision.service import explaining, publishing
from services.decision.service.catalogue_cache import Knowledge
from services.decision.service.deciding import Request, next_best_actions
from services.decision.store import decisions, outcomes
from services.decision.store.customers import Asked
from services.rules.template import hide_values

Info = strawberry.Info[Context, None]


@strawberry.federation.type(shareable=True, description="An amount in minor units of a currency.")
class Money:
    cents: int
    currency: str


CATALOGUE = [["catalogue:read"], ["decisions:explain"]]
"""How an action is chosen is read in the catalogue, and in the explanation of a decision."""


def to_explain(description: str | None = None) -> Any:
    """A field that tells why a decision is what it is."""
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
    def of(cls, action: domain.Action, catalogue: Compiled) -> Self:
        """As a version of the catalogue has it."""
        return cls(
            key=strawberry.ID(action.key),
            name=action.name,
            kind=action.kind,
            issue=action.issue,
            group=action.group,
            status=action.status,
            valid_from=action.valid_from,
            valid_until=action.valid_until,
            value=Money(cents=action.value_cents, currency=catalogue.catalogue.currency),
            lever=action.lever,
            consent=list(action.consent),
            eligibility=list(action.eligibility),
            applicability=list(action.applicability),
            suitability=list(action.suitability),
            treatments=[
                Treatment(
                    key=strawberry.ID(treatment.key),
                    channel=treatment.channel,
                    placements=list(treatment.placements),
                    content=JSON(treatment.content),
                )
                for treatment in action.treatments
            ],
            catalogue_version=catalogue.version,
        )

    @classmethod
    def named(cls, key: str, catalogue: Compiled | None) -> Self | None:
        """The action of a key, if the catalogue has it."""
        position = catalogue.position_of.get(key) if catalogue else None
        if catalogue is None or position is None:
            return None
        return cls.of(catalogue.actions[position], catalogue)

    @classmethod
    def resolve_reference(cls, info: Info, key: strawberry.ID) -> Self | None:
        """Build the entity from the gateway's key, which arrives as plain JSON."""
        return cls.named(str(key), info.context.desk.knowledge.current)


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
    written: strawberry.Private[tuple[object, str | None]]
    """Content and reason as the catalogue has them."""


@strawberry.type(description="A part of a condition that was not true.")
class FailedCondition:
    condition: str
    seen: JSON = strawberry.field(description='The value there was; "missing" if there was none.')


@strawberry.federation.type(
    description="One action's way through a decision, to the stage it reached last.",
    requires_scopes=[["decisions:explain"]],
)
class ActionTrace:
    action: Action
    stage: Stage
    passed: bool = strawberry.field(description="Whether it was shown.")
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
        description="That it is shown at this rank, exploration included."
    )

    @classmethod
    def of(cls, trace: traces.ActionTrace, catalogue: Compiled) -> Self:
        """As the graph shows it."""
        scored = trace.scored
        currency = catalogue.catalogue.currency
        return cls(
            action=Action.of(catalogue.actions[catalogue.position_of[trace.action]], catalogue),
            stage=trace.stage,
            passed=trace.passed,
            failed=[FailedCondition(condition=f.condition, seen=f.seen) for f in trace.failed],
            treatment=strawberry.ID(scored.treatment) if scored else None,
            propensity=scored.propensity if scored else None,
            context_weight=scored.context_weight if scored else None,
            value=Money(cents=scored.value_cents, currency=currency) if scored else None,
            lever=scored.lever if scored else None,
            price=0.0 if scored else None,
            score=scored.score if scored else None,
            rank=scored.rank if scored else None,
            probability=scored.probability if scored else None,
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
    def of(cls, outcome: outcomes.Outcome) -> Self:
        """As the graph shows it."""
        value = None
        if outcome.value_cents is not None and outcome.currency is not None:
            value = Money(cents=outcome.value_cents, currency=outcome.currency)
        return cls(
            id=strawberry.ID(str(outcome.outcome_id)),
            proposition=strawberry.ID(str(proposition_id(outcome.decision_id, outcome.rank))),
            kind=OutcomeKind(outcome.kind),
            at=outcome.happened_at,
            recorded_at=outcome.recorded_at,
            value=value,
            reason=outcome.reason,
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
    kept: strawberry.Private[decisions.Decision]

    @strawberry.federation.field(
        description="What its conditions may have looked at that only the word of a browser or an "
        "app stands for: `traits.city`, `event.product_viewed`, `context.page`.",
        policy=STAFF,
    )
    def unproved(self) -> list[str] | None:
        """Empty where all was said by servers and staff."""
        return unproved(self.kept.record)

    @strawberry.field(description="Every action considered, and where it fell out.")
    async def trace(self, info: Info) -> list[ActionTrace] | None:
        """Told from what the decision kept, by the catalogue it was made by."""
        knowledge = info.context.desk.knowledge
        catalogue = await knowledge.at(self.kept.catalogue_version)
        if catalogue is None:
            return []
        found = await explaining.trace(knowledge, self.kept)
        return [ActionTrace.of(trace, catalogue) for trace in found]

    @strawberry.field(description="What became of its propositions so far.")
    async def outcomes(self, info: Info) -> list[Outcome]:
        """In the order recorded."""
        found = await info.context.outcomes.load(self.kept.decision_id)
        return [Outcome.of(outcome) for outcome in found]

    @classmethod
    async def of(cls, kept: decisions.Decision, knowledge: Knowledge) -> Self:
        """As the graph shows it, with the actions of the catalogue it was made by."""
        catalogue = await knowledge.at(kept.catalogue_version)
        return cls(
            id=strawberry.ID(str(kept.decision_id)),
            decided_at=kept.decided_at,
            customer=Customer(id=strawberry.ID(str(kept.customer_id))),
            channel=Channel(kept.channel),
            placement=kept.placement,
            propositions=_propositions(kept, catalogue),
            degraded=kept.degraded,
            control_group=kept.control_group,
            catalogue_version=kept.catalogue_version,
            kept=kept,
        )

    @classmethod
    async def resolve_reference(cls, info: Info, id: strawberry.ID) -> Self | None:
        """Build the entity from the gateway's key, which arrives as plain JSON."""
        return await decision_of(info.context, str(id))  # type: ignore[return-value]


async def decision_of(context: Context, id: str) -> Decision | None:
    """The decision of an id, for those who may see it; raises Forbidden."""
    try:
        kept = await context.decisions.load(UUID(id))
    except ValueError:
        return None
    if kept is None:
        return None
    await context.require_own(Asked(kept.customer_id))
    return await Decision.of(kept, context.desk.knowledge)


def _propositions(kept: decisions.Decision, catalogue: Compiled | None) -> list[Proposition]:
    found = []
    for rank, one in enumerate(kept.propositions, start=1):
        action = Action.named(one["action"], catalogue)
        assert action is not None, "a decision keeps the version of the catalogue it was made by"
        proposition = proposition_id(kept.decision_id, rank)
        found.append(
            Proposition(
                id=strawberry.ID(str(proposition)),
                rank=rank,
                action=action,
                content=one["content"],
                tracking_code=tracking_code(proposition),
                propensity=one["propensity"],
                value=Money(cents=one["value_cents"], currency=one["currency"]),
                score=one["score"],
                reason=one["reason"],
                written=_written(catalogue, one["action"], one["treatment"]),
            )
        )
    return found


def _written(catalogue: Compiled | None, action: str, treatment: str) -> tuple[object, str | None]:
    if catalogue is None:
        return None, None
    of = catalogue.actions[catalogue.position_of[action]]
    contents = (one.content for one in of.treatments if one.key == treatment)
    return next(contents, None), of.reason


def _filled(masking: Masking, written: object, filled: Any) -> Any:
    """What was filled in with values of a customer, without those that tell who that is."""
    return hide_values(written, filled, MASK, masking.is_path_personal, masking.value)


HIDES: Mapping[str, Hide] = {
    "Action": as_written,
    "CatalogueChange": as_written,
    "FailedCondition.seen": lambda masking, failed, seen: masking.mask_compared(
        failed.condition, seen
    ),
    "Money": as_written,
    "PageInfo": as_written,
    "Proposition.content": lambda masking, made, content: _filled(
        masking, made.written[0], content
    ),
    "Proposition.reason": lambda masking, made, reason: (
        _filled(masking, made.written[1], reason) if made.written[1] else reason
    ),
    "Proposition.trackingCode": as_written,
    "Treatment": as_written,
}
"""How what may tell who somebody is is shown to who may not know; all else plainly."""


@strawberry.type(description="A decision and where it stands.")
class DecisionEdge:
    cursor: str
    node: Decision


@strawberry.type(description="A page of decisions.")
class DecisionConnection:
    edges: list[DecisionEdge]
    page_info: PageInfo

    @classmethod
    async def of(cls, found: Sequence[decisions.Decision], size: int, knowledge: Knowledge) -> Self:
        """The page of `size` decisions; one more tells that another page follows."""
        edges = [
            DecisionEdge(
                cursor=encode_cursor(str(one.decision_id)), node=await Decision.of(one, knowledge)
            )
            for one in found[:size]
        ]
        end = edges[-1].cursor if edges else None
        return cls(edges=edges, page_info=PageInfo(has_next_page=len(found) > size, end_cursor=end))


@strawberry.federation.type(keys=["id"])
class Customer:
    """The profile service owns this entity; here it gains what was and can be decided."""

    id: strawberry.ID

    @classmethod
    def resolve_reference(cls, id: strawberry.ID) -> Self:
        """Build the entity from the gateway's key, which arrives as plain JSON."""
        return cls(id=strawberry.ID(str(UUID(id))))

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
        """Durable when it is answered."""
        request = self._request(channel, placement, limit, context, event)
        return await decided(info.context, request)

    @of_customer("What was decided for this customer, newest first.", [["decisions:read"]])
    async def decisions(
        self, info: Info, first: int = 20, after: str | None = None
    ) -> DecisionConnection | None:
        """A page of them."""
        await info.context.require_own(Asked(UUID(self.id)))
        size, before = page_size(first), _place(after)
        desk = info.context.desk
        async with desk.database.connection() as connection:
            found = await decisions.page(connection, UUID(self.id), before, size + 1)
        return await DecisionConnection.of(found, size, desk.knowledge)

    @of_customer("What would become of an action now. Changes nothing.", [["decisions:explain"]])
    async def why_not(
        self,
        info: Info,
        action: strawberry.ID,
        channel: Channel,
        placement: str,
        context: JSON | None = None,
    ) -> ActionTrace | None:
        """The trace of one action in a decision that is not made."""
        await info.context.require_own(Asked(UUID(self.id)))
        request = self._request(channel, placement, 3, context, None)
        why = await explaining.why_not(info.context.desk, request, str(action))
        return ActionTrace.of(why.trace, why.catalogue)

    def _request(
        self,
        channel: Channel,
        placement: str,
        limit: int,
        context: JSON | None,
        event: EventInput | None,
    ) -> Request:
        asked = Asked(UUID(self.id))
        said = event.read() if event else None
        return Request(
            asked, channel, placement, limit, json_object(context), said, vouched_for=True
        )


def _place(after: str | None) -> UUID | None:
    """The decision a cursor holds; raises InvalidPage for one we did not make."""
    key = decode_cursor(after, 1)
    try:
        return UUID(key[0]) if key else None
    except (ValueError, TypeError, AttributeError):
        raise InvalidPage(
            f"after is {after!r}, which is not a cursor of decisions.",
            hint="Pass the endCursor of the page before, unchanged.",
        ) from None


async def decided(context: Context, request: Request) -> Decision:
    """Decide for a caller who may ask; raises Forbidden."""
    await context.require_own(request.asked)
    request = replace(request, sender=context.principal.sender_class)
    kept = await next_best_actions(context.desk, request)
    return await Decision.of(kept, context.desk.knowledge)


@strawberry.type(description="What a published catalogue changed, by keys of actions.")
class CatalogueChange:
    version: int = strawberry.field(description="The version that decides from now on.")
    added: list[strawberry.ID]
    removed: list[strawberry.ID]
    changed: list[strawberry.ID]
    unchanged: list[strawberry.ID]
    warnings: list[str] = strawberry.field(description="Allowed, but probably not meant.")

    @classmethod
    def of(cls, publication: publishing.Publication) -> Self:
        """As the graph shows it."""
        found = publication.changes
        return cls(
            version=publication.catalogue.version,
            added=[strawberry.ID(key) for key in found.added],
            removed=[strawberry.ID(key) for key in found.removed],
            changed=[strawberry.ID(key) for key in found.changed],
            unchanged=[strawberry.ID(key) for key in found.unchanged],
            warnings=publication.warnings,
        )
