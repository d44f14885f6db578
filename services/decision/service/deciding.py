"""Next best actions: read, decide, write down, and only then answer."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from prometheus_client import Counter, Histogram

from services.chassis import outbox
from services.chassis.clock import Clock
from services.chassis.database import Connection, Database
from services.chassis.errors import Unavailable, nearest
from services.chassis.ids import new_id
from services.contracts.decision import DecisionMade, Money, RankedAction
from services.contracts.trust import RESERVED, ServerEvents
from services.contracts.words import Channel, SenderClass
from services.decision.domain.compiled_catalogue import Compiled
from services.decision.domain.decision import Proposed, Verdict, decide
from services.decision.domain.decision_input import Situation
from services.decision.domain.identifiers import (
    MOST_RANKS,
    decision_id,
    proposition_id,
    tracking_code,
)
from services.decision.domain.input_codec import packed
from services.decision.service.batch_queue import Batches
from services.decision.service.catalogue_cache import Knowledge
from services.decision.service.customers import NOTHING, Customer, shown
from services.decision.service.errors import (
    InvalidRequest,
    NotDurable,
    ServerEvent,
    UnknownCustomer,
    UnknownPlacement,
)
from services.decision.settings import DecisionSettings
from services.decision.store import catalogues, customers, decisions
from services.decision.store.customers import Asked
from services.decision.store.decisions import Decision
from services.rules import Facts, observe

DECISIONS = Counter("raak_decisions", "Decisions answered", ["channel", "degraded"])
TOGETHER = Histogram(
    "raak_decisions_per_commit",
    "Decisions that shared a commit",
    buckets=(1, 2, 5, 10, 20, 50, 200),
)

LARGEST_SITUATION = 16_384
"""Bytes of `context` and of `event` in a request, as JSON."""
LONGEST_NAME = 200

NO_CATALOGUE = "No catalogue has been published yet."
NO_SNAPSHOT = "Nothing is known of this customer here yet, so conditions about him do not hold."
TOO_LATE = "What is known of this customer could not be read in time, so he is met as a stranger."


class EventNow(NamedTuple):
    """What the customer is doing at this moment, told with the request."""

    name: str
    properties: Mapping[str, Any]
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A request for next best actions."""

    asked: Asked
    channel: Channel
    placement: str
    limit: int = 3
    context: Mapping[str, Any] = field(default_factory=dict)
    event: EventNow | None = None
    vouched_for: bool = False
    """Whether the customer exists by another service's word."""
    sender: SenderClass = SenderClass.VISITOR
    """Whose word its context and event are."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What it takes to decide: held by a replica as long as it runs."""

    settings: DecisionSettings
    clock: Clock
    database: Database
    knowledge: Knowledge
    reader: Batches[Asked, Customer]
    writer: "Batches[Made, None]"
    server_events: ServerEvents


class Met(NamedTuple):
    """A customer as he was met for a request, and what was missing."""

    customer: Customer
    customer_id: UUID
    degraded: str | None


class Made(NamedTuple):
    """A decision on its way to the database."""

    decision: Decision
    withheld: Sequence[str]
    sender: SenderClass
    unproved: Sequence[str] = ()


async def next_best_actions(desk: Desk, request: Request) -> Decision:
    """Decide what to show, and answer when the decision is durable.

    Raises:
        InvalidRequest, UnknownPlacement, UnknownCustomer: The request asks for what is not there.
        NotDurable, Overloaded: The database is away or too slow; nothing was decided.
    """
    now = desk.clock()
    catalogue = checked(desk, request, now)
    met = await meet(desk, request)
    made = _decided(desk, request, catalogue, met, now)
    await _write(desk, made)
    DECISIONS.labels(request.channel.value, str(made.decision.degraded is not None).lower()).inc()
    return made.decision


def checked(desk: Desk, request: Request, now: datetime) -> Compiled | None:
    """The catalogue to decide by, if the request can be answered from it."""
    _check_size(request)
    _check_moment(request.event, now, desk.settings.clock_tolerance_s)
    _check_belief(desk.server_events, request)
    catalogue = desk.knowledge.current
    if catalogue is not None:
        _check_placement(catalogue, request)
    return catalogue


def _check_size(request: Request) -> None:
    if not 1 <= request.limit <= MOST_RANKS:
        raise InvalidRequest(
            f"limit is {request.limit!r}.", hint=f"Ask for 1 to {MOST_RANKS} propositions."
        )
    event = request.event
    if event is not None and not 0 < len(event.name) <= LONGEST_NAME:
        raise InvalidRequest(
            f"The event's name has {len(event.name)} characters.",
            hint=f"It has 1 to {LONGEST_NAME}.",
        )
    for name, value in (("context", request.context), ("event", event and event.properties)):
        _check_json(name, value)


