"""What customers do and what becomes known of them, as it moves their journeys.

An event nobody listens to costs one look into a set. Customers are locked first, all at once in
the order of their ids, then their instances, then the counts of steps; timers being fired hold no
customers, so nobody waits in a circle.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from services.chassis.database import Connection
from services.contracts.base import Json
from services.contracts.profile import CustomerChanged, CustomersMerged
from services.journey.domain import state_machine
from services.journey.domain.instance import Changed, Happened, Instance
from services.journey.domain.journey import Journey
from services.journey.service.engine import Engine
from services.journey.service.journey_cache import Book
from services.journey.service.journey_state import Standing, facts_of
from services.journey.store import customers, instances

FIRST_LOOK_S = 0.01
"""The first pause between looks for snapshots; each one after it is twice as long."""

LONGEST_PAUSE_S = 0.2

KEPT = {"identities", "traits", "consents", "segments", "series", "series_versions"}
"""What is kept of a snapshot."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A customer's event; `version` is the first snapshot that contains it, 0 when none has to."""

    customer: UUID
    event: Happened
    version: int = 0


async def hear(engine: Engine, connection: Connection, events: Sequence[Heard]) -> None:
    """Let events move the journeys that listen to them, and let their customers in."""
    if not events:
        return
    book = await engine.library.book(connection)
    listened = [one for one in events if one.event.name in book.listened]
    if not listened:
        return
    matter = await _that_matter(engine, connection, book, await _as_now(connection, listened))
    if not matter:
        return
    await _snapshots_with(engine, connection, matter)
    held = await customers.lock_with_survivors(connection, {one.customer for one in matter})
    matter = await _as_now(connection, matter)
    entered = {journey.key for one in matter for journey in book.entered_by(one.event.name)}
    standing = await _standing(engine, connection, book, held.keys(), entered)
    for one in matter:
        standing.stir(one.customer, one.event)
        standing.admit(one.customer, one.event, _open_to(engine, book, one.event))
    await engine.write(connection, standing)


async def _as_now(connection: Connection, events: Sequence[Heard]) -> list[Heard]:
    """The events with the customers their customers have become."""
    became = await customers.became(connection, {one.customer for one in events})
    return [
        replace(one, customer=became[one.customer], version=0) if one.customer in became else one
        for one in events
    ]


async def _that_matter(
    engine: Engine, connection: Connection, book: Book, events: Sequence[Heard]
) -> list[Heard]:
    """The events of customers whom one of them may let in, or moves on.

    An imported history lets nobody in, and so costs one query a list.
    """
    under_way = await instances.customers_under_way(connection, {one.customer for one in events})
    await book.prepare((key, version) for _, key, version in under_way)
    listening = {
        (customer, name)
        for customer, key, version in under_way
        for name in book.journey(key, version).event_names
    }
    concerned = {
        one.customer
        for one in events
        if (one.customer, one.event.name) in listening or _open_to(engine, book, one.event)
    }
    return [one for one in events if one.customer in concerned]


def _open_to(engine: Engine, book: Book, event: Happened) -> list[Journey]:
    """The journeys an event can let its customer into, old as it is."""
    return _fresh(engine, book.entered_by(event.name), event.at)


def _fresh(engine: Engine, journeys: Sequence[Journey], at: datetime) -> list[Journey]:
    age = engine.clock() - at
    return [journey for journey in journeys if age <= _enter_late(engine, journey)]


def _enter_late(engine: Engine, journey: Journey) -> timedelta:
    return journey.definition.entry.enter_late or engine.enter_late


async def _snapshots_with(engine: Engine, connection: Connection, events: Sequence[Heard]) -> None:
    """Wait until the snapshots held contain these events; not for ever, and holding no lock."""
    needed: dict[UUID, int] = {}
    for one in events:
        needed[one.customer] = max(one.version, needed.get(one.customer, 0))
    loop = asyncio.get_running_loop()
    give_up, pause = loop.time() + engine.patience_s, FIRST_LOOK_S
    while needed:
        held = await customers.versions(connection, needed)
        needed = {one: version for one, version in needed.items() if held.get(one, 0) < version}
        if loop.time() >= give_up:
            return
        if needed:
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)


