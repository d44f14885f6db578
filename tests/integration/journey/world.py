"""The journey service in a test's hands: its clock, its events, its timers."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4

import orjson

from services.chassis.database import Connection, Database
from services.chassis.handling import Subscriptions
from services.chassis.ids import new_id
from services.contracts.base import Event
from services.contracts.decision import OutcomeRecorded
from services.contracts.profile import (
    CustomerChanged,
    CustomersMerged,
    EventRecorded,
    IdentityPayload,
)
from services.journey.handlers import subscriptions
from services.journey.service import publishing
from services.journey.service.engine import Engine
from services.journey.service.timers import TimerRunner
from services.journey.store.definitions import PublishedJourney
from tests.unit.journey.journeys import NOON

E = TypeVar("E", bound=Event)

COOKIE = IdentityPayload(type="anonymous_id", value="cookie")


class World:
    """One replica whose time stands still until a test lets it pass."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = NOON
        self.engine = self.replica()
        self.runner = TimerRunner(self.engine, database, batch=100)
        self.handlers: Subscriptions = subscriptions(self.engine)

    def clock(self) -> datetime:
        """The clock of every replica of this world."""
        return self.now

    def start_again(self) -> None:
        """Have a process that has read nothing yet."""
        self.engine = self.replica()
        self.handlers = subscriptions(self.engine)

    def replica(self, patience_s: float = 0) -> Engine:
        """Another engine over the same database."""
        return Engine(clock=self.clock, enter_late=timedelta(days=7), patience_s=patience_s)

    async def publish(self, yaml: str) -> PublishedJourney:
        """Publish a journey."""
        async with self.database.transaction() as connection:
            row, _ = await publishing.publish(self.engine, connection, yaml, "mia")
        return row

    async def handle_events(self, *events: Event) -> None:
        """Handle events of one fact, as the chassis would."""
        async with self.database.transaction() as connection:
            await self.handlers[type(events[0])](connection, events)

    async def pass_time(self, **period: float) -> int:
        """Let time pass and fire what is due then; says how many timers went off."""
        self.now += timedelta(**period)
        return await self.runner.fire_due()

    def event(
        self, customer: UUID, name: str, ago: timedelta = timedelta(0), version: int = 0, **of: Any
    ) -> EventRecorded:
        """A customer's event, now or a while ago."""
        return EventRecorded(
            event_id=new_id(),
            customer_id=customer,
            occurred_at=self.now - ago,
            name=name,
            properties=of,
            context={},
            message_id=str(new_id()),
            identity=COOKIE,
            received_at=self.now,
            customer_version=version,
        )

    def snapshot(self, customer: UUID, version: int, **of: Any) -> CustomerChanged:
        """What is known of a customer from now on."""
        known: dict[str, Any] = {
            "identities": [COOKIE],
            "traits": {},
            "consents": {},
            "segments": (),
            "series": {},
            "series_versions": {"journey": 1_000},
        }
        return CustomerChanged(
            event_id=new_id(),
            customer_id=customer,
            occurred_at=self.now,
            version=version,
            **{**known, **of},
        )

    def outcome(self, customer: UUID, kind: str, action: str) -> OutcomeRecorded:
        """A customer's reaction to an offer."""
        return OutcomeRecorded(
            event_id=new_id(),
            customer_id=customer,
            occurred_at=self.now,
            outcome_id=uuid4(),
            decision_id=uuid4(),
            proposition_id=uuid4(),
            action=action,
            treatment="banner",
            channel="WEB",
            placement="home",
            tracking_code="x",
            kind=kind,
            recorded_at=self.now,
        )

    def merge(self, from_id: UUID, into_id: UUID) -> CustomersMerged:
        """Two customers turn out to be one."""
        return CustomersMerged(
            event_id=new_id(),
            customer_id=into_id,
            occurred_at=self.now,
            change_id=uuid4(),
            from_customer_id=from_id,
            identities=(COOKIE,),
            reason="logged in",
        )

    async def published(self, kind: type[E]) -> list[E]:
        """What was published of one fact, in order."""
        async with self.database.connection() as connection:
            rows = await connection.fetch("SELECT body FROM outbox ORDER BY id")
        bodies = [row["body"] for row in rows]
        return [
            kind.from_cloudevent(body)
            for body in bodies
            if orjson.loads(body)["type"] == kind.type()
        ]

    async def instances(self, customer: UUID | None = None) -> Sequence[dict[str, Any]]:
        """The instances of one customer, or of all, in the order they began."""
        async with self.database.connection() as connection:
            return await fetch_instances(connection, customer)


async def fetch_instances(connection: Connection, customer: UUID | None) -> list[dict[str, Any]]:
    """Rows of `run` as they are."""
    query = "SELECT * FROM run WHERE $1::uuid IS NULL OR customer_id = $1 ORDER BY run_id"
    return [dict(row) for row in await connection.fetch(query, customer)]
