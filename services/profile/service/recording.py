"""Recording: a list of calls becomes events, and changes the customers they speak of.

One list is one transaction, whatever its length, and a fixed number of statements. The order is:
lock the customers concerned, by id; set aside what is recorded already; resolve identities in
memory; claim and merge; bring customers up to date; apply; write; publish.
"""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from services.chassis import outbox, telemetry
from services.chassis.database import Connection
from services.chassis.errors import RaakError, Unavailable
from services.chassis.ids import new_id
from services.chassis.isolation import SET_ASIDE, Failure, act_apart
from services.contracts.base import Event
from services.contracts.identity import KNOWN_TYPES
from services.contracts.profile import CustomersMerged, EventRecorded, EventSetAside
from services.profile.domain.calls import (
    Call,
    InvalidEvent,
    UnprovedChange,
    dump_call,
    load_call,
)
from services.profile.domain.customer import DEFAULT_ROOM, WITHDRAWN, Customer, Room, sent
from services.profile.domain.identities import Change, Directory, Identity, visitor_of
from services.profile.domain.segment_definitions import Rulebook
from services.profile.service.customers import catch_up, snapshots, write
from services.profile.service.segment_cache import Rulebooks
from services.profile.store import claims as claim_store
from services.profile.store import customers as customer_store
from services.profile.store import events as event_store
from services.profile.store import identities as identity_store
from services.profile.store.events import Recorded

log = logging.getLogger(__name__)

ATTEMPTS = 5
PUBLISHED = frozenset({"track", "page", "screen", "group"})


class Overtaken(Unavailable):
    """Others kept changing the same customers at the same time."""

    code = "PROFILE_OVERTAKEN"

    def __init__(self) -> None:
        super().__init__(
            "The customers concerned were changed by others at the same moment.",
            hint="Send the same again: what was recorded is not recorded twice.",
        )


class NotRecorded(RaakError):
    """Recording one call failed by our fault: it is set aside, and the others are recorded."""

    code = "PROFILE_NOT_RECORDED"
    status = 500

    def __init__(self) -> None:
        super().__init__(
            "The event could not be recorded yet: it is kept, and tried again.",
            hint="You need not send it again; with the same messageId that does no harm.",
        )


class _Refused(Exception):
    """Some calls ask for more than their customers have room for: by the id of the event."""

    def __init__(self, errors: Mapping[UUID, InvalidEvent]) -> None:
        super().__init__()
        self.errors = errors


class Taken(NamedTuple):
    """What became of a call: whose it is, and whether it was recorded before.

    `ignored` says what was not taken over of one that is recorded.
    """

    customer: UUID
    duplicate: bool
    ignored: InvalidEvent | None = None


async def record(
    connection: Connection,
    rulebooks: Rulebooks,
    calls: Sequence[Call],
    now: datetime,
    room: Room = DEFAULT_ROOM,
) -> list[Taken | InvalidEvent]:
    """Record calls in the caller's transaction; the answer has one entry for each.

    A message id a customer has already changes nothing. Two transactions that meet the same new
    identity, or lock each other out, are told apart by a further attempt. A call that may not
    change what it would, or that its customer has no room for, is refused alone: its entry says
    why.

    Raises:
        Overtaken: It went wrong several times over.
    """
    refused: dict[UUID, InvalidEvent] = {}
    for _ in range(ATTEMPTS):
        left = [call for call in calls if call.event_id not in refused]
        try:
            async with connection.transaction():
                taken = iter(await _record(connection, rulebooks, left, now, room) if left else [])
                return [refused.get(call.event_id) or next(taken) for call in calls]
        except _Refused as more:
            refused |= more.errors
        except (Overtaken, asyncpg.DeadlockDetectedError):
            continue
    raise Overtaken


async def record_apart(
    connection: Connection,
    rulebooks: Rulebooks,
    calls: Sequence[Call],
    now: datetime,
    room: Room = DEFAULT_ROOM,
) -> list[Taken | RaakError]:
    """As `record`; a call that cannot be recorded, whatever the reason, costs itself only.

    One that failed by our fault is set aside in the caller's transaction, to be tried again.
    """

    async def act(some: Sequence[Call]) -> Sequence[Taken | RaakError]:
        return await record(connection, rulebooks, some, now, room)

    results = [_result(one) for one in await act_apart(connection, calls, act)]
    pairs = zip(calls, results, strict=True)
    failed = [call for call, result in pairs if isinstance(result, NotRecorded)]
    await outbox.publish(connection, [_set_aside(call, now) for call in failed])
    return results


