"""A generated history of events, and what measurement should hold once it has handled all of it."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from services.chassis.database import Connection
from services.contracts.base import Event
from services.contracts.decision import DecisionRecorded, OutcomeRecorded
from services.contracts.enums import OutcomeKind
from services.contracts.journey import MessageDue
from services.contracts.profile import CustomersMerged, EventRecorded
from services.measurement.domain.conversions import Conversions
from services.measurement.handlers import subscriptions
from tests.unit.measurement import facts

HANDLERS = subscriptions(Conversions(frozenset({"order_completed"}), "EUR"))
SPRING = {"campaign": {"name": "spring"}}
CURRENCIES = (("EUR", 100), ("USD", 250))


@dataclass
class Story:
    """Events, and who became whom in the end."""

    events: list[Event] = field(default_factory=list)
    became: dict[UUID, UUID] = field(default_factory=dict)

    def owner(self, customer: UUID) -> UUID:
        """Who a customer is after all merges."""
        while customer in self.became:
            customer = self.became[customer]
        return customer


def generate_story(rng: random.Random) -> Story:
    """Eight customers, of whom five become another; decisions, reactions, messages and visits."""
    story = Story()
    customers = [uuid4() for _ in range(8)]
    for source, target in ((0, 1), (1, 2), (3, 2), (4, 5), (6, 5)):
        story.became[customers[source]] = customers[target]
        story.events.append(facts.merge(customers[source], customers[target]))
    for customer in customers:
        for _ in range(rng.randrange(1, 5)):
            story.events += _episode(rng, story, customer)
    return story


def _episode(rng: random.Random, story: Story, customer: UUID) -> Iterable[Event]:
    at = facts.NOON + timedelta(hours=rng.randrange(96))
    actions = rng.sample(["vinyl", "cassette", "concert"], rng.randrange(4))
    channel, placement = rng.choice(["WEB", "APP"]), rng.choice(["home", "cart"])
    decision_event = facts.decision(customer, *actions, at=at, channel=channel, placement=placement)
    yield decision_event
    for _ in range(rng.randrange(6) if actions else 0):
        currency, cents = rng.choice(CURRENCIES)
        yield facts.outcome(
            decision_event,
            rng.choice(list(OutcomeKind)).value,
            rng.randrange(len(actions)) + 1,
            at=at + timedelta(hours=rng.randrange(30)),
            cents=rng.choice([None, cents]),
            currency=currency,
            customer=rng.choice([customer, story.owner(customer)]),
        )
    yield facts.message(customer, at)
    yield facts.event(customer, rng.choice(["order_completed", "page_viewed"]), at=at,
                      properties={"total": 5}, context=rng.choice([{}, SPRING]))  # fmt: skip


def shuffle_lists(rng: random.Random, events: Sequence[Event]) -> list[list[Event]]:
    """The events in lists of one fact, in any order, some of them several times."""
    stream = [event for event in events for _ in range(rng.choice([1, 1, 2, 3]))]
    rng.shuffle(stream)
    lists = []
    while stream:
        size = rng.randrange(1, 12)
        chunk, stream = stream[:size], stream[size:]
        for fact in {type(event) for event in chunk}:
            lists.append([event for event in chunk if type(event) is fact])
    return lists


async def handle(connection: Connection, events: Sequence[Event]) -> None:
    """Handle a list of events of one fact."""
    await HANDLERS[type(events[0])](connection, events)


def counts_expected(story: Story) -> Counter[tuple[Any, ...]]:
    """(day, action, treatment, channel, placement, thing) to how many propositions, by hand."""
    counts: Counter[tuple[Any, ...]] = Counter()
    outcomes = [event for event in story.events if isinstance(event, OutcomeRecorded)]
    for decision_event in story.events:
        if not isinstance(decision_event, DecisionRecorded):
            continue
        for ranked in decision_event.propositions:
            reactions = {o.kind for o in outcomes if o.proposition_id == ranked.proposition_id}
            things = {"decided"} | {kind.lower() for kind in reactions}
            if reactions:
                things.add("presented")
            day = decision_event.occurred_at.date()
            for thing in things:
                counts[
                    day,
                    ranked.action,
                    ranked.treatment,
                    decision_event.channel,
                    decision_event.placement,
                    thing,
                ] += 1
    return counts


def values_expected(story: Story) -> Counter[tuple[Any, ...]]:
    """(day, action, kind, currency) to cents, by hand."""
    days = {
        e.decision_id: e.occurred_at.date() for e in story.events if isinstance(e, DecisionRecorded)
    }
    values: Counter[tuple[Any, ...]] = Counter()
    for event in story.events:
        if isinstance(event, OutcomeRecorded) and event.value:
            day = days[event.decision_id]
            values[day, event.action, event.kind, event.value.currency] += event.value.cents
    return values


def touchpoints_expected(story: Story) -> Counter[tuple[UUID, str, UUID]]:
    """(customer in the end, kind, customer at the time) to how many touchpoints, by hand."""
    found: Counter[tuple[UUID, str, UUID]] = Counter()
    for event in story.events:
        for kind in _kinds(event):
            assert event.customer_id
            found[story.owner(event.customer_id), kind, event.customer_id] += 1
    return found


def _kinds(event: Event) -> Iterable[str]:
    if isinstance(event, DecisionRecorded):
        yield "DECISION"
    elif isinstance(event, OutcomeRecorded):
        yield "OUTCOME"
    elif isinstance(event, MessageDue):
        yield "MESSAGE"
    elif isinstance(event, EventRecorded):
        if event.context:
            yield "CAMPAIGN_VISIT"
        if event.name == "order_completed":
            yield "CONVERSION"
    else:
        assert isinstance(event, CustomersMerged)


async def counts_found(connection: Connection) -> Counter[tuple[Any, ...]]:
    """The daily counts, in the shape of `counts_expected`."""
    found: Counter[tuple[Any, ...]] = Counter()
    for row in await connection.fetch("SELECT * FROM daily_count"):
        values = list(row.items())
        for thing, count in values[5:]:
            if count:
                found[(*(value for _, value in values[:5]), thing)] = count
    return found


async def values_found(connection: Connection) -> Counter[tuple[Any, ...]]:
    """The daily sums, in the shape of `values_expected`."""
    rows = await connection.fetch(
        "SELECT day, action, kind, currency, sum(cents)::int FROM daily_value GROUP BY 1, 2, 3, 4"
    )
    return Counter({tuple(row)[:4]: row[4] for row in rows})


async def touchpoints_found(connection: Connection) -> Counter[tuple[UUID, str, UUID]]:
    """The touchpoints, in the shape of `touchpoints_expected`."""
    rows = await connection.fetch("SELECT customer_id, kind, recorded_for FROM touchpoint")
    return Counter(tuple(row) for row in rows)
