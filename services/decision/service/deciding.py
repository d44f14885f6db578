"""Next best actions: load the customer, decide, store the decision, and only then answer."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from prometheus_client import Counter, Histogram

from services.chassis import outbox
from services.chassis.clock import Clock
from services.chassis.database import Connection, Database
from services.chassis.errors import Unavailable, UnknownCustomer, nearest
from services.chassis.ids import new_id
from services.contracts.decision import DecisionRecorded, Money, RankedAction
from services.contracts.enums import Channel, SenderClass
from services.contracts.trust import RESERVED, ServerEvents
from services.decision.domain.compiled_catalogue import CompiledCatalogue
from services.decision.domain.decision import ProposedAction, decide
from services.decision.domain.decision_input import DecisionInput
from services.decision.domain.identifiers import (
    MOST_RANKS,
    make_decision_id,
    make_proposition_id,
    make_tracking_code,
)
from services.decision.domain.input_codec import pack_input
from services.decision.service.batch_queue import BatchQueue
from services.decision.service.catalogue_cache import CatalogueCache
from services.decision.service.customers import (
    NO_DECLARATION,
    LoadedCustomer,
    describe_customer_ref,
)
from services.decision.service.errors import (
    DecisionNotDurable,
    InvalidDecisionRequest,
    UnknownPlacement,
    UntrustedEvent,
)
from services.decision.settings import DecisionSettings
from services.decision.store import catalogues, customers, decisions
from services.decision.store.customers import CustomerRef
from services.decision.store.decisions import DecisionRecord
from services.rules import Facts, observe

DECISIONS = Counter(
    "raak_decisions", "Decisions answered, by why they are degraded", ["channel", "degraded"]
)
BATCH_SIZE = Histogram(
    "raak_decisions_per_commit",
    "Decisions that shared a commit",
    buckets=(1, 2, 5, 10, 20, 50, 200),
)

LARGEST_JSON = 16_384
"""Bytes of `context`, and of `event`, in a request."""
LONGEST_NAME = 200

NO_CATALOGUE = "No catalogue has been published yet."
NO_SNAPSHOT = "Nothing is known of this customer here yet, so conditions about them do not hold."
TOO_LATE = (
    "What is known of this customer could not be read in time, so they are treated as a stranger."
)

DEGRADATIONS = {
    None: "",
    NO_CATALOGUE: "no catalogue",
    NO_SNAPSHOT: "customer unknown",
    TOO_LATE: "customer not read in time",
}
"""What a metric calls the reasons why a decision knew less than it should; none is empty."""


class CurrentEvent(NamedTuple):
    name: str
    properties: Mapping[str, Any]
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class DecisionRequest:
    customer: CustomerRef
    channel: Channel
    placement: str
    limit: int = 3
    context: Mapping[str, Any] = field(default_factory=dict)
    event: CurrentEvent | None = None
    is_vouched_for: bool = False
    """Whether another service says that the customer exists."""
    sender: SenderClass = SenderClass.VISITOR
    """Who sent it, and so how far its context and event are trusted."""


@dataclass(frozen=True, slots=True)
class DecisionContext:
    """What deciding needs; a replica has one as long as it runs."""

    settings: DecisionSettings
    clock: Clock
    database: Database
    catalogue_cache: CatalogueCache
    reader: BatchQueue[CustomerRef, LoadedCustomer | None]
    writer: "BatchQueue[PendingDecision, None]"
    server_events: ServerEvents


class PendingDecision(NamedTuple):
    decision: DecisionRecord
    withheld: Sequence[str]
    sender: SenderClass
    unproved: Sequence[str] = ()


async def decide_next_best_actions(
    context: DecisionContext, request: DecisionRequest
) -> DecisionRecord:
    """Decide what to propose, and answer when the decision is durable.

    Raises:
        InvalidDecisionRequest, UntrustedEvent, UnknownPlacement, UnknownCustomer: The request is
            wrong.
        DecisionNotDurable, DecisionsOverloaded: The database is away or too slow; nothing was
            decided.
    """
    now = context.clock()
    catalogue = check_request(context, request, now)
    customer = await load_customer_in_time(context, request)
    pending = _decide(context, request, catalogue, customer, now)
    await _write(context, pending)
    DECISIONS.labels(request.channel.value, DEGRADATIONS[pending.decision.degraded]).inc()
    return pending.decision


def check_request(
    context: DecisionContext, request: DecisionRequest, now: datetime
) -> CompiledCatalogue | None:
    """Check a request; returns the catalogue to decide by, None if none was published yet."""
    _check_size(request)
    _check_moment(request.event, now, context.settings.clock_tolerance_s)
    _check_trust(context.server_events, request)
    catalogue = context.catalogue_cache.current
    if catalogue is not None:
        _check_placement(catalogue, request)
    return catalogue


def _check_size(request: DecisionRequest) -> None:
    if not 1 <= request.limit <= MOST_RANKS:
        raise InvalidDecisionRequest(
            f"limit is {request.limit!r}.", hint=f"Ask for 1 to {MOST_RANKS} propositions."
        )
    event = request.event
    if event is not None and not 0 < len(event.name) <= LONGEST_NAME:
        raise InvalidDecisionRequest(
            f"The event's name has {len(event.name)} characters.",
            hint=f"It has 1 to {LONGEST_NAME}.",
        )
    for name, value in (("context", request.context), ("event", event and event.properties)):
        _check_json(name, value)


def _check_json(name: str, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, Mapping):
        raise InvalidDecisionRequest(f"{name} is {value!r}.", hint="Pass a JSON object.")
    try:
        size = len(orjson.dumps(value))
    except (TypeError, ValueError) as error:
        raise InvalidDecisionRequest(
            f"{name} cannot be stored: {error}.",
            hint="Pass plain JSON, numbers of at most 64 bits.",
        ) from None
    if size > LARGEST_JSON:
        raise InvalidDecisionRequest(
            f"{name} has {size} bytes.", hint=f"Send at most {LARGEST_JSON} with a request."
        )


def _check_moment(event: CurrentEvent | None, now: datetime, tolerance_s: float) -> None:
    if event and event.at and event.at > now + timedelta(seconds=tolerance_s):
        raise InvalidDecisionRequest(
            f"The event is dated {event.at.isoformat()}, in the future.",
            hint="Leave `at` out for what happens now, and mend the caller's clock.",
        )


def _check_trust(server_events: ServerEvents, request: DecisionRequest) -> None:
    event = request.event
    if event is None or server_events.may_send(request.sender, event.name):
        return
    if event.name.startswith(RESERVED):
        raise UntrustedEvent(
            f"The event {event.name!r} is recorded by recordOutcome only.",
            hint="Report the outcome: the next decision knows it.",
        )
    raise UntrustedEvent(
        f"The event {event.name!r} is accepted from servers only.",
        hint="Send it from your server with an API key; the next decision knows it.",
    )


def _check_placement(catalogue: CompiledCatalogue, request: DecisionRequest) -> None:
    if (request.channel, request.placement) in catalogue.candidates:
        return
    channels = [channel for channel, key in catalogue.candidates if key == request.placement]
    if channels:
        raise UnknownPlacement(
            f"Placement {request.placement!r} is not on channel {request.channel}.",
            hint=f"It is on {', '.join(sorted(channels))}.",
        )
    on_channel = [key for channel, key in catalogue.candidates if channel is request.channel]
    raise UnknownPlacement(
        f"There is no placement {request.placement!r}.",
        hint=nearest(request.placement, on_channel or {key for _, key in catalogue.candidates}),
    )


async def load_customer_in_time(
    context: DecisionContext, request: DecisionRequest
) -> LoadedCustomer:
    """Load the customer; if that takes too long, decide as for a stranger."""
    try:
        async with asyncio.timeout(context.settings.answer_within_ms / 1000):
            return await load_customer(context, request)
    except (TimeoutError, Unavailable):
        return LoadedCustomer(
            request.customer.customer_id or new_id(),
            is_known=False,
            declaration_version=NO_DECLARATION,
            degraded=TOO_LATE,
        )


async def load_customer(context: DecisionContext, request: DecisionRequest) -> LoadedCustomer:
    """Load the customer, however long it takes.

    Raises:
        UnknownCustomer: No customer has this id or identity.
        Unavailable: The database cannot be read.
    """
    ref = request.customer
    customer = await context.reader.submit(ref)
    is_new_visitor = ref.type is not None and ref.customer_id is not None
    if customer is None or not (customer.is_known or is_new_visitor or request.is_vouched_for):
        raise UnknownCustomer(
            f"No customer is known by {describe_customer_ref(ref)}.",
            hint="Identify the customer first, or ask with the anonymous_id of the visitor.",
        )
    if customer.snapshot_version is None and not is_new_visitor:
        return replace(customer, declaration_version=NO_DECLARATION, degraded=NO_SNAPSHOT)
    return customer


def _decide(
    context: DecisionContext,
    request: DecisionRequest,
    catalogue: CompiledCatalogue | None,
    customer: LoadedCustomer,
    now: datetime,
) -> PendingDecision:
    decision = DecisionRecord(
        decision_id=make_decision_id(new_id()),
        customer_id=customer.customer_id,
        decided_for=customer.customer_id,
        identity_type=request.customer.type,
        identity_value=request.customer.value,
        decided_at=now,
        channel=request.channel.value,
        placement=request.placement,
        snapshot_version=customer.snapshot_version,
        degraded=customer.degraded,
    )
    if catalogue is None:
        return PendingDecision(replace(decision, degraded=NO_CATALOGUE), (), request.sender)
    model = context.catalogue_cache.get_model()
    decision_input = build_decision_input(catalogue, request, customer, now)
    result = decide(catalogue, model.propensities, decision_input)
    unproved = _find_unproved(catalogue, request, customer)
    decision = replace(
        decision,
        catalogue_version=catalogue.version,
        observations=model.observations,
        control_group=result.control_group,
        propositions=[_to_json(p, catalogue.catalogue.currency) for p in result.propositions],
        packed_input=pack_input(
            catalogue, model.propensities, decision_input, result, unproved, request.sender
        ),
    )
    return PendingDecision(decision, result.withheld, request.sender, unproved)


def _find_unproved(
    catalogue: CompiledCatalogue, request: DecisionRequest, customer: LoadedCustomer
) -> list[str]:
    """What conditions may use that only a browser or an app reported."""
    needs, event = catalogue.rules.needs, request.event
    traits = needs.traits & customer.traits.keys() & {*customer.unproved_traits}
    unproved = [f"traits.{name}" for name in sorted(traits)]
    if request.sender.is_trusted:
        return unproved
    unproved += [f"context.{name}" for name in sorted(needs.context & request.context.keys())]
    if event and ("event" in needs.roots or catalogue.series.match(event.name, event.properties)):
        unproved.append(f"event.{event.name}")
    return unproved


def build_decision_input(
    catalogue: CompiledCatalogue,
    request: DecisionRequest,
    customer: LoadedCustomer,
    now: datetime,
) -> DecisionInput:
    """The customer at the placement of the request; its event counts as having happened."""
    answered = customer.declaration_version
    facts = Facts(
        now=now,
        traits=customer.traits,
        segments=frozenset(customer.segments),
        consent=customer.consents,
        context=request.context,
        journeys=customer.journeys,
        history=catalogue.declaration.mask_unanswered(customer.series, answered),
        zone=catalogue.catalogue.time_zone,
    )
    if request.event is not None:
        _apply_event(facts, request.event, catalogue)
    return DecisionInput(
        customer.customer_id,
        request.channel,
        request.placement,
        request.limit,
        facts,
        customer.contacts,
    )


def _apply_event(facts: Facts, event: CurrentEvent, catalogue: CompiledCatalogue) -> None:
    at = min(event.at or facts.now, facts.now)
    facts.event = {"name": event.name, "at": at, "properties": dict(event.properties)}
    changed = observe(facts.history, catalogue.series, event.name, event.properties, at, facts.now)
    facts.history = {**facts.history, **changed}


def _to_json(proposed: ProposedAction, currency: str) -> dict[str, Any]:
    return {
        "action": proposed.action.key,
        "treatment": proposed.treatment.key,
        "content": proposed.content,
        "propensity": proposed.arbitration.propensity,
        "value_cents": proposed.arbitration.value_cents,
        "currency": currency,
        "score": proposed.arbitration.score,
        "reason": proposed.reason,
    }


async def _write(context: DecisionContext, pending: PendingDecision) -> None:
    try:
        async with asyncio.timeout(context.settings.commit_within_ms / 1000):
            await context.writer.submit(pending)
    except TimeoutError:
        raise DecisionNotDurable(
            f"The decision was not durable within {context.settings.commit_within_ms} ms.",
            hint="Ask again: nothing was proposed and nothing is counted.",
        ) from None


class DecisionWriter:
    """Work for a batch queue: commits decisions in one transaction, with their events."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._offered_on: dict[str, date] = {}
        """The last day each action was noted as offered."""

    async def __call__(
        self, connection: Connection, batch: Sequence[PendingDecision]
    ) -> Sequence[None]:
        async with connection.transaction():
            await customers.block_merges(connection, [one.decision.decided_for for one in batch])
            await decisions.insert(connection, [pending.decision for pending in batch])
            await outbox.publish(connection, [build_event(pending) for pending in batch])
            offered = self._find_newly_offered(batch)
            for day, actions in offered.items():
                await catalogues.note_offered(connection, actions, day)
        self._offered_on.update(
            (action, day) for day, actions in offered.items() for action in actions
        )
        self._database.notify_commit()
        BATCH_SIZE.observe(len(batch))
        return [None] * len(batch)

    def _find_newly_offered(self, batch: Sequence[PendingDecision]) -> dict[date, set[str]]:
        """The actions not yet noted as offered on a day, by day."""
        actions: dict[date, set[str]] = {}
        for pending in batch:
            day = pending.decision.decided_at.date()
            for proposition in pending.decision.propositions:
                if self._offered_on.get(proposition["action"]) != day:
                    actions.setdefault(day, set()).add(proposition["action"])
        return actions


def build_event(pending: PendingDecision) -> DecisionRecorded:
    """The event of a decision, always with the same id."""
    decision = pending.decision
    return DecisionRecorded(
        event_id=decision.decision_id,
        customer_id=decision.customer_id,
        occurred_at=decision.decided_at,
        decision_id=decision.decision_id,
        channel=decision.channel,
        placement=decision.placement,
        propositions=tuple(
            _to_ranked_action(make_proposition_id(decision.decision_id, rank), rank, proposition)
            for rank, proposition in enumerate(decision.propositions, start=1)
        ),
        withheld=tuple(pending.withheld),
        control_group=decision.control_group,
        degraded=decision.degraded,
        sender=pending.sender.value,
        unproved=tuple(pending.unproved),
    )


def _to_ranked_action(
    proposition_id: UUID, rank: int, proposition: Mapping[str, Any]
) -> RankedAction:
    return RankedAction(
        proposition_id=proposition_id,
        rank=rank,
        action=proposition["action"],
        treatment=proposition["treatment"],
        tracking_code=make_tracking_code(proposition_id),
        propensity=proposition["propensity"],
        value=Money(cents=proposition["value_cents"], currency=proposition["currency"]),
        score=proposition["score"],
    )