def _result(recorded: Taken | RaakError | Failure) -> Taken | RaakError:
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
    rulebooks: Rulebooks,
    events: Sequence[EventSetAside],
    now: datetime,
    room: Room,
) -> None:
    """Record what was set aside; what its sender has sent again meanwhile changes nothing.

    What may not be recorded by now is refused as it would be at the door, but that nobody is there.
    """
    calls = [load_call(event.call) for event in events]
    for result in await record(connection, rulebooks, calls, now, room):
        if isinstance(result, InvalidEvent):
            fields = {"because": result.code}
            log.error("an event that was set aside is refused", extra={"fields": fields})


async def _record(
    connection: Connection,
    rulebooks: Rulebooks,
    calls: Sequence[Call],
    now: datetime,
    room: Room,
) -> list[Taken | InvalidEvent]:
    rulebook = await rulebooks.current(connection)
    desk = await _open_desk(connection, calls, rulebooks.base)
    before = await _recorded_before(connection, desk, calls)
    assigned = desk.assign(calls, before)
    await _settle(connection, desk, now)
    await claim_store.confirm(connection, desk.proved(calls, assigned), now)
    taken = await _without_repetition(connection, desk, calls, assigned, before)
    fresh = [
        (one.customer, desk.admitted(call))
        for one, call in zip(taken, calls, strict=True)
        if isinstance(one, Taken) and not one.duplicate
    ]
    customers, gone = desk.touched({customer for customer, _ in fresh}), desk.absorbed()
    await customer_store.fill_in(connection, customers)
    await _bring_up_to_date(connection, rulebooks, rulebook, desk, customers.values(), now)
    _apply(rulebook, customers, fresh, now, room)
    await _write(connection, desk, [*customers.values(), *gone], now)
    if fresh:
        await event_store.append(connection, fresh)
    await claim_store.note(connection, desk.unproved(fresh), now)
    await outbox.publish(connection, list(_news(rulebook, desk, customers, gone, fresh, now)))
    return taken


@dataclass(slots=True)
class _Desk:
    """The customers a transaction has locked, and who they are."""

    locked: dict[UUID, Customer]
    directory: Directory
    meant: dict[UUID, UUID]
    """Ids that calls name, and the customers these have become."""
    base: int
    """What the versions of new customers count from."""
    refusals: dict[UUID, InvalidEvent] = field(default_factory=dict)
    """Calls that may not do what they ask, by the ids of their events."""
    ignored: dict[UUID, InvalidEvent] = field(default_factory=dict)
    """Calls whose consents are not taken over, but for withdrawals."""

    def candidates(self, call: Call) -> set[UUID]:
        """The customers a call may have been recorded with before."""
        found = {self.directory.owners.get(i) or visitor_of(i) for i in call.identities}
        if call.customer:
            found.add(self.meant.get(call.customer, call.customer))
        return {one for one in found if one in self.locked}

    def assign(self, calls: Sequence[Call], before: Sequence[UUID | None]) -> list[UUID]:
        """Say whose each call is; one recorded before joins nobody again."""
        owners = [b or self._resolve(call) for call, b in zip(calls, before, strict=True)]
        return [self.directory.survivor(owner) for owner in owners]

    def _resolve(self, call: Call) -> UUID:
        named = self.meant.get(call.customer, call.customer) if call.customer else None
        customer = self.directory.resolve(call.identities, call.kind, named, call.linked_by)
        if call.previous:
            self.directory.alias(call.previous, customer, call.linked_by)
        if not call.is_proved and self.directory.is_known(customer):
            self._restrict(call)
        return customer

    def _restrict(self, call: Call) -> None:
        """Let a sender that proves nothing say nothing of a known customer, but that they say no.

        Consent libraries send their words with every event, which is to be recorded all the same.
        """
        if call.traits or call.kind == "alias":
            what = "alias" if call.kind == "alias" else "traits"
            self.refusals[call.event_id] = UnprovedChange.of(what)
        elif any(word.status != WITHDRAWN for word in call.consents.values()):
            self.ignored[call.event_id] = UnprovedChange.of("consents")

    def admitted(self, call: Call) -> Call:
        """The call without what its sender may not say."""
        if call.event_id not in self.ignored:
            return call
        consents = {p: word for p, word in call.consents.items() if word.status == WITHDRAWN}
        return call._replace(consents=consents)

    def unproved(self, fresh: Iterable[tuple[UUID, Call]]) -> Iterator[tuple[UUID, Identity, str]]:
        """The identities that calls claim for their customers, and which are not theirs."""
        for customer, call in fresh:
            for claim in call.claims:
                if self.directory.owners.get(claim) != customer:
                    yield customer, claim, call.sender

    def proved(self, calls: Iterable[Call], assigned: Iterable[UUID]) -> set[tuple[UUID, Identity]]:
        """The identities of persons that somebody may just have proved to be a customer's."""
        if not self.directory.moved:
            return set()
        return {
            (customer, named)
            for customer, call in zip(assigned, calls, strict=True)
            if call.linked_by.is_proved
            for named in call.identities
            if named.type in KNOWN_TYPES and self.directory.owners[named] == customer
        }

    def touched(self, assigned: Collection[UUID]) -> dict[UUID, Customer]:
        """The customers that calls were assigned to, or others merged into."""
        merged = {self.directory.survivor(m.into_customer) for m in self.directory.merges}
        return {one: self._customer(one) for one in sorted({*assigned, *merged})}

    def joined(self) -> set[UUID]:
        """The customers who got somebody's history."""
        merges = self.directory.merges
        return {
            self.directory.survivor(merge.into_customer)
            for merge in merges
            if merge.from_customer in self.locked
        }

    def absorbed(self) -> list[Customer]:
        """The customers that are others' now."""
        gone = [self._customer(merge.from_customer) for merge in self.directory.merges]
        for customer in gone:
            customer.absorb_into(self.directory.survivor(customer.id))
        return gone

    def _customer(self, id: UUID) -> Customer:
        customer = self.locked.get(id) or Customer(id, self.base)
        customer.identities = self.directory.holdings[id]
        return customer


