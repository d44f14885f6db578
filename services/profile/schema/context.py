"""What resolvers use, created for each request; and who may see whom."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from strawberry.dataloader import DataLoader

from services.chassis.clock import Clock
from services.chassis.database import Database
from services.chassis.masking import USUAL, Masking
from services.chassis.principal import Forbidden, Principal
from services.contracts.identity import ANONYMOUS_TYPES, derive_customer_id
from services.profile.domain.customer import Customer
from services.profile.domain.identities import Identity, IdentityChange, parse_identity
from services.profile.domain.segment_definitions import Segment, SegmentDefinitions
from services.profile.service import queries
from services.profile.service.call_reader import CallReader
from services.profile.service.queries import CustomerRef
from services.profile.service.segment_cache import SegmentCache
from services.profile.store import claims as claim_store
from services.profile.store import identities as identity_store
from services.profile.store import segment_definitions as segment_store
from services.profile.store.claims import IdentityClaim


@dataclass
class Context:
    """One request: its caller, what the service offers, and loaders that batch its reads."""

    principal: Principal
    database: Database
    segment_cache: SegmentCache
    reader: CallReader
    wake: Callable[[], None]
    clock: Clock
    scan_limit: int
    masking: Masking = USUAL
    trust_write_keys: bool = False
    customers: DataLoader[UUID, Customer | None] = field(init=False)
    changes: DataLoader[UUID, list[tuple[IdentityChange, datetime]]] = field(init=False)
    refs: DataLoader[CustomerRef, UUID | None] = field(init=False)
    reached: DataLoader[tuple[CustomerRef, UUID], bool] = field(init=False)
    claims: DataLoader[UUID, list[IdentityClaim]] = field(init=False)
    segments: DataLoader[str, Segment | None] = field(init=False)
    counts: DataLoader[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.customers = DataLoader(load_fn=self._load_customers)
        self.changes = DataLoader(load_fn=self._load_changes)
        self.refs = DataLoader(load_fn=self._load_refs)
        self.reached = DataLoader(load_fn=self._load_reached)
        self.claims = DataLoader(load_fn=self._load_claims)
        self.segments = DataLoader(load_fn=self._load_segments)
        self.counts = DataLoader(load_fn=self._load_counts)

    @classmethod
    def factory(cls, *parts: Any) -> Callable[[Principal], "Context"]:
        """A function that makes a caller's context; `parts` are the fields after `principal`."""
        return lambda principal: cls(principal, *parts)

    async def segment_definitions(self) -> SegmentDefinitions:
        """The definitions in force."""
        async with self.database.connection() as connection:
            return await self.segment_cache.current(connection)

    async def customer(self, customer_id: UUID) -> Customer | None:
        """A customer the caller may see; None for an unknown one. Raises Forbidden."""
        customer = await self.customers.load(customer_id)
        own_id = await self.own_id() if self.principal.own_customer_only else None
        if self.principal.own_customer_only and own_id != (
            customer.id if customer else customer_id
        ):
            raise _not_own()
        return customer

    async def find(self, ref: CustomerRef) -> Customer | None:
        """The customer named, if the caller may see them; None for nobody. Raises Forbidden."""
        if isinstance(ref, Identity):
            self.principal.check_lookup(ref.type)
        customer_id = await self.refs.load(ref)
        if customer_id is not None:
            return await self.customer(customer_id)
        if self.principal.own_customer_only and ref != self.own_ref():
            raise _not_own()
        return None

    def own_ref(self) -> CustomerRef | None:
        """The customer the caller speaks for, as its token says."""
        ref = self.principal.customer_ref or {}
        if "id" in ref:
            return UUID(ref["id"])
        return parse_identity(ref["type"], ref["value"]) if "type" in ref else None

    async def own_id(self) -> UUID | None:
        """The id of the caller's customer; a visitor has one before any event is recorded.

        None if the customer is known by now and no trusted sender has linked the two.
        """
        ref = self.own_ref()
        customer_id = await self.refs.load(ref) if ref else None
        if (
            ref
            and customer_id
            and not self.trust_write_keys
            and not await self.reached.load((ref, customer_id))
        ):
            return None
        if customer_id is None and isinstance(ref, Identity) and ref.type in ANONYMOUS_TYPES:
            return derive_customer_id(*ref)
        return customer_id or (ref if isinstance(ref, UUID) else None)

    def clear_loaders(self) -> None:
        """Read again what a mutation may have changed."""
        loaders = (self.customers, self.changes, self.refs, self.reached, self.claims, self.counts)
        for loader in loaders:
            loader.clear_all()

    async def _load_customers(self, ids: list[UUID]) -> list[Customer | None]:
        async with self.database.connection() as connection:
            customers = await queries.load(connection, ids)
        return [customers.get(customer_id) for customer_id in ids]

    async def _load_changes(self, ids: list[UUID]) -> list[list[tuple[IdentityChange, datetime]]]:
        async with self.database.connection() as connection:
            changes = await identity_store.read_changes(connection, ids)
        return [changes[customer_id] for customer_id in ids]

    async def _load_refs(self, refs: list[CustomerRef]) -> list[UUID | None]:
        async with self.database.connection() as connection:
            ids = await queries.resolve(connection, refs)
        return [ids.get(ref) for ref in refs]

    async def _load_reached(self, pairs: list[tuple[CustomerRef, UUID]]) -> list[bool]:
        async with self.database.connection() as connection:
            return [
                await queries.is_reached(connection, ref, customer_id) for ref, customer_id in pairs
            ]

    async def _load_claims(self, ids: list[UUID]) -> list[list[IdentityClaim]]:
        async with self.database.connection() as connection:
            claims = await claim_store.read_claims(connection, ids)
        return [claims[customer_id] for customer_id in ids]

    async def _load_segments(self, keys: list[str]) -> list[Segment | None]:
        segments = {one.key: one for one in (await self.segment_definitions()).segments}
        return [segments.get(key) for key in keys]

    async def _load_counts(self, keys: list[str]) -> list[int]:
        async with self.database.connection() as connection:
            counts = await segment_store.count_members(connection, keys)
        return [counts.get(key, 0) for key in keys]


def _not_own() -> Forbidden:
    return Forbidden(
        "This is not the customer your token speaks for.",
        hint="Ask for your own customer, or use a token of an agent.",
    )
