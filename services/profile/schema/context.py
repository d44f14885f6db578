"""What resolvers may use, made anew for each request; and who may see whom."""

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
from services.contracts.identity import ANONYMOUS_TYPES, derived_customer_id
from services.profile.domain.customer import Customer
from services.profile.domain.identities import Change, Identity, given_identity
from services.profile.domain.segment_definitions import Rulebook, Segment
from services.profile.service import queries
from services.profile.service.call_reader import Reader
from services.profile.service.queries import Ref
from services.profile.service.segment_cache import Rulebooks
from services.profile.store import claims as claim_store
from services.profile.store import identities as identity_store
from services.profile.store import segment_definitions as segment_store
from services.profile.store.claims import Claim


@dataclass
class Context:
    """One request: its caller, what the service offers, and loaders that batch its reads."""

    principal: Principal
    database: Database
    rulebooks: Rulebooks
    reader: Reader
    wake: Callable[[], None]
    clock: Clock
    scan_limit: int
    masking: Masking = USUAL
    trust_write_keys: bool = False
    people: DataLoader[UUID, Customer | None] = field(init=False)
    changes: DataLoader[UUID, list[tuple[Change, datetime]]] = field(init=False)
    refs: DataLoader[Ref, UUID | None] = field(init=False)
    reached: DataLoader[tuple[Ref, UUID], bool] = field(init=False)
    claims: DataLoader[UUID, list[Claim]] = field(init=False)
    segments: DataLoader[str, Segment | None] = field(init=False)
    counts: DataLoader[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.people = DataLoader(load_fn=self._load_people)
        self.changes = DataLoader(load_fn=self._load_changes)
        self.refs = DataLoader(load_fn=self._load_refs)
        self.reached = DataLoader(load_fn=self._load_reached)
        self.claims = DataLoader(load_fn=self._load_claims)
        self.segments = DataLoader(load_fn=self._load_segments)
        self.counts = DataLoader(load_fn=self._load_counts)

    @classmethod
    def factory(cls, *parts: Any) -> Callable[[Principal], "Context"]:
        """What makes the context of a caller; `parts` are the fields after `principal`."""
        return lambda principal: cls(principal, *parts)

    async def rulebook(self) -> Rulebook:
        """The rulebook in force."""
        async with self.database.connection() as connection:
            return await self.rulebooks.current(connection)

    async def person(self, id: UUID) -> Customer | None:
        """A customer the caller may see; None for one we do not know. Raises Forbidden."""
        person = await self.people.load(id)
        if self.principal.own_customer_only and await self.own_id() != (
            person.id if person else id
        ):
            raise _not_yours()
        return person

    async def find(self, ref: Ref) -> Customer | None:
        """Who is meant, if the caller may see them; None for nobody. Raises Forbidden."""
        if isinstance(ref, Identity):
            self.principal.check_lookup(ref.type)
        found = await self.refs.load(ref)
        if found is not None:
            return await self.person(found)
        if self.principal.own_customer_only and ref != self.own_ref():
            raise _not_yours()
        return None

    def own_ref(self) -> Ref | None:
        """The customer the caller speaks for, as his token says it."""
        given = self.principal.customer_ref or {}
        if "id" in given:
            return UUID(given["id"])
        return given_identity(given["type"], given["value"]) if "type" in given else None

    async def own_id(self) -> UUID | None:
        """Its customer's id; a visitor has one before we have heard of them.

        None if the customer is known by now and nobody who may say so has linked the two.
        """
        ref = self.own_ref()
        found = await self.refs.load(ref) if ref else None
        if (
            ref
            and found
            and not self.trust_write_keys
            and not await self.reached.load((ref, found))
        ):
            return None
        if found is None and isinstance(ref, Identity) and ref.type in ANONYMOUS_TYPES:
            return derived_customer_id(*ref)
        return found or (ref if isinstance(ref, UUID) else None)

    def forget_loaded(self) -> None:
        """Read anew what a mutation may have changed."""
        loaders = (self.people, self.changes, self.refs, self.reached, self.claims, self.counts)
        for loader in loaders:
            loader.clear_all()

    async def _load_people(self, ids: list[UUID]) -> list[Customer | None]:
        async with self.database.connection() as connection:
            found = await queries.load(connection, ids)
        return [found.get(asked) for asked in ids]

    async def _load_changes(self, ids: list[UUID]) -> list[list[tuple[Change, datetime]]]:
        async with self.database.connection() as connection:
            found = await identity_store.changes(connection, ids)
        return [found[asked] for asked in ids]

    async def _load_refs(self, refs: list[Ref]) -> list[UUID | None]:
        async with self.database.connection() as connection:
            found = await queries.resolve(connection, refs)
        return [found.get(ref) for ref in refs]

    async def _load_reached(self, asked: list[tuple[Ref, UUID]]) -> list[bool]:
        async with self.database.connection() as connection:
            return [await queries.is_reached(connection, ref, found) for ref, found in asked]

    async def _load_claims(self, ids: list[UUID]) -> list[list[Claim]]:
        async with self.database.connection() as connection:
            found = await claim_store.claims(connection, ids)
        return [found[asked] for asked in ids]

    async def _load_segments(self, keys: list[str]) -> list[Segment | None]:
        found = {segment.key: segment for segment in (await self.rulebook()).segments}
        return [found.get(key) for key in keys]

    async def _load_counts(self, keys: list[str]) -> list[int]:
        async with self.database.connection() as connection:
            found = await segment_store.counts(connection, keys)
        return [found.get(key, 0) for key in keys]


def _not_yours() -> Forbidden:
    return Forbidden(
        "This is not the customer your token speaks for.",
        hint="Ask for your own customer, or use a token of an agent.",
    )