async def _open_desk(connection: Connection, calls: Sequence[Call], base: int) -> _Desk:
    """Lock every customer the calls may concern, and read who they are."""
    wanted = {identity for call in calls for identity in _named(call)}
    named = {call.customer for call in calls if call.customer}
    owners = await identity_store.owners(connection, wanted) if wanted else {}
    meant = await identity_store.survivors(connection, named) if named else {}
    visitors = {visitor for i in wanted - owners.keys() if (visitor := visitor_of(i))}
    locked = await customer_store.lock(connection, {*owners.values(), *meant.values(), *visitors})
    held = await identity_store.links(connection, locked)
    directory = Directory(
        {customer: set(identities) for customer, identities in held.items()},
        new_id,
        {one: link for links in held.values() for one, link in links.items() if link},
    )
    if not (owners.keys() <= directory.owners.keys() and locked.keys() >= set(meant.values())):
        raise Overtaken  # somebody merged one of them before we had the lock
    return _Desk(locked, directory, meant, base)


def _named(call: Call) -> Iterator[Identity]:
    yield from call.identities
    if call.previous:
        yield Identity("user_id", call.previous)
        yield Identity("anonymous_id", call.previous)


async def _recorded_before(
    connection: Connection, desk: _Desk, calls: Sequence[Call]
) -> list[UUID | None]:
    """With which customer each call is recorded already, None for one that is new."""
    candidates = [desk.candidates(call) for call in calls]
    pairs = list(zip(calls, candidates, strict=True))
    known = await _known(connection, {_key(one, call) for call, them in pairs for one in them})
    return [next((o for o in them if _key(o, call) in known), None) for call, them in pairs]


def _key(customer: UUID, call: Call) -> event_store.Key:
    return customer, call.sender, call.message_id


async def _without_repetition(
    connection: Connection,
    desk: _Desk,
    calls: Sequence[Call],
    assigned: Sequence[UUID],
    before: Sequence[UUID | None],
) -> list[Taken | InvalidEvent]:
    """Tell new calls from those their customer has already, or has earlier in the list."""
    keys = [_key(one, call) for one, call in zip(assigned, calls, strict=True)]
    merged = bool(desk.directory.merges)  # then he has more than was looked up before
    seen = await _known(connection, set(keys)) if merged else set()
    taken: list[Taken | InvalidEvent] = []
    for key, recorded, call in zip(keys, before, calls, strict=True):
        duplicate = recorded is not None or key in seen
        if not duplicate and (refusal := desk.refusals.get(call.event_id)):
            taken.append(refusal)
            continue
        taken.append(Taken(key[0], duplicate, desk.ignored.get(call.event_id)))
        seen.add(key)
    return taken


