"""The read model: what this service knows of customers, and of who has become whom."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg
import orjson

from services.chassis.database import Connection
from services.contracts.journey import InstanceState
from services.contracts.profile import CustomerChanged


class Asked(NamedTuple):
    """Who is asked about: an identity, an id, or an identity with the id it has if it is new."""

    customer_id: UUID | None
    type: str | None = None
    value: str | None = None


_SNAPSHOTS = """
INSERT INTO customer_snapshot (customer_id, version, facts)
SELECT DISTINCT ON (customer_id) customer_id, version, facts::json
FROM unnest($1::uuid[], $2::bigint[], $3::text[]) AS told (customer_id, version, facts)
WHERE NOT EXISTS (
    SELECT FROM merged_customer WHERE from_customer_id = told.customer_id
)
ORDER BY customer_id, version DESC
ON CONFLICT (customer_id) DO UPDATE SET version = excluded.version, facts = excluded.facts
WHERE customer_snapshot.version < excluded.version
RETURNING customer_id, version
"""


async def keep_snapshots(
    connection: Connection, events: Sequence[CustomerChanged]
) -> list[CustomerChanged]:
    """Keep what is newer than what is known; returns the events that were."""
    rows = await connection.fetch(
        _SNAPSHOTS,
        [event.customer_id for event in events],
        [event.version for event in events],
        [_facts(event) for event in events],
    )
    kept = {(row["customer_id"], row["version"]) for row in rows}
    newest = {(event.customer_id, event.version): event for event in events}
    return [event for key, event in newest.items() if key in kept]


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
FROM unnest($1::text[], $2::text[], $3::uuid[]) AS told (type, value, customer_id)
ORDER BY type, value
ON CONFLICT (type, value) DO UPDATE SET customer_id = excluded.customer_id
WHERE identity.customer_id <> excluded.customer_id
"""
_LOST_IDENTITIES = """
DELETE FROM identity
WHERE customer_id = ANY($4::uuid[]) AND NOT EXISTS (
    SELECT FROM unnest($1::text[], $2::text[], $3::uuid[]) AS told (type, value, customer_id)
    WHERE (told.type, told.value, told.customer_id)
        = (identity.type, identity.value, identity.customer_id)
)
"""


async def keep_identities(connection: Connection, events: Sequence[CustomerChanged]) -> None:
    """Make the identities of these customers those their snapshots name, and no others."""
    held = [(i.type, i.value, e.customer_id) for e in events for i in e.identities]
    columns = [[row[column] for row in held] for column in range(3)]
    await connection.execute(_LOST_IDENTITIES, *columns, [e.customer_id for e in events])
    await connection.execute(_IDENTITIES, *columns)


_STATES = """
INSERT INTO journey_state
    (customer_id, instance_id, journey, key, step, phase, sequence, ended)
SELECT DISTINCT ON (customer_id, instance_id) *
FROM (
    SELECT coalesce(merged.customer_id, told.customer_id) AS customer_id,
        instance_id, journey, key, step, phase, sequence, ended
    FROM unnest(
        $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[],
        $7::bigint[], $8::boolean[]
    ) AS told (customer_id, instance_id, journey, key, step, phase, sequence, ended)
    LEFT JOIN merged_customer AS merged ON merged.from_customer_id = told.customer_id
) AS now_of
ORDER BY customer_id, instance_id, sequence DESC, ended DESC
ON CONFLICT (customer_id, instance_id) DO UPDATE SET
    step = excluded.step, phase = excluded.phase,
    sequence = excluded.sequence, ended = excluded.ended
WHERE (journey_state.sequence, journey_state.ended) < (excluded.sequence, excluded.ended)
"""


async def keep_journey_states(
    connection: Connection, states: Sequence[tuple[UUID, InstanceState, bool]]
) -> None:
    """Keep where journeys stand; an older state than the one known is ignored."""
    rows = [
        (customer, s.instance_id, s.journey, s.key, s.step, s.phase, s.sequence, ended)
        for customer, s, ended in states
    ]
    await connection.execute(_STATES, *([row[column] for row in rows] for column in range(8)))


