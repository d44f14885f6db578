"""Recording: a list of calls becomes events, and changes the customers they speak of.

One list is one transaction, whatever its length, and a fixed number of statements. The order is:
lock the customers concerned, by id; find what is recorded already; resolve identities in memory;
write links and merges; recompute customers; apply; write; publish.
"""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from services.chassis import outbox, telemetry
from services.chassis.database import Connection
from services.chassis.errors import RaakError
from services.chassis.isolation import SET_ASIDE, Failure, isolate_failures
from services.contracts.base import Event
from services.contracts.profile import CustomersMerged, EventRecorded, EventSetAside
from services.profile.domain.calls import Call, InvalidEvent, dump_call, load_call
from services.profile.domain.customer import DEFAULT_LIMITS, Customer, CustomerLimits, to_payload
from services.profile.domain.identities import Identity, IdentityChange, IdentityDirectory
from services.profile.domain.segment_definitions import SegmentDefinitions
from services.profile.service.customers import make_snapshots, recompute_series, write_customers
from services.profile.service.locked_customers import (
    ConcurrentUpdate,
    LockedCustomers,
    lock_customers,
)
from services.profile.service.segment_cache import SegmentCache
from services.profile.store import claims as claim_store
from services.profile.store import customers as customer_store
from services.profile.store import events as event_store
from services.profile.store import identities as identity_store
from services.profile.store.events import StoredEvent

log = logging.getLogger(__name__)

ATTEMPTS = 5
PUBLISHED = frozenset({"track", "page", "screen", "group"})


class NotRecorded(RaakError, code="PROFILE_NOT_RECORDED", status=500):
    """Recording one call failed by our fault: it is set aside, and the others are recorded."""

    def __init__(self) -> None:
        super().__init__(
            "The event could not be recorded yet: it is kept, and tried again.",
            hint="You need not send it again; with the same messageId that does no harm.",
        )


class _LimitsExceeded(Exception):
    """Some calls would exceed the limits of their customers: by the id of the event."""

    def __init__(self, errors: Mapping[UUID, InvalidEvent]) -> None:
        super().__init__()
        self.errors = errors


class RecordedCall(NamedTuple):
    """A call that is recorded: whose it is, and whether it was recorded before.

    `ignored` says what of it was not taken over.
    """

    customer: UUID
    is_duplicate: bool
    ignored: InvalidEvent | None = None


async def record(
    connection: Connection,
    cache: SegmentCache,
    calls: Sequence[Call],
    now: datetime,
    limits: CustomerLimits = DEFAULT_LIMITS,
) -> list[RecordedCall | InvalidEvent]:
    """Record calls in the caller's transaction; the answer has one entry for each.

    A message id a customer has already changes nothing. When two transactions create the same
    identity, or lock each other out, one tries again. A call that may not change what it would, or
    that would exceed its customer's limits, costs itself only: its entry says why.

    Raises:
        ConcurrentUpdate: Every attempt failed.
    """
    refused: dict[UUID, InvalidEvent] = {}
    for _ in range(ATTEMPTS):
        rest = [call for call in calls if call.event_id not in refused]
        try:
            async with connection.transaction():
                results = iter(await _record(connection, cache, rest, now, limits) if rest else [])
                return [refused.get(call.event_id) or next(results) for call in calls]
        except _LimitsExceeded as more:
            refused |= more.errors
        except (ConcurrentUpdate, asyncpg.DeadlockDetectedError):
            continue
    raise ConcurrentUpdate


async def record_apart(
    connection: Connection,
    cache: SegmentCache,
    calls: Sequence[Call],
    now: datetime,
    limits: CustomerLimits = DEFAULT_LIMITS,
) -> list[RecordedCall | RaakError]:
    """As `record`, and a call that cannot be recorded for any reason costs itself only.

    One that failed by our fault is set aside in the caller's transaction, to be tried again.
    """

    async def act(some: Sequence[Call]) -> Sequence[RecordedCall | RaakError]:
        return await record(connection, cache, some, now, limits)

    results = [_result(one) for one in await isolate_failures(connection, calls, act)]
    pairs = zip(calls, results, strict=True)
    failed = [call for call, result in pairs if isinstance(result, NotRecorded)]
    await outbox.publish(connection, [_set_aside(call, now) for call in failed])
    return results


