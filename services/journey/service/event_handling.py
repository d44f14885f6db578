"""Handling events: what customers do, snapshots of them and merges, as they move instances.

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
from services.journey.domain.instance import ChangeStimulus, EventStimulus, Instance
from services.journey.domain.journey import Journey
from services.journey.service.engine import Engine
from services.journey.service.journey_cache import JourneySet
from services.journey.service.journey_state import JourneyState, build_facts
from services.journey.store import customers, instances

FIRST_PAUSE_S = 0.01
"""The first pause between looks for snapshots; each one after it is twice as long."""

LONGEST_PAUSE_S = 0.2

SNAPSHOT_FIELDS = {"identities", "traits", "consents", "segments", "series", "series_versions"}
"""What is stored of a snapshot."""


@dataclass(frozen=True, slots=True)
class IncomingEvent:
    """A customer's event; `version` is of the first snapshot that contains it, 0 if none must."""

    customer: UUID
    event: EventStimulus
    version: int = 0


async def handle_events(
    engine: Engine, connection: Connection, events: Sequence[IncomingEvent]
) -> None:
    """Move the instances that wait for events, and let customers into journeys by them."""
    if not events:
        return
    journeys = await engine.cache.load(connection)
    candidates = [one for one in events if one.event.name in journeys.event_names]
    if not candidates:
        return
    candidates = await _follow_merges(connection, candidates)
    relevant = await _select_relevant(engine, connection, journeys, candidates)
    if not relevant:
        return
    await _wait_for_snapshots(engine, connection, relevant)
    versions = await customers.lock_with_survivors(connection, {one.customer for one in relevant})
    relevant = await _follow_merges(connection, relevant)
    entry_keys = {
        journey.key for one in relevant for journey in journeys.find_by_entry_event(one.event.name)
    }
    state = await _load_state(engine, connection, journeys, versions.keys(), entry_keys)
    for one in relevant:
        state.apply_stimulus(one.customer, one.event)
        state.enter(one.customer, one.event, _find_open_journeys(engine, journeys, one.event))
    await engine.save(connection, state)


async def _follow_merges(
    connection: Connection, events: Sequence[IncomingEvent]
) -> list[IncomingEvent]:
    """The events, those of merged customers given to the customers they have become."""
    survivors = await customers.find_survivors(connection, {one.customer for one in events})
    return [
        replace(one, customer=survivors[one.customer], version=0)
        if one.customer in survivors
        else one
        for one in events
    ]


async def _select_relevant(
    engine: Engine, connection: Connection, journeys: JourneySet, events: Sequence[IncomingEvent]
) -> list[IncomingEvent]:
    """The events of customers whom one of these events may let in, or move on.

    An imported history lets nobody in, and so costs one query a list.
    """
    active = await instances.load_active_versions(connection, {one.customer for one in events})
    await journeys.compile((key, version) for _, key, version in active)
    listening = {
        (customer, name)
        for customer, key, version in active
        for name in journeys.get(key, version).event_names
    }
    ids = {
        one.customer
        for one in events
        if (one.customer, one.event.name) in listening
        or _find_open_journeys(engine, journeys, one.event)
    }
    return [one for one in events if one.customer in ids]


def _find_open_journeys(
    engine: Engine, journeys: JourneySet, event: EventStimulus
) -> list[Journey]:
    """The journeys an event of its age can let its customer into."""
    return _select_fresh(engine, journeys.find_by_entry_event(event.name), event.at)


def _select_fresh(engine: Engine, journeys: Sequence[Journey], at: datetime) -> list[Journey]:
    age = engine.clock() - at
    return [journey for journey in journeys if age <= _entry_age_limit(engine, journey)]


def _entry_age_limit(engine: Engine, journey: Journey) -> timedelta:
    return journey.definition.entry.enter_late or engine.enter_late


async def _wait_for_snapshots(
    engine: Engine, connection: Connection, events: Sequence[IncomingEvent]
) -> None:
    """Wait until stored snapshots contain these events; not for ever, and holding no lock."""
    needed: dict[UUID, int] = {}
    for one in events:
        needed[one.customer] = max(one.version, needed.get(one.customer, 0))
    loop = asyncio.get_running_loop()
    give_up, pause = loop.time() + engine.patience_s, FIRST_PAUSE_S
    while needed:
        versions = await customers.load_versions(connection, needed)
        needed = {one: version for one, version in needed.items() if versions.get(one, 0) < version}
        if loop.time() >= give_up:
            return
        if needed:
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)


