"""Finding customers: by identity, by id, and by a condition that is true of them."""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from services.chassis.database import Connection
from services.chassis.errors import UnknownCustomer
from services.contracts.enums import LinkSource
from services.contracts.identity import ANONYMOUS_TYPES, KNOWN_TYPES
from services.profile.domain.customer import Customer
from services.profile.domain.identities import Identity, derive_visitor_id
from services.profile.domain.segment_definitions import facts_of
from services.profile.service.customers import read_customers
from services.profile.store import customers as customer_store
from services.profile.store import events as event_store
from services.profile.store import identities as identity_store
from services.rules import Condition, SeriesSet, Vocabulary, evaluate, parse, rebuild

CHUNK = 200
WHERE = Vocabulary(
    title="`where`",
    roots=frozenset({"traits", "consent", "events", "segments", "now", "hour", "weekday"}),
)

CustomerRef = UUID | Identity
"""What names a customer: our id, or an identity."""


class UnknownCustomerId(UnknownCustomer, code="PROFILE_UNKNOWN_CUSTOMER"):
    """Nobody has this id."""

    def __init__(self, customer_id: UUID) -> None:
        super().__init__(
            f"There is no customer {str(customer_id)!r}.",
            hint="Name the customer by an identity, such as an e-mail address, to make a new one.",
        )


class CustomerPage(NamedTuple):
    """A page of customers, the last one looked at, and whether there are more to look at."""

    customers: list[Customer]
    last: UUID | None
    has_more: bool


async def resolve(connection: Connection, refs: Collection[CustomerRef]) -> dict[CustomerRef, UUID]:
    """The customer each reference names; references that name nobody are absent."""
    identities = [ref for ref in refs if isinstance(ref, Identity)]
    owners = await identity_store.find_owners(connection, identities) if identities else {}
    ids = {
        ref: customer_id for ref in refs if ref not in owners and (customer_id := derive_id(ref))
    }
    survivors = await identity_store.find_survivors(connection, set(ids.values())) if ids else {}
    resolved: dict[CustomerRef, UUID] = dict(owners.items())
    return resolved | {
        ref: survivors[customer_id] for ref, customer_id in ids.items() if customer_id in survivors
    }


async def find_reached(
    connection: Connection, pairs: Collection[tuple[CustomerRef, UUID]]
) -> dict[tuple[CustomerRef, UUID], bool]:
    """Of each reference of a token and customer, whether it reaches them (`is_reached`)."""
    return {pair: await is_reached(connection, *pair) for pair in pairs}


async def is_reached(connection: Connection, ref: CustomerRef, customer: UUID) -> bool:
    """Whether a token for a browser, device or id reaches the customer its reference names.

    It reaches an anonymous one, and a known one if a trusted sender has linked the two.
    """
    if isinstance(ref, Identity) and ref.type not in ANONYMOUS_TYPES:
        return True
    links = (await identity_store.read_links(connection, [customer]))[customer]
    persons = [source for one, source in links.items() if one.type in KNOWN_TYPES]
    if not persons:
        return True
    if LinkSource.WRITE_KEY in persons:
        return False
    browsers = {
        one for one in links if one.type in ANONYMOUS_TYPES and ref in (one, derive_id(one))
    }
    if not browsers and isinstance(ref, UUID):
        return not await identity_store.is_merged_unproved(connection, ref, customer)
    return any((source := links[one]) and source.is_proved for one in browsers)


def derive_id(ref: CustomerRef) -> UUID | None:
    """The customer id of a reference, if it can be derived without the database."""
    return ref if isinstance(ref, UUID) else derive_visitor_id(ref)


async def load(connection: Connection, ids: Collection[UUID]) -> dict[UUID, Customer]:
    """Customers with all that is known of them, by these ids; for merged ones their survivors."""
    survivors = await identity_store.find_survivors(connection, ids)
    customers = await read_customers(connection, set(survivors.values()))
    return {key: customers[one] for key, one in survivors.items() if one in customers}


async def search(
    connection: Connection,
    *,
    segment: str | None,
    where: str | None,
    first: int,
    after: UUID | None,
    scan_limit: int,
    now: datetime,
) -> CustomerPage:
    """The next customers, by id, of whom `where` is true; it looks at `scan_limit` at most."""
    condition = parse(where, WHERE) if where is not None else None
    page: list[Customer] = []
    scanned = 0
    while True:
        limit = min(CHUNK, scan_limit - scanned) if condition else first
        ids = await customer_store.read_page(connection, after, limit + 1, segment)
        customers = await load(connection, ids[:limit])
        matches = await _match(connection, condition, customers.values(), now)
        for after in ids[:limit]:
            scanned += 1
            if after in matches:
                page.append(customers[after])
                if len(page) == first:
                    return CustomerPage(page, after, has_more=after != ids[-1])
        if len(ids) <= limit:
            return CustomerPage(page, after, has_more=False)
        if scanned >= scan_limit:
            return CustomerPage(page, after, has_more=True)


async def _match(
    connection: Connection,
    condition: Condition | None,
    customers: Iterable[Customer],
    now: datetime,
) -> set[UUID]:
    """The ids of those the condition is true of; its windows are computed from raw events."""
    by_id = {customer.id: customer for customer in customers}
    if condition is None:
        return set(by_id)
    series = SeriesSet(condition.needs.series)
    names = {one.event for one in series.series.values()}
    histories = await event_store.read_histories(connection, by_id, names)
    for customer_id, history in histories.items():
        by_id[customer_id].series = rebuild(series, history, now)
    return {key for key, one in by_id.items() if evaluate(condition, facts_of(one, now))}
