"""The latest snapshot of every customer, and whom merged customers have become."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from services.chassis.database import Connection, execute_rows
from services.contracts.base import Json

_SURVIVORS = """
SELECT customer_id, merged_into FROM customer
WHERE customer_id = ANY($1) AND merged_into IS NOT NULL
"""
_ADD_MISSING = """
INSERT INTO customer (customer_id, version) SELECT unnest($1::uuid[]), 0 ON CONFLICT DO NOTHING
"""
_LOCK = """
SELECT customer_id, version, merged_into FROM customer WHERE customer_id = ANY($1)
ORDER BY customer_id FOR UPDATE
"""
_VERSIONS = "SELECT customer_id, version FROM customer WHERE customer_id = ANY($1)"
_SNAPSHOTS = """
SELECT customer_id, snapshot, seen_at FROM customer
WHERE customer_id = ANY($1) AND snapshot IS NOT NULL
"""
_SAVE = """
INSERT INTO customer AS held (customer_id, version, snapshot, seen_at)
SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::jsonb[], $4::timestamptz[])
ON CONFLICT (customer_id) DO UPDATE
SET version = excluded.version, snapshot = excluded.snapshot, seen_at = excluded.seen_at
WHERE held.version < excluded.version
"""
_MERGE = """
UPDATE customer SET merged_into = $2, snapshot = NULL, seen_at = NULL WHERE customer_id = $1
"""


class CustomerSnapshot(NamedTuple):
    """What is known of a customer, and when we received it."""

    document: Mapping[str, Json]
    received_at: datetime


async def find_survivors(connection: Connection, ids: Collection[UUID]) -> dict[UUID, UUID]:
    """Whom merged customers are now; those never merged are absent."""
    steps: dict[UUID, UUID] = {}
    ahead = set(ids)
    while ahead:
        rows = await connection.fetch(_SURVIVORS, list(ahead))
        found = {row["customer_id"]: row["merged_into"] for row in rows}
        steps |= found
        ahead = set(found.values()) - steps.keys()
    return {one: _follow_chain(steps, one) for one in ids if one in steps}


def _follow_chain(steps: Mapping[UUID, UUID], id: UUID) -> UUID:
    """Where a chain of merges ends; one that bites its tail ends where it began."""
    here = id
    for _ in steps:
        here = steps.get(here, here)
    return here


async def lock(connection: Connection, ids: Collection[UUID]) -> dict[UUID, int]:
    """Keep all other handlers from these customers until the commit; returns snapshot versions.

    Rows are locked in the order of ids, so that two transactions never wait for each other. An
    unknown customer gets a row; one who has been merged meanwhile is absent.
    """
    await connection.execute(_ADD_MISSING, sorted(ids))
    rows = await connection.fetch(_LOCK, list(ids))
    return {row["customer_id"]: row["version"] for row in rows if row["merged_into"] is None}


async def lock_with_survivors(connection: Connection, ids: Collection[UUID]) -> dict[UUID, int]:
    """Lock these customers as `lock` does, and whomever they have become, also while we waited.

    To lock one more later would break the order, and somebody might wait for us in a circle: so
    every lock is let go, by undoing a savepoint, and all are taken anew.
    """
    wanted = set(ids)
    while True:
        wanted.update((await find_survivors(connection, wanted)).values())
        attempt = connection.transaction()
        await attempt.start()
        held = await lock(connection, wanted)
        if wanted.issuperset((await find_survivors(connection, wanted)).values()):
            await attempt.commit()
            return held
        await attempt.rollback()


async def load_versions(connection: Connection, ids: Collection[UUID]) -> dict[UUID, int]:
    return {
        row["customer_id"]: row["version"] for row in await connection.fetch(_VERSIONS, list(ids))
    }


async def load_snapshots(
    connection: Connection, ids: Collection[UUID]
) -> dict[UUID, CustomerSnapshot]:
    """The stored snapshots; customers without one are absent."""
    rows = await connection.fetch(_SNAPSHOTS, list(ids))
    return {row["customer_id"]: CustomerSnapshot(row["snapshot"], row["seen_at"]) for row in rows}


async def save_snapshots(
    connection: Connection,
    snapshots: Sequence[tuple[UUID, int, Mapping[str, Json]]],
    received_at: datetime,
) -> None:
    """Store snapshots, (customer, version, document) each, that are newer than the stored ones."""
    rows = [(*snapshot, received_at) for snapshot in snapshots]
    await execute_rows(connection, _SAVE, sorted(rows, key=lambda row: row[0]))


async def record_merge(connection: Connection, from_id: UUID, into_id: UUID) -> None:
    """Record whom a customer has become, and delete their own snapshot."""
    await connection.execute(_MERGE, from_id, into_id)