def _check_json(name: str, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, Mapping):
        raise InvalidRequest(f"{name} is {value!r}.", hint="Pass a JSON object.")
    try:
        size = len(orjson.dumps(value))
    except (TypeError, ValueError) as error:
        raise InvalidRequest(
            f"{name} cannot be kept: {error}.", hint="Pass plain JSON, numbers of at most 64 bits."
        ) from None
    if size > LARGEST_SITUATION:
        raise InvalidRequest(
            f"{name} has {size} bytes.", hint=f"Send at most {LARGEST_SITUATION} with a request."
        )


def _check_moment(event: EventNow | None, now: datetime, tolerance_s: float) -> None:
    if event and event.at and event.at > now + timedelta(seconds=tolerance_s):
        raise InvalidRequest(
            f"The event is dated {event.at.isoformat()}, in the future.",
            hint="Leave `at` out for what happens now, and mend the caller's clock.",
        )


def _check_belief(server_events: ServerEvents, request: Request) -> None:
    """Raise ServerEvent for an event that the sender's word is not enough for."""
    event = request.event
    if event is None or server_events.may_send(request.sender, event.name):
        return
    if event.name.startswith(RESERVED):
        raise ServerEvent(
            f"The event {event.name!r} is recorded by recordOutcome only.",
            hint="Report the outcome: the next decision knows it.",
        )
    raise ServerEvent(
        f"The event {event.name!r} is believed from servers only.",
        hint="Send it from your server with an API key; the next decision knows it.",
    )


def _check_placement(catalogue: Compiled, request: Request) -> None:
    channels = catalogue.placements.get(request.placement)
    if channels is None:
        here = [key for key, on in catalogue.placements.items() if request.channel in on]
        raise UnknownPlacement(
            f"There is no placement {request.placement!r}.",
            hint=nearest(request.placement, here or catalogue.placements),
        )
    if request.channel not in channels:
        raise UnknownPlacement(
            f"Placement {request.placement!r} is not on channel {request.channel}.",
            hint=f"It is on {', '.join(sorted(channels))}.",
        )


async def meet(desk: Desk, request: Request) -> Met:
    """Read the customer; if that takes too long, meet them as a stranger."""
    try:
        async with asyncio.timeout(desk.settings.answer_within_ms / 1000):
            return await look_up(desk, request)
    except (TimeoutError, Unavailable):
        stranger = Customer(request.asked.customer_id, known=False, answered=NOTHING)
        return Met(stranger, request.asked.customer_id or new_id(), TOO_LATE)


async def look_up(desk: Desk, request: Request) -> Met:
    """Read the customer, however long it takes; raises Unavailable if they cannot be read."""
    customer = await desk.reader.submit(request.asked)
    new_visitor = request.asked.type is not None and request.asked.customer_id is not None
    if customer.customer_id is None or not (customer.known or new_visitor or request.vouched_for):
        raise UnknownCustomer(shown(request.asked))
    expected = customer.known or request.vouched_for
    if expected and customer.snapshot_version is None and not new_visitor:
        return Met(replace(customer, answered=NOTHING), customer.customer_id, NO_SNAPSHOT)
    return Met(customer, customer.customer_id, None)


def _decided(
    desk: Desk, request: Request, catalogue: Compiled | None, met: Met, now: datetime
) -> Made:
    decision = Decision(
        decision_id=decision_id(new_id()),
        customer_id=met.customer_id,
        decided_for=met.customer_id,
        identity=(request.asked.type, request.asked.value),
        decided_at=now,
        channel=request.channel.value,
        placement=request.placement,
        catalogue_version=0,
        snapshot_version=met.customer.snapshot_version,
        observations=0,
        degraded=met.degraded,
        control_group=None,
        propositions=[],
        record=b"",
    )
    if catalogue is None:
        return Made(replace(decision, degraded=NO_CATALOGUE), (), request.sender)
    model = desk.knowledge.model()
    at = situation(catalogue, request, met.customer, met.customer_id, now)
    verdict = decide(catalogue, model.propensities, at)
    unproved = _unproved(catalogue, request, met.customer)
    decision = replace(
        decision,
        catalogue_version=catalogue.version,
        observations=model.observations,
        control_group=verdict.control_group,
        propositions=_propositions(verdict, catalogue.catalogue.currency),
        record=packed(catalogue, model.propensities, at, verdict, unproved, request.sender),
    )
    return Made(decision, verdict.withheld, request.sender, unproved)