def _result(recorded: RecordedCall | RaakError | Failure) -> RecordedCall | RaakError:
    if not isinstance(recorded, Failure):
        return recorded
    SET_ASIDE.labels("profile", "record", recorded.reason).inc()
    fields = {"because": telemetry.describe(recorded.error)}
    log.error("an event is not recorded", extra={"fields": fields})
    return recorded.error if isinstance(recorded.error, RaakError) else NotRecorded()


def _set_aside(call: Call, now: datetime) -> EventSetAside:
    return EventSetAside.model_construct(
        event_id=call.event_id, customer_id=None, occurred_at=now, call=dump_call(call)
    )


async def record_again(
    connection: Connection,
    cache: SegmentCache,
    events: Sequence[EventSetAside],
    now: datetime,
    limits: CustomerLimits,
) -> None:
    """Record calls that were set aside; those sent again meanwhile change nothing.

    One that may not be recorded by now is refused as usual, but no sender is there to hear it.
    """
    calls = [load_call(event.call) for event in events]
    for result in await record(connection, cache, calls, now, limits):
        if isinstance(result, InvalidEvent):
            fields = {"because": result.code}
            log.error("an event that was set aside is refused", extra={"fields": fields})


async def _record(
    connection: Connection,
    cache: SegmentCache,
    calls: Sequence[Call],
    now: datetime,
    limits: CustomerLimits,
) -> list[RecordedCall | InvalidEvent]:
    definitions = await cache.current(connection)
    locked = await lock_customers(connection, calls, cache.base)
    before = await _find_recorded(connection, locked, calls)
    assigned = locked.assign(calls, before)
    await _write_identities(connection, locked.directory, locked.customers, now)
    await claim_store.confirm_claims(connection, locked.proved_claims(calls, assigned), now)
    results = await _find_duplicates(connection, locked, calls, assigned, before)
    new = [
        (result.customer, locked.admit(call))
        for result, call in zip(results, calls, strict=True)
        if isinstance(result, RecordedCall) and not result.is_duplicate
    ]
    customers = locked.affected_customers({customer for customer, _ in new})
    merged_away = locked.merge_away()
    await customer_store.read_values(connection, customers)
    await _recompute(connection, cache, definitions, locked, customers.values(), now)
    _apply(definitions, customers, new, now, limits)
    created = locked.directory.new_customers
    written = [*customers.values(), *merged_away]
    if await write_customers(connection, written, created, now) != len(created):
        raise ConcurrentUpdate  # another transaction created the same visitor first
    if new:
        await event_store.append(connection, new)
    await claim_store.record_claims(connection, locked.unproved_claims(new), now)
    events = _make_events(definitions, locked, customers, merged_away, new, now)
    await outbox.publish(connection, list(events))
    return results


async def _find_recorded(
    connection: Connection, locked: LockedCustomers, calls: Sequence[Call]
) -> list[UUID | None]:
    """With which customer each call is recorded already, None for one that is new."""
    candidates = [(call, locked.candidates(call)) for call in calls]
    keys = {_key(customer_id, call) for call, ids in candidates for customer_id in ids}
    recorded = await event_store.find_recorded(connection, keys)
    return [next((i for i in ids if _key(i, call) in recorded), None) for call, ids in candidates]


def _key(customer: UUID, call: Call) -> event_store.Key:
    return customer, call.sender, call.message_id


async def _find_duplicates(
    connection: Connection,
    locked: LockedCustomers,
    calls: Sequence[Call],
    assigned: Sequence[UUID],
    before: Sequence[UUID | None],
) -> list[RecordedCall | InvalidEvent]:
    """Tell new calls from those their customer has already, or has earlier in the list."""
    keys = [_key(customer_id, call) for customer_id, call in zip(assigned, calls, strict=True)]
    recorded: set[event_store.Key] = set()
    if locked.directory.merges:  # a survivor has more than was looked up before
        recorded = await event_store.find_recorded(connection, set(keys))
    results: list[RecordedCall | InvalidEvent] = []
    for key, owner, call in zip(keys, before, calls, strict=True):
        is_duplicate = owner is not None or key in recorded
        if not is_duplicate and (refusal := locked.refusals.get(call.event_id)):
            results.append(refusal)
            continue
        results.append(RecordedCall(key[0], is_duplicate, locked.ignored.get(call.event_id)))
        recorded.add(key)
    return results