_BECAME = """
SELECT from_customer_id, customer_id FROM merged_customer WHERE from_customer_id = ANY($1::uuid[])
"""
_MERGES = "unnest($1::uuid[], $2::uuid[]) AS merged (source, target)"
_MERGE = f"""
INSERT INTO merged_customer (from_customer_id, customer_id) SELECT source, target FROM {_MERGES}
ON CONFLICT (from_customer_id) DO UPDATE SET customer_id = excluded.customer_id
"""
_STATES_MOVED = f"""
INSERT INTO journey_state
SELECT DISTINCT ON (target, instance_id)
    target, instance_id, journey, key, step, phase, sequence, ended
FROM journey_state JOIN {_MERGES} ON customer_id = source
ORDER BY target, instance_id, sequence DESC, ended DESC
ON CONFLICT (customer_id, instance_id) DO UPDATE SET
    step = excluded.step, phase = excluded.phase,
    sequence = excluded.sequence, ended = excluded.ended
WHERE (journey_state.sequence, journey_state.ended) < (excluded.sequence, excluded.ended)
"""
_LESSONS_MOVED = f"""
INSERT INTO untrusted_lesson AS held
SELECT target, action, lesson, max(last_day)
FROM untrusted_lesson JOIN {_MERGES} ON customer_id = source
GROUP BY target, action, lesson
ON CONFLICT (customer_id, action, lesson) DO UPDATE SET
    last_day = greatest(held.last_day, excluded.last_day)
"""
_MOVED = (
    *(
        f"UPDATE {table} SET customer_id = target FROM {_MERGES} WHERE customer_id = source"
        for table in ("merged_customer", "identity", "decision", "outcome")
    ),
    _STATES_MOVED,
    _LESSONS_MOVED,
    *(
        f"DELETE FROM {table} USING {_MERGES} WHERE customer_id = source"
        for table in ("journey_state", "customer_snapshot", "untrusted_lesson")
    ),
)


async def became(connection: Connection, customers: Iterable[UUID]) -> dict[UUID, UUID]:
    """Who of these has become whom."""
    rows = await connection.fetch(_BECAME, list(customers))
    return {row["from_customer_id"]: row["customer_id"] for row in rows}


async def merge(connection: Connection, merges: Mapping[UUID, UUID]) -> None:
    """Make everything of each key belong to its value, who is himself not merged.

    The caller holds the keys (`hold_for_merge`).
    """
    columns = list(merges.keys()), list(merges.values())
    await connection.execute(_MERGE, *columns)
    for statement in _MOVED:
        await connection.execute(statement, *columns)


MERGING = 0x6D657267 << 8  # "merg": the first of the locks below
STRIPES = 64
"""Locks that customers share: one each, for a list of a thousand, would fill the lock table."""
_HOLD = "SELECT pg_advisory_xact_lock(key) FROM unnest($1::bigint[]) AS held (key)"
_HOLD_OFF = "SELECT pg_advisory_xact_lock_shared(key) FROM unnest($1::bigint[]) AS held (key)"


async def hold_for_merge(connection: Connection, sources: Iterable[UUID]) -> None:
    """Have these customers alone until the transaction ends, and merge alone: nothing written for
    one of them may be left behind, and no other merge may lead on from where this one ends.
    """
    await connection.execute(_HOLD, [MERGING - 1, *_locks(sources)])


async def hold_off_merges(connection: Connection, customers: Iterable[UUID]) -> None:
    """Let no merge move these customers until the transaction ends."""
    await connection.execute(_HOLD_OFF, _locks(customers))


def _locks(customers: Iterable[UUID]) -> list[int]:
    """Always taken in the same order, so that nobody waits in a circle."""
    return sorted({MERGING + customer.int % STRIPES for customer in customers})


_READ = """
SELECT who.customer_id, snapshot.version, snapshot.facts,
    journeys.states AS journeys, contacts.contacts,
    snapshot.version IS NOT NULL OR known.customer_id IS NOT NULL
        OR merged.customer_id IS NOT NULL OR journeys.states IS NOT NULL
        OR EXISTS (SELECT FROM decision WHERE decision.customer_id = who.customer_id) AS known
FROM unnest($1::uuid[], $2::text[], $3::text[])
    WITH ORDINALITY AS asked (customer_id, type, value, place)
LEFT JOIN identity AS known ON known.type = asked.type AND known.value = asked.value
LEFT JOIN merged_customer AS merged
    ON merged.from_customer_id = coalesce(known.customer_id, asked.customer_id)
CROSS JOIN LATERAL (
    SELECT coalesce(merged.customer_id, known.customer_id, asked.customer_id) AS customer_id
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


async def read(
    connection: Connection, asked: Sequence[Asked], since: datetime, kinds: Sequence[str]
) -> list[asyncpg.Record]:
    """All that decisions need of customers, in the order asked: one statement for all of them.

    Contacts are outcomes after `since` that were the first of their proposition, or of one of
    `kinds`.
    """
    return await connection.fetch(
        _READ,
        [one.customer_id for one in asked],
        [one.type for one in asked],
        [one.value for one in asked],
        since,
        kinds,
    )


_WHO = """
SELECT coalesce(merged.customer_id, known.customer_id, asked.customer_id) AS customer_id
FROM unnest($1::uuid[], $2::text[], $3::text[])
    WITH ORDINALITY AS asked (customer_id, type, value, place)
LEFT JOIN identity AS known ON known.type = asked.type AND known.value = asked.value
LEFT JOIN merged_customer AS merged
    ON merged.from_customer_id = coalesce(known.customer_id, asked.customer_id)
ORDER BY place
"""


async def who(connection: Connection, asked: Sequence[Asked]) -> list[UUID | None]:
    """The ids these customers have now, in the order asked; None for one not heard of."""
    rows = await connection.fetch(
        _WHO,
        [one.customer_id for one in asked],
        [one.type for one in asked],
        [one.value for one in asked],
    )
    return [row["customer_id"] for row in rows]
