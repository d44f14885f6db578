"""Decision on a fresh database, without a bus: what it would publish stays in its outbox."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4

import pytest

from services.chassis.database import Database, open_database
from services.chassis.principal import Principal
from services.chassis.server import supervised
from services.contracts.base import Event
from services.contracts.enums import Role
from services.contracts.journey import InstanceState, StepEntered
from services.contracts.profile import CustomerChanged, CustomersMerged, IdentityPayload
from services.decision import handlers
from services.decision.app import list_background_work, open_decision_context
from services.decision.schema import Context, schema
from services.decision.service.deciding import DecisionContext
from services.decision.settings import DecisionSettings
from tests.callers import caller

E = TypeVar("E", bound=Event)
AGENT = caller(Role.AGENT, "ann")
MARKETER = caller(Role.MARKETER, "mo")
START = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)

CATALOGUE = """
currency: EUR
placements:
  - {key: hero, channels: [WEB, APP], limit: 3}
  - {key: desk, channels: [CALL_CENTRE], limit: 5}
actions:
  - key: jazz
    name: Ten percent off jazz
    kind: OFFER
    issue: sales
    group: vinyl
    value_cents: 500
    eligibility: traits.age >= 18
    reason: "{{ traits.first_name | You }} may like our jazz records."
    treatments:
      - key: banner
        channel: WEB
        placements: hero
        content: {title: "Jazz for {{ traits.first_name | you }}"}
      - {key: call, channel: CALL_CENTRE, placements: desk, content: {say: Jazz}}
  - key: newsletter
    name: The newsletter
    kind: REQUEST
    issue: care
    group: contact
    value_cents: 100
    treatments:
      - {key: banner, channel: WEB, placements: hero, content: {title: Read us}}
      - {key: call, channel: CALL_CENTRE, placements: desk, content: {say: Read us}}
  - key: loyalty
    name: The loyalty card
    kind: OFFER
    issue: sales
    group: cards
    value_cents: 900
    consent: personalisation
    suitability: events.count("order_completed", last="90d") >= 2
    treatments:
      - {key: banner, channel: WEB, placements: hero, content: {title: Get the card}}
contact_policies:
  suppressions:
    - {key: rest_after_no, per: action, after: [REJECTED, DISMISSED], for: 30d}
  caps:
    - {key: not_too_often, per: action, at_most: 3, within: 7d}
"""

OFFERS = """
query ($customer: CustomerRef!, $channel: Channel! = WEB, $placement: String! = "hero",
       $limit: Int! = 3, $context: JSON, $event: EventInput) {
  nextBestActions(customer: $customer, channel: $channel, placement: $placement, limit: $limit,
                  context: $context, event: $event) {
    id decidedAt customer { id } degraded controlGroup
    propositions {
      id rank action { key name } content trackingCode propensity value { cents currency } score
      reason
    }
  }
}
"""
REPORT = """
mutation ($input: OutcomeInput!) { recordOutcome(input: $input) { id proposition kind at } }
"""
PUBLISH = """
mutation ($yaml: String!, $force: Boolean! = false) {
  publishCatalogue(yaml: $yaml, force: $force) {
    version added removed changed unchanged warnings
  }
}
"""


@dataclass
class Replica:
    """One process of decision, its clock in the test's hand."""

    database: Database
    now: datetime = START
    context: DecisionContext = None  # type: ignore[assignment]

    def clock(self) -> datetime:
        """What the test says it is."""
        return self.now

    async def ask(
        self, query: str, principal: Principal = AGENT, **variables: Any
    ) -> dict[str, Any]:
        """Execute a GraphQL document; data and errors as callers get them."""
        return await schema.answer(query, variables, Context(principal, self.context))

    async def publish(self, yaml: str = CATALOGUE, force: bool = False) -> dict[str, Any]:
        """Publish a catalogue; what changed."""
        answer = await self.ask(PUBLISH, MARKETER, yaml=yaml, force=force)
        assert "errors" not in answer, answer
        change: dict[str, Any] = answer["data"]["publishCatalogue"]
        return change

    async def offers(self, who: dict[str, Any], **variables: Any) -> dict[str, Any]:
        """Ask for offers; the decision."""
        answer = await self.ask(OFFERS, customer=who, **variables)
        assert "errors" not in answer, answer
        decision: dict[str, Any] = answer["data"]["nextBestActions"]
        return decision

    async def report(self, proposition: str, kind: str, key: str = "", **more: Any) -> Any:
        """Report an outcome; the outcome."""
        report = {"proposition": proposition, "kind": kind, "idempotencyKey": key or uuid4().hex}
        answer = await self.ask(REPORT, input=report | more)
        assert "errors" not in answer, answer
        return answer["data"]["recordOutcome"]

    async def hear(
        self, handle: Callable[[Any, Sequence[Any]], Awaitable[None]], *events: Event
    ) -> None:
        """Take events in as the chassis would."""
        async with self.database.transaction() as connection:
            await handle(connection, events)

    async def know(self, *events: CustomerChanged) -> None:
        """Take snapshots in."""
        await self.hear(handlers.save_customers, *events)

    async def count(self, table: str) -> int:
        """How many rows a table has."""
        return int(await self.database.pool.fetchval(f"SELECT count(*) FROM {table}"))

    async def published(self, event: type[E]) -> list[E]:
        """The events of a fact that wait in the outbox."""
        rows = await self.database.pool.fetch(
            "SELECT body FROM outbox WHERE address LIKE $1 ORDER BY id", f"{event.type()}.%"
        )
        return [event.from_cloudevent(row["body"]) for row in rows]