async def _write_identities(
    connection: Connection,
    directory: IdentityDirectory,
    customers: Collection[UUID],
    now: datetime,
) -> None:
    """Write the resolved identities: owners, merges, and the history of both."""
    owners = directory.new_owners
    count = await identity_store.assign_owners(connection, owners, directory.links, customers, now)
    if count != len(owners):
        raise ConcurrentUpdate  # another transaction assigned one in the meantime
    for merge in directory.merges:
        if merge.from_customer in customers:
            await customer_store.move_to_survivor(
                connection, merge.from_customer, directory.survivor(merge.into_customer)
            )
    changes: list[IdentityChange] = [*directory.merges, *directory.refusals.values()]
    rows = [(directory.survivor(change.into_customer), change) for change in changes]
    await identity_store.insert_changes(connection, rows, now)


async def _recompute(
    connection: Connection,
    cache: SegmentCache,
    definitions: SegmentDefinitions,
    locked: LockedCustomers,
    customers: Iterable[Customer],
    now: datetime,
) -> None:
    with_new_history = locked.customers_with_new_history()
    with_new_identities = set(locked.directory.new_owners.values())
    for customer in customers:
        if customer.rules_version > definitions.version:
            raise ConcurrentUpdate  # a newer version was published while we waited for the lock
        is_new = customer.id in locked.directory.new_customers
        customer.is_changed |= is_new or customer.id in with_new_identities
        if customer.id in with_new_history:
            customer.rules_version = 0  # its history is another one now
        elif is_new:
            customer.rules_version = definitions.version  # it has no history yet
    await recompute_series(connection, cache, definitions, customers, now)


def _apply(
    definitions: SegmentDefinitions,
    customers: dict[UUID, Customer],
    calls: Iterable[tuple[UUID, Call]],
    now: datetime,
    limits: CustomerLimits,
) -> None:
    refused: dict[UUID, InvalidEvent] = {}
    for customer_id, call in calls:
        try:
            customers[customer_id].learn(call, limits)
        except InvalidEvent as error:
            refused[call.event_id] = error
        else:
            definitions.observe(customers[customer_id], call, now)
    if refused:
        raise _LimitsExceeded(refused)
    for customer in customers.values():
        definitions.assign_segments(customer, now)
        customer.version += customer.is_changed


def _make_events(
    definitions: SegmentDefinitions,
    locked: LockedCustomers,
    customers: dict[UUID, Customer],
    merged_away: Sequence[Customer],
    calls: Iterable[tuple[UUID, Call]],
    now: datetime,
) -> Iterator[Event]:
    for merge in locked.directory.merges:
        yield to_customers_merged(merge, now)
    for customer_id, call in calls:
        if call.kind in PUBLISHED:
            yield to_event_recorded(call, call.primary_identity, customers[customer_id])
    yield from make_snapshots(definitions, [*merged_away, *customers.values()], now)


def to_customers_merged(merge: IdentityChange, at: datetime) -> CustomersMerged:
    """The event that publishes a merge, always under the same id."""
    return CustomersMerged.model_construct(
        event_id=merge.id,
        customer_id=merge.into_customer,
        occurred_at=at,
        change_id=merge.id,
        from_customer_id=merge.from_customer,
        identities=tuple(to_payload(identity) for identity in merge.identities),
        reason=merge.reason,
        linked_by=merge.linked_by and merge.linked_by.value,
    )


def to_event_recorded(
    event: Call | StoredEvent, identity: Identity, customer: Customer
) -> EventRecorded:
    """The event that publishes a customer's event, always under the same id."""
    return EventRecorded.model_construct(
        event_id=event.event_id,
        customer_id=customer.id,
        occurred_at=event.occurred_at,
        name=event.name,
        properties=event.properties,
        context=event.context,
        message_id=event.message_id,
        identity=to_payload(identity),
        received_at=event.received_at,
        customer_version=customer.version,
        sender=str(event.sender),
    )
