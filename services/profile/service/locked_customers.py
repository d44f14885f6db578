"""The customers a recording has locked: whose each call is, and what its sender may change."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from services.chassis.database import Connection
from services.chassis.errors import Unavailable
from services.chassis.ids import new_id
from services.contracts.identity import KNOWN_TYPES
from services.profile.domain.calls import Call, InvalidEvent, UnprovedChange
from services.profile.domain.customer import WITHDRAWN, Customer
from services.profile.domain.identities import Identity, IdentityDirectory, derive_visitor_id
from services.profile.store import customers as customer_store
from services.profile.store import identities as identity_store


class ConcurrentUpdate(Unavailable, code="CONCURRENT_UPDATE"):
    """Others kept changing the same customers at the same time."""

    def __init__(self) -> None:
        super().__init__(
            "The customers concerned were changed by others at the same moment.",
            hint="Send the same again: what was recorded is not recorded twice.",
        )


@dataclass(slots=True)
class LockedCustomers:
    """The customers a transaction has locked, and who they are."""

    customers: dict[UUID, Customer]
    directory: IdentityDirectory
    survivors: dict[UUID, UUID]
    """Ids that calls name, and the customers these have become."""
    base: int
    """What the versions of new customers count from."""
    refusals: dict[UUID, InvalidEvent] = field(default_factory=dict)
    """Calls that may not do what they ask, by the ids of their events."""
    ignored: dict[UUID, InvalidEvent] = field(default_factory=dict)
    """Calls whose consents are not taken over, except for withdrawals."""

    def candidates(self, call: Call) -> set[UUID]:
        """The customers a call may have been recorded with before."""
        ids = {self.directory.owners.get(i) or derive_visitor_id(i) for i in call.identities}
        if call.customer:
            ids.add(self.survivors.get(call.customer, call.customer))
        return {customer_id for customer_id in ids if customer_id in self.customers}

    def assign(self, calls: Sequence[Call], before: Sequence[UUID | None]) -> list[UUID]:
        """Say whose each call is; one recorded `before` links and merges nobody again."""
        owners = [b or self._resolve(call) for call, b in zip(calls, before, strict=True)]
        return [self.directory.survivor(owner) for owner in owners]

    def _resolve(self, call: Call) -> UUID:
        named = self.survivors.get(call.customer, call.customer) if call.customer else None
        customer = self.directory.resolve(call.identities, call.kind, named, call.linked_by)
        if call.previous:
            self.directory.alias(call.previous, customer, call.linked_by)
        if not call.is_proved and self.directory.is_known(customer):
            self._restrict(call)
        return customer

    def _restrict(self, call: Call) -> None:
        """Let a call that proves nothing change nothing of a known customer but withdraw consent.

        Consent libraries send their choices with every event, which is recorded all the same.
        """
        if call.traits or call.kind == "alias":
            what = "alias" if call.kind == "alias" else "traits"
            self.refusals[call.event_id] = UnprovedChange.of(what)
        elif any(choice.status != WITHDRAWN for choice in call.consents.values()):
            self.ignored[call.event_id] = UnprovedChange.of("consents")

    def admit(self, call: Call) -> Call:
        """The call without what its sender may not change."""
        if call.event_id not in self.ignored:
            return call
        consents = {p: choice for p, choice in call.consents.items() if choice.status == WITHDRAWN}
        return call._replace(consents=consents)

    def unproved_claims(
        self, calls: Iterable[tuple[UUID, Call]]
    ) -> Iterator[tuple[UUID, Identity, str]]:
        """The identities that calls claim for their customers, and which are not theirs."""
        for customer, call in calls:
            for claim in call.claims:
                if self.directory.owners.get(claim) != customer:
                    yield customer, claim, call.sender

    def proved_claims(
        self, calls: Iterable[Call], assigned: Iterable[UUID]
    ) -> set[tuple[UUID, Identity]]:
        """The identities of persons that a call may just have proved to be a customer's."""
        if not self.directory.new_owners:
            return set()
        return {
            (customer, identity)
            for customer, call in zip(assigned, calls, strict=True)
            if call.linked_by.is_proved
            for identity in call.identities
            if identity.type in KNOWN_TYPES and self.directory.owners[identity] == customer
        }

    def affected_customers(self, assigned: Collection[UUID]) -> dict[UUID, Customer]:
        """The customers that calls were assigned to, and those that others were merged into."""
        merged = {self.directory.survivor(m.into_customer) for m in self.directory.merges}
        return {
            customer_id: self._customer(customer_id) for customer_id in sorted({*assigned, *merged})
        }

    def customers_with_new_history(self) -> set[UUID]:
        """The customers that got an absorbed customer's history."""
        return {
            self.directory.survivor(merge.into_customer)
            for merge in self.directory.merges
            if merge.from_customer in self.customers
        }

    def merge_away(self) -> list[Customer]:
        """The absorbed customers, emptied: each only names its survivor."""
        merged_away = [self._customer(merge.from_customer) for merge in self.directory.merges]
        for customer in merged_away:
            customer.merge_into(self.directory.survivor(customer.id))
        return merged_away

    def _customer(self, customer_id: UUID) -> Customer:
        customer = self.customers.get(customer_id) or Customer(customer_id, self.base)
        customer.identities = self.directory.holdings[customer_id]
        return customer


async def lock_customers(
    connection: Connection, calls: Sequence[Call], base: int
) -> LockedCustomers:
    """Lock every customer the calls may concern, and read who they are."""
    identities = {identity for call in calls for identity in _identities(call)}
    named = {call.customer for call in calls if call.customer}
    owners = await identity_store.find_owners(connection, identities) if identities else {}
    survivors = await identity_store.find_survivors(connection, named) if named else {}
    visitors = {
        customer_id for i in identities - owners.keys() if (customer_id := derive_visitor_id(i))
    }
    customers = await customer_store.lock(
        connection, {*owners.values(), *survivors.values(), *visitors}
    )
    links = await identity_store.read_links(connection, customers)
    directory = IdentityDirectory(
        {customer: set(own) for customer, own in links.items()},
        new_id,
        {one: source for own in links.values() for one, source in own.items() if source},
    )
    if not (
        owners.keys() <= directory.owners.keys() and customers.keys() >= set(survivors.values())
    ):
        raise ConcurrentUpdate  # one of them was merged before we had the lock
    return LockedCustomers(customers, directory, survivors, base)


def _identities(call: Call) -> Iterator[Identity]:
    yield from call.identities
    if call.previous:
        yield Identity("user_id", call.previous)
        yield Identity("anonymous_id", call.previous)
