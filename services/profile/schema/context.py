"""What resolvers use, created for each request; and who may see whom."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from strawberry.dataloader import DataLoader

from services.chassis.clock import Clock
from services.chassis.database import Connection, Database
from services.chassis.masking import USUAL, Masking
from services.chassis.principal import Principal
from services.chassis.resolvers import make_loader, not_own_customer
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
        self.clear_loaders()

    async def segment_definitions(self) -> SegmentDefinitions:
        async with self.database.connection() as connection:
            return await self.segment_cache.current(connection)

    async def customer(self, customer_id: UUID) -> Customer | None:
        """A customer the caller may see; None for an unknown one. Raises Forbidden."""
        customer = await self.customers.load(customer_id)
        found_id = customer.id if customer else customer_id
        if self.principal.own_customer_only and found_id != await self.own_id():
            raise not_own_customer()
        return customer

    async def find(self, ref: CustomerRef) -> Customer | None:
        """The customer named, if the caller may see them; None for nobody. Raises Forbidden."""
        if isinstance(ref, Identity):
            self.principal.check_lookup(ref.type)
        customer_id = await self.refs.load(ref)
        if customer_id is not None:
            return await self.customer(customer_id)
        if self.principal.own_customer_only and ref != self.own_ref():
            raise not_own_customer()
        return None

    def own_ref(self) -> CustomerRef | None:
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
        if ref is None or customer_id is None:
            return queries.derive_id(ref) if ref else None
        if self.trust_write_keys or await self.reached.load((ref, customer_id)):
            return customer_id
        return None

    def clear_loaders(self) -> None:
        """Read again what a mutation may have changed."""
        self.customers = make_loader(self.database, queries.load, None)
        self.changes = make_loader(self.database, identity_store.read_changes, [])
        self.refs = make_loader(self.database, queries.resolve, None)
        self.reached = make_loader(self.database, queries.find_reached, False)
        self.claims = make_loader(self.database, claim_store.read_claims, [])
        self.segments = make_loader(self.database, self._read_segments, None)
        self.counts = make_loader(self.database, segment_store.count_members, 0)

    async def _read_segments(self, connection: Connection, keys: list[str]) -> dict[str, Segment]:
        return {one.key: one for one in (await self.segment_cache.current(connection)).segments}