def _unproved(catalogue: Compiled, request: Request, customer: Customer) -> list[str]:
    """What conditions may look at that only the word of a browser or an app stands for."""
    needs, event = catalogue.rules.needs, request.event
    traits = needs.traits & customer.traits.keys() & {*customer.unproved_traits}
    unproved = [f"traits.{name}" for name in sorted(traits)]
    if request.sender.is_trusted:
        return unproved
    unproved += [f"context.{name}" for name in sorted(needs.context & request.context.keys())]
    if event and ("event" in needs.roots or catalogue.series.match(event.name, event.properties)):
        unproved.append(f"event.{event.name}")
    return unproved


def situation(
    catalogue: Compiled,
    request: Request,
    customer: Customer,
    customer_id: UUID,
    now: datetime,
) -> Situation:
    """The customer in the situation of the request; its event counts as having happened."""
    facts = customer.facts(now)
    facts.history = catalogue.declaration.mask_unanswered(facts.history, customer.answered)
    facts.context = request.context
    facts.zone = catalogue.catalogue.time_zone
    if request.event is not None:
        _lay_over(facts, request.event, catalogue)
    return Situation(
        customer_id, request.channel, request.placement, request.limit, facts, customer.contacts
    )


def _lay_over(facts: Facts, event: EventNow, catalogue: Compiled) -> None:
    at = min(event.at or facts.now, facts.now)
    facts.event = {"name": event.name, "at": at, "properties": dict(event.properties)}
    changed = observe(facts.history, catalogue.series, event.name, event.properties, at, facts.now)
    facts.history = {**facts.history, **changed}


def _propositions(verdict: Verdict, currency: str) -> list[dict[str, Any]]:
    return [_kept(proposed, currency) for proposed in verdict.proposed]


def _kept(proposed: Proposed, currency: str) -> dict[str, Any]:
    return {
        "action": proposed.action.key,
        "treatment": proposed.treatment.key,
        "content": proposed.content,
        "propensity": proposed.scored.propensity,
        "value_cents": proposed.scored.value_cents,
        "currency": currency,
        "score": proposed.scored.score,
        "reason": proposed.reason,
    }


async def _write(desk: Desk, made: Made) -> None:
    try:
        async with asyncio.timeout(desk.settings.commit_within_ms / 1000):
            await desk.writer.submit(made)
    except TimeoutError:
        raise NotDurable(f"not within {desk.settings.commit_within_ms} ms") from None


class Writing:
    """Work for batches: commits decisions together, with their events."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._noted: dict[str, Any] = {}

    async def __call__(self, connection: Connection, batch: Sequence[Made]) -> Sequence[None]:
        """One transaction for all of them."""
        async with connection.transaction():
            await customers.hold_off_merges(connection, [one.decision.decided_for for one in batch])
            await decisions.insert(connection, [made.decision for made in batch])
            await outbox.publish(connection, [event_of(made) for made in batch])
            offered = self._newly_offered(batch)
            for day, actions in offered.items():
                await catalogues.note_offered(connection, actions, day)
        self._noted.update((action, day) for day, those in offered.items() for action in those)
        self._database.committed()
        TOGETHER.observe(len(batch))
        return [None] * len(batch)

    def _newly_offered(self, batch: Sequence[Made]) -> dict[Any, set[str]]:
        """Actions not yet noted as offered on the day they were."""
        found: dict[Any, set[str]] = {}
        for made in batch:
            day = made.decision.decided_at.date()
            for proposition in made.decision.propositions:
                if self._noted.get(proposition["action"]) != day:
                    found.setdefault(day, set()).add(proposition["action"])
        return found


def event_of(made: Made) -> DecisionMade:
    """A decision as it is told, always under the same id."""
    decision = made.decision
    return DecisionMade(
        event_id=decision.decision_id,
        customer_id=decision.customer_id,
        occurred_at=decision.decided_at,
        decision_id=decision.decision_id,
        channel=decision.channel,
        placement=decision.placement,
        propositions=tuple(
            _ranked(decision.decision_id, rank, kept)
            for rank, kept in enumerate(decision.propositions, start=1)
        ),
        withheld=tuple(made.withheld),
        control_group=decision.control_group,
        degraded=decision.degraded,
        sender=made.sender.value,
        unproved=tuple(made.unproved),
    )


def _ranked(id: UUID, rank: int, kept: Mapping[str, Any]) -> RankedAction:
    proposition = proposition_id(id, rank)
    return RankedAction(
        proposition_id=proposition,
        rank=rank,
        action=kept["action"],
        treatment=kept["treatment"],
        tracking_code=tracking_code(proposition),
        propensity=kept["propensity"],
        value=Money(cents=kept["value_cents"], currency=kept["currency"]),
        score=kept["score"],
    )
