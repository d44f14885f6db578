"""Profile on a fresh database, without a bus: what it would publish stays in its outbox."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4

import pytest

from services.chassis.database import Database
from services.chassis.principal import Principal, ServiceTokenVerifier
from services.contracts.base import Event
from services.contracts.enums import Role, SenderClass
from services.contracts.profile import CustomerChanged
from services.profile.collect import Collector
from services.profile.domain.calls import BatchContext
from services.profile.domain.customer import Customer
from services.profile.domain.identities import Identity
from services.profile.schema import Context, schema
from services.profile.service import queries
from services.profile.service.call_reader import CallReader
from services.profile.service.publishing import publish_segments
from services.profile.service.refreshing import recompute_next
from services.profile.service.segment_cache import SegmentCache
from tests.callers import caller
from tests.conftest import DatabaseFor

E = TypeVar("E", bound=Event)
AGENT = caller(Role.AGENT, "ann")
MARKETER = caller(Role.MARKETER, "mo")
START = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)


@dataclass
class Profile:
    """One installation of profile, its clock in the test's hand."""

    database: Database
    verifier: ServiceTokenVerifier
    now: datetime = START
    scan_limit: int = 2_000
    segment_cache: SegmentCache = field(default_factory=SegmentCache)
    reader: CallReader = field(default_factory=lambda: CallReader(32 * 1024, timedelta(minutes=5)))

    def clock(self) -> datetime:
        """What the test says it is."""
        return self.now

    def collector(self) -> Collector:
        """The bulk door of a process of its own."""
        return Collector(
            self.database, SegmentCache(), self.reader, self.verifier, self.clock, 500 * 1024
        )

    async def collect(
        self, *events: object, sender: SenderClass = SenderClass.SERVER, **batch: Any
    ) -> dict[str, Any]:
        """Send a batch; the answer."""
        body = {"batch": list(events), **batch}
        _, answer = await self.collector().record(sender, "batch", body, self.now)
        return answer

    def reading(self) -> BatchContext:
        """How an event of a server is read now."""
        return self.reader.open_batch(SenderClass.SERVER, self.now)

    async def publish(self, yaml: str) -> None:
        """Put segments in force, and recompute everybody."""
        await self.publish_only(yaml)
        await self.refresh_all()

    async def publish_only(self, yaml: str) -> None:
        """Put segments in force."""
        async with self.database.transaction() as connection:
            await publish_segments(connection, self.segment_cache, yaml, self.now)

    async def refresh_all(self, chunk: int = 50) -> int:
        """Recompute all that is due, and say how many customers that were."""
        total = 0
        while some := await self._refresh(chunk):
            total += some
        return total

    async def _refresh(self, chunk: int) -> int:
        async with self.database.transaction() as connection:
            return await recompute_next(connection, self.segment_cache, self.now, chunk)

    async def ask(
        self, query: str, principal: Principal = AGENT, **variables: Any
    ) -> dict[str, Any]:
        """Execute a GraphQL document; data and errors as callers get them."""
        context = Context(
            principal,
            self.database,
            self.segment_cache,
            self.reader,
            lambda: None,
            self.clock,
            self.scan_limit,
            trust_write_keys=self.reader.trust_write_keys,
        )
        return {"data": None, "errors": []} | await schema.answer(query, variables, context)

    async def published(self, fact: type[E]) -> list[E]:
        """What was published of a fact, in order."""
        query = "SELECT body FROM outbox WHERE address LIKE $1 ORDER BY id"
        async with self.database.connection() as connection:
            rows = await connection.fetch(query, f"{fact.type()}.%")
        return [fact.from_cloudevent(row["body"]) for row in rows]

    async def snapshot(self, type: str, value: str) -> CustomerChanged:
        """The latest snapshot published of the customer who is called this."""
        customer = await self.customer(type, value)
        return [s for s in await self.published(CustomerChanged) if s.customer_id == customer.id][
            -1
        ]

    async def customer(self, type: str, value: str) -> Customer:
        """The customer who is called this, as they are stored."""
        ref = Identity(type, value)
        async with self.database.connection() as connection:
            found = (await queries.resolve(connection, [ref]))[ref]
            return (await queries.load(connection, [found]))[found]

    async def count(self, query: str) -> int:
        """The one number a query gives."""
        async with self.database.connection() as connection:
            return int(await connection.fetchval(query))


@pytest.fixture
async def profile(database_for: DatabaseFor, key_files: Any) -> AsyncIterator[Profile]:
    """A fresh installation."""
    async with database_for("profile") as database:
        yield Profile(database, ServiceTokenVerifier(key_files[1], "profile"))


def track(name: str = "product_viewed", at: datetime = START, **fields: Any) -> dict[str, Any]:
    """A track call with a message id of its own, by `anonymousId` "a" unless said otherwise."""
    if not fields.keys() & {"userId", "anonymousId"}:
        fields["anonymousId"] = "a"
    return {
        "type": "track",
        "event": name,
        "messageId": str(uuid4()),
        "timestamp": at.isoformat(),
        **fields,
    }


def identify(at: datetime = START, **fields: Any) -> dict[str, Any]:
    """An identify call."""
    return {
        "type": "identify",
        "messageId": str(uuid4()),
        "timestamp": at.isoformat(),
        **fields,
    }


def visitor(type: str, value: str) -> Principal:
    """A visitor whose token names this identity."""
    return caller(Role.VISITOR, "visitor", {"type": type, "value": value})


def app(type: str, value: str) -> Principal:
    """An app that speaks for the customer with this identity."""
    return caller(Role.APP, "app", {"type": type, "value": value})


def customer_principal(id: UUID) -> Principal:
    """A visitor whose token names this id."""
    return caller(Role.VISITOR, "visitor", {"id": str(id)})
