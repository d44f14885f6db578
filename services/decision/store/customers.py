"""The read model: snapshots, identities, merges and journeys of customers."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg
import orjson

from services.chassis.database import Connection
from services.contracts.journey import InstanceState
from services.contracts.profile import CustomerChanged


class CustomerRef(NamedTuple):
    """A customer as a caller names them: by an id, or by an identity.

    An anonymous identity comes with the id its customer has if they are new.
    """

    customer_id: UUID | None
    type: str | None = None
    value: str | None = None


_SNAPSHOTS = """
INSERT INTO customer_snapshot (customer_id, version, facts)
SELECT DISTINCT ON (customer_id) customer_id, version, facts::json
FROM unnest($1::uuid[], $2::bigint[], $3::text[]) AS incoming (customer_id, version, facts)
WHERE NOT EXISTS (
    SELECT FROM merged_customer WHERE from_customer_id = incoming.customer_id
)
ORDER BY customer_id, version DESC
ON CONFLICT (customer_id) DO UPDATE SET version = excluded.version, facts = excluded.facts
WHERE customer_snapshot.version < excluded.version
RETURNING customer_id, version
"""


async def save_snapshots(
    connection: Connection, events: Sequence[CustomerChanged]
) -> list[CustomerChanged]:
    """Save snapshots that are newer than the stored ones; returns the events of those."""
    rows = await connection.fetch(
        _SNAPSHOTS,
        [event.customer_id for event in events],
        [event.version for event in events],
        [_facts(event) for event in events],
    )
    saved = {(row["customer_id"], row["version"]) for row in rows}
    newest = {(event.customer_id, event.version): event for event in events}
    return [event for key, event in newest.items() if key in saved]


def _facts(event: CustomerChanged) -> str:
    facts = {
        "traits": event.traits,
        "consents": event.consents,
        "segments": event.segments,
        "series": event.series,
        "answered": event.series_versions.get("decision", 0),
    }
    if event.unproved_traits:
        facts["unproved"] = event.unproved_traits
    return orjson.dumps(facts).decode()


_IDENTITIES = """
INSERT INTO identity (type, value, customer_id)
SELECT DISTINCT ON (type, value) type, value, customer_id
FROM unnest($1::text[], $2::text[], $3::uuid[]) AS incoming (type, value, customer_id)
ORDER BY type, value
ON CONFLICT (type, value) DO UPDATE SET customer_id = excluded.customer_id
WHERE identity.customer_id <> excluded.customer_id
"""
_LOST_IDENTITIES = """
DELETE FROM identity
WHERE customer_id = ANY($4::uuid[]) AND NOT EXISTS (
    SELECT FROM unnest($1::text[], $2::text[], $3::uuid[]) AS incoming (type, value, customer_id)
    WHERE (incoming.type, incoming.value, incoming.customer_id)
        = (identity.type, identity.value, identity.customer_id)
)
"""


async def save_identities(connection: Connection, events: Sequence[CustomerChanged]) -> None:
    """Make the identities of these customers those of their snapshots, and no others."""
    identities = [(i.type, i.value, e.customer_id) for e in events for i in e.identities]
    columns = [[row[column] for row in identities] for column in range(3)]
    await connection.execute(_LOST_IDENTITIES, *columns, [e.customer_id for e in events])
    await connection.execute(_IDENTITIES, *columns)


_KEEP_LATEST_STATE = """
ON CONFLICT (customer_id, instance_id) DO UPDATE SET
    step = excluded.step, phase = excluded.phase,
    sequence = excluded.sequence, ended = excluded.ended
WHERE (journey_state.sequence, journey_state.ended) < (excluded.sequence, excluded.ended)
"""
_STATES = f"""
INSERT INTO journey_state
    (customer_id, instance_id, journey, key, step, phase, sequence, ended)
SELECT DISTINCT ON (customer_id, instance_id) *
FROM (
    SELECT coalesce(merged.customer_id, incoming.customer_id) AS customer_id,
        instance_id, journey, key, step, phase, sequence, ended
    FROM unnest(
        $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[],
        $7::bigint[], $8::boolean[]
    ) AS incoming (customer_id, instance_id, journey, key, step, phase, sequence, ended)
    LEFT JOIN merged_customer AS merged ON merged.from_customer_id = incoming.customer_id
) AS states
ORDER BY customer_id, instance_id, sequence DESC, ended DESC
{_KEEP_LATEST_STATE}
"""


async def save_journey_states(
    connection: Connection, states: Sequence[tuple[UUID, InstanceState, bool]]
) -> None:
    """Save where instances of journeys are; a state older than the stored one is ignored."""
    rows = [
        (customer, s.instance_id, s.journey, s.key, s.step, s.phase, s.sequence, ended)
        for customer, s, ended in states
    ]
    await connection.execute(_STATES, *([row[column] for row in rows] for column in range(8)))


_LOAD_MERGES = """
SELECT from_customer_id, customer_id FROM merged_customer WHERE from_customer_id = ANY($1::uuid[])
"""
_MERGES = "unnest($1::uuid[], $2::uuid[]) AS merged (source, target)"
_MERGE = f"""
INSERT INTO merged_customer (from_customer_id, customer_id) SELECT source, target FROM {_MERGES}
ON CONFLICT (from_customer_id) DO UPDATE SET customer_id = excluded.customer_id
"""
_MOVE_STATES = f"""
INSERT INTO journey_state
SELECT DISTINCT ON (target, instance_id)
    target, instance_id, journey, key, step, phase, sequence, ended