async def _standing(
    engine: Engine,
    connection: Connection,
    book: Book,
    ids: Collection[UUID],
    entered: Collection[str],
) -> Standing:
    """Where locked customers stand, with their last instances of the journeys they may enter.

    Active ones are locked before the last ones are read: a timer may be moving one until then.
    """
    under_way = await instances.lock_active(connection, ids)
    last = await instances.latest(connection, ids, entered) if entered else []
    latest = {instance.id: instance for instance in (*last, *under_way)}
    return await engine.standing(connection, book, ids, latest.values())


async def take_in(
    engine: Engine, connection: Connection, changes: Sequence[CustomerChanged]
) -> None:
    """Keep new snapshots, and let what is new in them move journeys and let customers in."""
    latest: dict[UUID, CustomerChanged] = {}
    for change in changes:
        if change.customer_id and change.version >= _version(latest.get(change.customer_id)):
            latest[change.customer_id] = change
    held = await customers.lock(connection, latest)
    new = {one: latest[one] for one, version in held.items() if latest[one].version > version}
    if not new:
        return
    book = await engine.library.book(connection)
    before = await customers.snapshots(connection, new) if book.watches_customer else {}
    await customers.save(
        connection, [(who, one.version, _document(one)) for who, one in new.items()], engine.clock()
    )
    if not book.watches_customer:
        return
    entered = [journey.key for journey in book.entered_by(None)]
    standing = await _standing(engine, connection, book, new.keys(), entered)
    for customer, change in new.items():
        stimulus = Changed(change.event_id, change.occurred_at)
        known = before.get(customer)
        standing.stir(customer, stimulus)
        standing.admit(
            customer,
            stimulus,
            _fresh(engine, book.entered_by(None), change.occurred_at),
            facts_of(known.document, known.seen_at, book.declaration) if known else None,
        )
    await engine.write(connection, standing)


def _version(change: CustomerChanged | None) -> int:
    return change.version if change else 0


def _document(change: CustomerChanged) -> dict[str, Json]:
    """The snapshot as it is kept."""
    return change.model_dump(mode="json", include=KEPT)


async def merge(engine: Engine, connection: Connection, merges: Sequence[CustomersMerged]) -> None:
    """Make the instances and messages of merged customers those of the customers they became."""
    pairs = [(one.from_customer_id, one.customer_id) for one in merges if one.customer_id]
    held = await customers.lock_with_survivors(connection, {one for pair in pairs for one in pair})
    await instances.lock_active(connection, held)
    for from_id, into_id in pairs:
        await _merge(engine, connection, from_id, into_id)


async def _merge(engine: Engine, connection: Connection, from_id: UUID, into_id: UUID) -> None:
    became = await customers.became(connection, [into_id])
    into_id = became.get(into_id, into_id)
    if from_id == into_id:
        return
    doubles = _doubles(await instances.lock_active(connection, [from_id, into_id]))
    await instances.make_room(connection, doubles, engine.clock())
    await instances.move(connection, from_id, into_id)
    await customers.merge(connection, from_id, into_id)
    moved = [replace(instance, customer_id=into_id) for instance in doubles]
    standing = await engine.standing(
        connection, await engine.library.book(connection), [into_id], moved
    )
    for instance in moved:
        standing.end(instance, state_machine.MERGED)
    await engine.write(connection, standing)


def _doubles(under_way: Sequence[Instance]) -> list[Instance]:
    """Of two instances for one journey and key, the one that does not stay."""
    staying: dict[tuple[str, str], Instance] = {}
    doubles: list[Instance] = []
    for instance in under_way:
        place = (instance.journey, instance.key)
        if place in staying:
            instance, double = state_machine.clash(instance, staying[place])
            doubles.append(double)
        staying[place] = instance
    return doubles