def by(type: str, value: str) -> dict[str, Any]:
    """A reference to a customer by an identity."""
    return {"identity": {"type": type, "value": value}}


def keys(decision: dict[str, Any]) -> list[str]:
    """The actions of a decision, best first."""
    return [proposition["action"]["key"] for proposition in decision["propositions"]]


def snapshot(customer: UUID, version: int = 1, **parts: Any) -> CustomerChanged:
    """What profile says of a customer."""
    known: dict[str, Any] = {
        "identities": (IdentityPayload(type="email", value=f"{customer}@example.com"),),
        "traits": {"age": 30, "first_name": "Ada"},
        "consents": {"personalisation": True},
        "segments": (),
        "series": {},
        "series_versions": {"decision": 1_000},
    }
    return CustomerChanged(
        event_id=uuid4(), customer_id=customer, occurred_at=START, version=version, **known | parts
    )


def step(customer: UUID, sequence: int, phase: str, instance: UUID) -> StepEntered:
    """What journey says of a customer."""
    state = InstanceState(
        instance_id=instance,
        journey="onboarding",
        version=1,
        key="",
        step=f"step {sequence}",
        phase=phase,
        sequence=sequence,
    )
    return StepEntered(event_id=uuid4(), customer_id=customer, occurred_at=START, state=state)


def merged(source: UUID, target: UUID) -> CustomersMerged:
    """What profile says when two customers are one."""
    return CustomersMerged(
        event_id=uuid4(),
        customer_id=target,
        occurred_at=START,
        change_id=uuid4(),
        from_customer_id=source,
        identities=(),
        reason="test",
    )


@asynccontextmanager
async def running(url: str, **settings: Any) -> AsyncIterator[Replica]:
    """A replica at work on a database, which waits for it as long as a busy machine takes."""
    patient = {"answer_within_ms": 60_000, "commit_within_ms": 60_000}
    async with open_database(url) as database:
        replica = Replica(database)
        replica.context = open_decision_context(
            DecisionSettings(**patient | settings), database, replica.clock
        )
        async with database.connection() as connection:
            await replica.context.catalogue_cache.refresh(connection)
        async with supervised(list_background_work(replica.context)):
            yield replica


@pytest.fixture
async def database_url(database_url_for: Any) -> AsyncIterator[str]:
    """A database of decision, of this test's own."""
    async with database_url_for("decision") as url:
        yield url


@pytest.fixture
async def replica(database_url: str) -> AsyncIterator[Replica]:
    """A replica with the catalogue above."""
    async with running(database_url) as replica:
        await replica.publish()
        yield replica


@pytest.fixture
async def replicas(database_url: str) -> AsyncIterator[tuple[Replica, Replica]]:
    """Two replicas of one service, that hear of each other by the database only."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(running(database_url))
        second = await stack.enter_async_context(running(database_url))
        await first.publish()
        yield first, second


def later(replica: Replica, **time: float) -> None:
    """Let time pass."""
    replica.now += timedelta(**time)