async def _known(connection: Connection, keys: Collection[event_store.Key]) -> set[event_store.Key]:
    return await event_store.known(connection, keys) if keys else set()


async def _settle(connection: Connection, desk: _Desk, now: datetime) -> None:
    """Make the resolved identities true: claims, merges, and the record of both."""
    directory = desk.directory
    if directory.moved:
        given = await identity_store.claim(
            connection, directory.moved, directory.links, desk.locked, now
        )
        if given != len(directory.moved):
            raise Overtaken  # somebody else claimed one in the meantime
    for merge in directory.merges:
        if merge.from_customer in desk.locked:
            await customer_store.hand_over(
                connection, merge.from_customer, directory.survivor(merge.into_customer)
            )
    changes: list[Change] = [*directory.merges, *directory.refusals.values()]
    rows = [(directory.survivor(change.into_customer), change) for change in changes]
    await identity_store.note_changes(connection, rows, now)


async def _bring_up_to_date(
    connection: Connection,
    rulebooks: Rulebooks,
    rulebook: Rulebook,
    desk: _Desk,
    customers: Iterable[Customer],
    now: datetime,
) -> None:
    joined, given = desk.joined(), set(desk.directory.moved.values())
    for customer in customers:
        if customer.rules_version > rulebook.version:
            raise Overtaken  # somebody published while we waited for the lock
        new = customer.id in desk.directory.created
        customer.changed |= new or customer.id in given
        if customer.id in joined:
            customer.rules_version = 0  # its history is another one now
        elif new:
            customer.rules_version = rulebook.version  # it has no history yet
    await catch_up(connection, rulebooks, rulebook, customers, now)


def _apply(
    rulebook: Rulebook,
    customers: dict[UUID, Customer],
    fresh: Iterable[tuple[UUID, Call]],
    now: datetime,
    room: Room,
) -> None:
    refused: dict[UUID, InvalidEvent] = {}
    for one, call in fresh:
        try:
            customers[one].learn(call, room)
        except InvalidEvent as error:
            refused[call.event_id] = error
        else:
            rulebook.observe(customers[one], call, now)
    if refused:
        raise _Refused(refused)
    for customer in customers.values():
        rulebook.decide(customer, now)
        customer.version += customer.changed


async def _write(
    connection: Connection, desk: _Desk, customers: Sequence[Customer], now: datetime
) -> None:
    created = desk.directory.created
    if await write(connection, customers, created, now) != len(created):
        raise Overtaken  # somebody else met the same visitor first


def _news(
    rulebook: Rulebook,
    desk: _Desk,
    customers: dict[UUID, Customer],
    gone: Sequence[Customer],
    fresh: Iterable[tuple[UUID, Call]],
    now: datetime,
) -> Iterator[Event]:
    for merge in desk.directory.merges:
        yield merged(merge, now)
    for one, call in fresh:
        if call.kind in PUBLISHED:
            yield event_recorded(call, call.came_by, customers[one])
    yield from snapshots(rulebook, [*gone, *customers.values()], now)


def merged(merge: Change, at: datetime) -> CustomersMerged:
    """A merge as it is told, always under the same id."""
    return CustomersMerged.model_construct(
        event_id=merge.id,
        customer_id=merge.into_customer,
        occurred_at=at,
        change_id=merge.id,
        from_customer_id=merge.from_customer,
        identities=tuple(sent(identity) for identity in merge.identities),
        reason=merge.reason,
        linked_by=merge.linked_by and merge.linked_by.value,
    )


def event_recorded(event: Call | Recorded, came_by: Identity, customer: Customer) -> EventRecorded:
    """An event as it is told, always under the same id."""
    return EventRecorded.model_construct(
        event_id=event.event_id,
        customer_id=customer.id,
        occurred_at=event.occurred_at,
        name=event.name,
        properties=event.properties,
        context=event.context,
        message_id=event.message_id,
        identity=sent(came_by),
        received_at=event.received_at,
        customer_version=customer.version,
        sender=str(event.sender),
    )