FROM journey_state JOIN {_MERGES} ON customer_id = source
ORDER BY target, instance_id, sequence DESC, ended DESC
{_KEEP_LATEST_STATE}
"""
_MOVE_LESSONS = f"""
INSERT INTO untrusted_lesson AS lesson_of_target
SELECT target, action, lesson, max(last_day)
FROM untrusted_lesson JOIN {_MERGES} ON customer_id = source
GROUP BY target, action, lesson
ON CONFLICT (customer_id, action, lesson) DO UPDATE SET
    last_day = greatest(lesson_of_target.last_day, excluded.last_day)
"""
_MOVES = (
    *(
        f"UPDATE {table} SET customer_id = target FROM {_MERGES} WHERE customer_id = source"
        for table in ("merged_customer", "identity", "decision", "outcome")
    ),
    _MOVE_STATES,
    _MOVE_LESSONS,
    *(
        f"DELETE FROM {table} USING {_MERGES} WHERE customer_id = source"
        for table in ("journey_state", "customer_snapshot", "untrusted_lesson")
    ),
)


async def load_merges(connection: Connection, customers: Iterable[UUID]) -> dict[UUID, UUID]:
    """The customers of these that are merged away, each with who they are now."""
    rows = await connection.fetch(_LOAD_MERGES, list(customers))
    return {row["from_customer_id"]: row["customer_id"] for row in rows}


async def merge(connection: Connection, merges: Mapping[UUID, UUID]) -> None:
    """Move everything of each key to its value, a customer who is not merged away.

    The caller holds the locks (`lock_for_merge`).
    """
    columns = list(merges.keys()), list(merges.values())
    await connection.execute(_MERGE, *columns)
    for statement in _MOVES:
        await connection.execute(statement, *columns)


MERGING = 0x6D657267 << 8  # "merg": the first of the locks below
STRIPES = 64
"""Locks that customers share: one for each of a thousand would fill the lock table."""
_LOCK = "SELECT pg_advisory_xact_lock(key) FROM unnest($1::bigint[]) AS locks (key)"
_LOCK_SHARED = "SELECT pg_advisory_xact_lock_shared(key) FROM unnest($1::bigint[]) AS locks (key)"


async def lock_for_merge(connection: Connection, sources: Iterable[UUID]) -> None:
    """Lock these customers, and merging itself, until the transaction ends: nothing written for one
    of them may be left behind, and no other merge may continue from where this one ends.
    """
    await connection.execute(_LOCK, [MERGING - 1, *_list_locks(sources)])


async def block_merges(connection: Connection, customers: Iterable[UUID]) -> None:
    """Block merges of these customers until the transaction ends."""
    await connection.execute(_LOCK_SHARED, _list_locks(customers))


def _list_locks(customers: Iterable[UUID]) -> list[int]:
    """Sorted: transactions that lock in one order cannot deadlock."""
    return sorted({MERGING + customer.int % STRIPES for customer in customers})


_REFS = """
FROM unnest($1::uuid[], $2::text[], $3::text[])
    WITH ORDINALITY AS ref (customer_id, type, value, place)
LEFT JOIN identity AS known ON known.type = ref.type AND known.value = ref.value
LEFT JOIN merged_customer AS merged
    ON merged.from_customer_id = coalesce(known.customer_id, ref.customer_id)
"""
_LOAD = f"""
SELECT who.customer_id, snapshot.version, snapshot.facts,
    journeys.states AS journeys, contacts.contacts,
    snapshot.version IS NOT NULL OR known.customer_id IS NOT NULL
        OR merged.customer_id IS NOT NULL OR journeys.states IS NOT NULL
        OR EXISTS (SELECT FROM decision WHERE decision.customer_id = who.customer_id) AS known
{_REFS}
CROSS JOIN LATERAL (
    SELECT coalesce(merged.customer_id, known.customer_id, ref.customer_id) AS customer_id
) AS who
LEFT JOIN customer_snapshot AS snapshot ON snapshot.customer_id = who.customer_id
LEFT JOIN LATERAL (
    SELECT json_agg(json_build_array(journey, key, step, phase) ORDER BY instance_id) AS states
    FROM journey_state WHERE customer_id = who.customer_id AND NOT ended
) AS journeys ON true
LEFT JOIN LATERAL (
    SELECT json_agg(json_build_array(
        action, channel, kind, extract(epoch FROM happened_at)::float8, first
    )) AS contacts
    FROM outcome
    WHERE customer_id = who.customer_id AND happened_at > $4 AND (first OR kind = ANY($5::text[]))
) AS contacts ON true
ORDER BY place
"""

FOR_MANY_SMALL_READS = """
SET plan_cache_mode = force_generic_plan; SET enable_hashjoin = off; SET enable_mergejoin = off
"""
"""For a connection that only reads customers: plan once, and always go by the keys."""


async def load(
    connection: Connection, refs: Sequence[CustomerRef], since: datetime, kinds: Sequence[str]
) -> list[asyncpg.Record]:
    """All that decisions need of customers, in the order of the references, in one statement.

    Contacts are outcomes after `since` that were the first of their proposition, or of one of
    `kinds`.
    """
    return await connection.fetch(_LOAD, *zip(*refs, strict=True), since, kinds)


_RESOLVE = f"""
SELECT coalesce(merged.customer_id, known.customer_id, ref.customer_id) AS customer_id
{_REFS}
ORDER BY place
"""


async def resolve_ids(connection: Connection, refs: Sequence[CustomerRef]) -> list[UUID | None]:
    """The ids these customers have now, in the order of the references; None if unknown."""
    rows = await connection.fetch(_RESOLVE, *zip(*refs, strict=True))
    return [row["customer_id"] for row in rows]
