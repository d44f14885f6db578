"""Customers looked up: by what they are called, by id, and by what is true of them."""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import ClassVar, NamedTuple
from uuid import UUID

from services.chassis.database import Connection
from services.chassis.errors import RaakError
from services.contracts.enums import LinkSource
from services.contracts.identity import ANONYMOUS_TYPES, KNOWN_TYPES
from services.profile.domain.customer import Customer
from services.profile.domain.identities import Identity, visitor_of
from services.profile.domain.segment_definitions import facts_of
from services.profile.store import customers as customer_store
from services.profile.store import events as event_store
from services.profile.store import identities as identity_store
from services.rules import Condition, SeriesSet, Vocabulary, evaluate, parse, rebuild

CHUNK = 200
WHERE = Vocabulary(
    title="`where`",
    roots=frozenset({"traits", "consent", "events", "segments", "now", "hour", "weekday"}),
)

Ref = UUID | Identity
"""How a customer is meant: by our id, or by what he is known by."""


class UnknownCustomer(RaakError):
    """Nobody is known by this id."""

    code: ClassVar[str] = "PROFILE_UNKNOWN_CUSTOMER"

    def __init__(self, id: UUID) -> None:
        super().__init__(
            f"There is no customer {str(id)!r}.",
            hint="Name the customer by an identity, such as an e-mail address, to make a new one.",
        )


class Found(NamedTuple):
    """A page of customers, the last one looked at, and whether there are more to look at."""

    customers: list[Customer]
    last: UUID | None
    more: bool


async def resolve(connection: Connection, refs: Collection[Ref]) -> dict[Ref, UUID]:
    """Who is meant by each; those who mean nobody we know are absent."""
    identities = [ref for ref in refs if isinstance(ref, Identity)]
    owners = await identity_store.owners(connection, identities) if identities else {}
    asked = {ref: one for ref in refs if ref not in owners and (one := _id_of(ref))}
    known = await identity_store.survivors(connection, set(asked.values())) if asked else {}
    found: dict[Ref, UUID] = dict(owners.items())
    return found | {ref: known[one] for ref, one in asked.items() if one in known}


async def is_reached(connection: Connection, ref: Ref, found: UUID) -> bool:
    """Whether a token of a browser, device or id reaches the customer found by it.

    It reaches one who is not known, and one who is known by the word of somebody who may say so.
    """
    if isinstance(ref, Identity) and ref.type not in ANONYMOUS_TYPES:
        return True
    links = (await identity_store.links(connection, [found]))[found]
    persons = [source for one, source in links.items() if one.type in KNOWN_TYPES]
    if not persons:
        return True
    if LinkSource.WRITE_KEY in persons:
        return False
    browsers = {one for one in links if one.type in ANONYMOUS_TYPES and ref in (one, _id_of(one))}
    if not browsers and isinstance(ref, UUID):
        return not await identity_store.is_merged_unproved(connection, ref, found)
    return any((source := links[one]) and source.is_proved for one in browsers)


def _id_of(ref: Ref) -> UUID | None:
    """The id a reference stands for by itself."""
    return ref if isinstance(ref, UUID) else visitor_of(ref)


async def load(connection: Connection, ids: Collection[UUID]) -> dict[UUID, Customer]:
    """Customers with all that is known of them, by the id asked for; merged ones as survivors."""
    survivors = await identity_store.survivors(connection, ids)
    customers = await customer_store.read(connection, set(survivors.values()))
    for one, identities in (await identity_store.held(connection, customers)).items():
        customers[one].identities = identities
    await customer_store.fill_in(connection, customers)
    return {asked: customers[one] for asked, one in survivors.items() if one in customers}


async def search(
    connection: Connection,
    *,
    segment: str | None,
    where: str | None,
    first: int,
    after: UUID | None,
    scan_limit: int,
    now: datetime,
) -> Found:
    """The next customers, by id, of whom `where` is true; it looks at `scan_limit` at most."""
    condition = parse(where, WHERE) if where is not None else None
    found: list[Customer] = []
    looked_at = 0
    while True:
        limit = min(CHUNK, scan_limit - looked_at) if condition else first
        ids = await customer_store.page(connection, after, limit + 1, segment)
        loaded = await load(connection, ids[:limit])
        matching = await _matching(connection, condition, loaded.values(), now)
        for after in ids[:limit]:
            looked_at += 1
            if after in matching:
                found.append(loaded[after])
                if len(found) == first:
                    return Found(found, after, more=after != ids[-1])
        if len(ids) <= limit:
            return Found(found, after, more=False)
        if looked_at >= scan_limit:
            return Found(found, after, more=True)


async def _matching(
    connection: Connection,
    condition: Condition | None,
    customers: Iterable[Customer],
    now: datetime,
) -> set[UUID]:
    """Of whom the condition is true; its windows are computed from the raw events."""
    people = {customer.id: customer for customer in customers}
    if condition is None:
        return set(people)
    series = SeriesSet(condition.needs.series)
    names = {one.event for one in series.series.values()}
    for one, history in (await event_store.histories(connection, people, names)).items():
        people[one].series = rebuild(series, history, now)
    return {one for one in people if evaluate(condition, facts_of(people[one], now))}