async def _load_state(
    engine: Engine,
    connection: Connection,
    journeys: JourneySet,
    ids: Collection[UUID],
    entry_keys: Collection[str],
) -> JourneyState:
    """The state of locked customers, with their last instances of the journeys they may enter.

    Active ones are locked before the last ones are read: a timer may be moving one until then.
    """
    active = await instances.lock_active(connection, ids)
    last = await instances.load_latest(connection, ids, entry_keys) if entry_keys else []
    latest = {instance.id: instance for instance in (*last, *active)}
    return await engine.load_state(connection, journeys, ids, latest.values())


async def handle_snapshots(
    engine: Engine, connection: Connection, changes: Sequence[CustomerChanged]
) -> None:
    """Store new snapshots, and let what is new in them move instances and let customers in."""
    latest: dict[UUID, CustomerChanged] = {}
    for change in changes:
        if change.customer_id and change.version >= _version_of(latest.get(change.customer_id)):
            latest[change.customer_id] = change
    versions = await customers.lock(connection, latest)
    new = {one: latest[one] for one, version in versions.items() if latest[one].version > version}
    if not new:
        return
    journeys = await engine.cache.load(connection)
    before = await customers.load_snapshots(connection, new) if journeys.watches_customer else {}
    rows = [(customer, one.version, _trim_snapshot(one)) for customer, one in new.items()]
    await customers.save_snapshots(connection, rows, engine.clock())
    if not journeys.watches_customer:
        return
    entry_keys = [journey.key for journey in journeys.find_by_entry_event(None)]
    state = await _load_state(engine, connection, journeys, new.keys(), entry_keys)
    for customer, change in new.items():
        stimulus = ChangeStimulus(change.event_id, change.occurred_at)
        known = before.get(customer)
        state.apply_stimulus(customer, stimulus)
        state.enter(
            customer,
            stimulus,
            _select_fresh(engine, journeys.find_by_entry_event(None), change.occurred_at),
            build_facts(known.document, known.received_at, journeys.declaration) if known else None,
        )
    await engine.save(connection, state)


def _version_of(change: CustomerChanged | None) -> int:
    return change.version if change else 0


def _trim_snapshot(change: CustomerChanged) -> dict[str, Json]:
    return change.model_dump(mode="json", include=SNAPSHOT_FIELDS)


async def handle_merges(
    engine: Engine, connection: Connection, merges: Sequence[CustomersMerged]
) -> None:
    """Move the instances and messages of merged customers to the customers they became."""
    pairs = [(one.from_customer_id, one.customer_id) for one in merges if one.customer_id]
    versions = await customers.lock_with_survivors(
        connection, {one for pair in pairs for one in pair}
    )
    await instances.lock_active(connection, versions)
    for from_id, into_id in pairs:
        await _merge_one(engine, connection, from_id, into_id)


async def _merge_one(engine: Engine, connection: Connection, from_id: UUID, into_id: UUID) -> None:
    survivors = await customers.find_survivors(connection, [into_id])
    into_id = survivors.get(into_id, into_id)
    if from_id == into_id:
        return
    duplicates = _find_duplicates(await instances.lock_active(connection, [from_id, into_id]))
    await instances.end_duplicates(connection, duplicates, engine.clock())
    await instances.move(connection, from_id, into_id)
    await customers.record_merge(connection, from_id, into_id)
    ending = [replace(instance, customer_id=into_id) for instance in duplicates]
    journeys = await engine.cache.load(connection)
    state = await engine.load_state(connection, journeys, [into_id], ending)
    for instance in ending:
        state.end(instance, state_machine.MERGED)
    await engine.save(connection, state)


def _find_duplicates(active: Sequence[Instance]) -> list[Instance]:
    """Of two instances for one journey and key, the one that ends."""
    survivors: dict[tuple[str, str], Instance] = {}
    duplicates: list[Instance] = []
    for instance in active:
        key = (instance.journey, instance.key)
        if key in survivors:
            instance, duplicate = state_machine.pick_survivor(instance, survivors[key])
            duplicates.append(duplicate)
        survivors[key] = instance
    return duplicates
