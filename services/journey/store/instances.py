"""Instances (rows of `run`), the steps they took, and their timers."""

from collections.abc import Collection, Sequence
from dataclasses import fields
from datetime import datetime
from operator import attrgetter
from typing import NamedTuple
from uuid import UUID

from services.chassis.database import Connection, execute_rows
from services.journey.domain.instance import EntryEffect, Instance

_ATTRIBUTES = [field.name for field in fields(Instance)]
_COLUMNS = ", ".join(["run_id", *_ATTRIBUTES[1:]])
_values_of = attrgetter(*_ATTRIBUTES)

MOST_INSTANCES = 200
"""Instances shown of one customer, the latest first."""


_CHANGING = ("step", "phase", "sequence", "since", "moved_by", "due_at", "ended_at", "end_reason")

_CUSTOMERS_UNDER_WAY = """
SELECT DISTINCT customer_id, journey, version FROM run
WHERE customer_id = ANY($1) AND ended_at IS NULL
"""
_ACTIVE = f"SELECT {_COLUMNS} FROM run WHERE customer_id = ANY($1) AND ended_at IS NULL"
_LOCK_ACTIVE = f"{_ACTIVE} ORDER BY customer_id, run_id FOR UPDATE"
_LATEST = f"""
SELECT DISTINCT ON (customer_id, journey, key) {_COLUMNS} FROM run
WHERE customer_id = ANY($1) AND journey = ANY($2)
ORDER BY customer_id, journey, key, run_id DESC
"""
_CLAIM = f"""
SELECT {_COLUMNS} FROM run WHERE due_at <= $1 AND ended_at IS NULL
ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED
"""
_NEXT_DUE = (
    "SELECT due_at FROM run WHERE due_at IS NOT NULL AND ended_at IS NULL ORDER BY due_at LIMIT 1"
)
_COUNT_DUE = """
SELECT count(*) FROM (
    SELECT FROM run WHERE due_at <= $1 AND ended_at IS NULL ORDER BY due_at LIMIT 10000
) AS due
"""
_POSTPONE = "UPDATE run SET due_at = $3 WHERE customer_id = $1 AND run_id = $2"
_SAVE = f"""
INSERT INTO run ({_COLUMNS}, first_customer_id)
SELECT {_COLUMNS}, customer_id FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::int[],
    $5::text[], $6::text[], $7::text[], $8::int[], $9::timestamptz[], $10::timestamptz[],
    $11::timestamptz[], $12::uuid[], $13::jsonb[], $14::timestamptz[], $15::timestamptz[],
    $16::text[]) AS given ({_COLUMNS})
ON CONFLICT (customer_id, run_id) DO UPDATE
SET {", ".join(f"{name} = excluded.{name}" for name in _CHANGING)}
"""
_ADD_STEPS = """
INSERT INTO step_taken (customer_id, run_id, sequence, step, phase, entered_at, note)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::text[], $5::text[],
    $6::timestamptz[], $7::text[])
"""
_END_DUPLICATES = "UPDATE run SET ended_at = $3 WHERE customer_id = ANY($1) AND run_id = ANY($2)"
_MOVE = (
    "UPDATE run SET customer_id = $2 WHERE customer_id = $1",
    "UPDATE step_taken SET customer_id = $2 WHERE customer_id = $1",
    "UPDATE message SET customer_id = $2 WHERE customer_id = $1",
)
_BY_ID = f"SELECT {_COLUMNS} FROM run WHERE run_id = $1"
_BY_IDS = f"SELECT {_COLUMNS} FROM run WHERE run_id = ANY($1)"
_LOCK_FIRST_PAGE = f"SELECT {_COLUMNS} FROM run ORDER BY customer_id, run_id LIMIT $1 FOR UPDATE"
_LOCK_NEXT_PAGE = f"""
SELECT {_COLUMNS} FROM run WHERE (customer_id, run_id) > ($2, $3)
ORDER BY customer_id, run_id LIMIT $1 FOR UPDATE
"""
_LOCK_BY_ID = f"{_BY_ID} FOR UPDATE"
_BY_CUSTOMER = f"""
SELECT latest.* FROM unnest($1::uuid[]) AS asked (id) CROSS JOIN LATERAL (
    SELECT {_COLUMNS} FROM run
    WHERE customer_id = asked.id AND ($2::boolean IS NULL OR $2 = (ended_at IS NULL))
    ORDER BY run_id DESC LIMIT {MOST_INSTANCES}
) AS latest ORDER BY run_id DESC
"""
_STEPS = """
SELECT customer_id, run_id, sequence, step, phase, entered_at, note
FROM step_taken JOIN unnest($1::uuid[], $2::uuid[]) AS asked (customer_id, run_id)
    USING (customer_id, run_id)
ORDER BY sequence
"""


class StepRecord(NamedTuple):
    sequence: int
    step: str
    phase: str | None
    entered_at: datetime
    note: str | None


async def load_active_versions(
    connection: Connection, ids: Collection[UUID]
) -> set[tuple[UUID, str, int]]:
    """The versions these customers are active on, as (customer, journey, version)."""
    rows = await connection.fetch(_CUSTOMERS_UNDER_WAY, list(ids))
    return {(row["customer_id"], row["journey"], row["version"]) for row in rows}


async def load_active(connection: Connection, ids: Collection[UUID]) -> list[Instance]:
    return [Instance(*row) for row in await connection.fetch(_ACTIVE, list(ids))]


async def lock_active(connection: Connection, ids: Collection[UUID]) -> list[Instance]:
    """The active instances of these customers, locked. Waits for timers being fired."""
    return [Instance(*row) for row in await connection.fetch(_LOCK_ACTIVE, list(ids))]


async def load_latest(
    connection: Connection, ids: Collection[UUID], journeys: Collection[str]
) -> list[Instance]:
    """Each customer's last instance of each journey and key, active or not."""
    return [Instance(*row) for row in await connection.fetch(_LATEST, list(ids), list(journeys))]


async def claim_due(connection: Connection, now: datetime, limit: int) -> list[Instance]:
    """Instances whose time has come, for this transaction only; what another holds is passed by.

    A transaction that fails gives them back, due as they were.
    """
    return [Instance(*row) for row in await connection.fetch(_CLAIM, now, limit)]


async def load_next_due(connection: Connection) -> datetime | None:
    """When the next timer is due; None when there is none."""
    found: datetime | None = await connection.fetchval(_NEXT_DUE)
    return found


async def count_due(connection: Connection, now: datetime) -> int:
    """How many timers are due; 10,000 at most."""
    return int(await connection.fetchval(_COUNT_DUE, now))


async def postpone(connection: Connection, instance: Instance, due_at: datetime) -> None:
    await connection.execute(_POSTPONE, instance.customer_id, instance.id, due_at)


async def save(connection: Connection, instances: Sequence[Instance]) -> None:
    """Write instances, new ones and changed ones, the older first.

    So an instance that was ended frees its key before the one begun in its stead takes it.
    """
    ordered = sorted(instances, key=lambda instance: instance.id)
    await execute_rows(connection, _SAVE, map(_values_of, ordered))


async def add_steps(connection: Connection, entered: Sequence[EntryEffect]) -> None:
    rows = [
        (one.customer_id, one.id, one.sequence, one.step, one.phase, one.since, effect.note)
        for effect in entered
        for one in [effect.instance]
    ]
    await execute_rows(connection, _ADD_STEPS, rows)


async def end_duplicates(
    connection: Connection, instances: Sequence[Instance], at: datetime
) -> None:
    """Mark instances as ended, so that others for the same journey and key can take their place."""
    rows = [(instance.customer_id, instance.id) for instance in instances]
    await execute_rows(connection, _END_DUPLICATES, rows, at)


async def move(connection: Connection, from_id: UUID, into_id: UUID) -> None:
    for statement in _MOVE:
        await connection.execute(statement, from_id, into_id)


async def lock_by_id(connection: Connection, id: UUID) -> Instance | None:
    row = await connection.fetchrow(_LOCK_BY_ID, id)
    return Instance(*row) if row else None


async def load_by_id(connection: Connection, ids: Collection[UUID]) -> dict[UUID, Instance]:
    """Instances by id; those that do not exist are absent."""
    rows = await connection.fetch(_BY_IDS, list(ids))
    return {row["run_id"]: Instance(*row) for row in rows}


async def lock_page(
    connection: Connection, after: tuple[UUID, UUID] | None, most: int
) -> list[Instance]:
    """The instances that follow a (customer, id), in this order, locked; None: the first."""
    query, position = (_LOCK_NEXT_PAGE, after) if after else (_LOCK_FIRST_PAGE, ())
    return [Instance(*row) for row in await connection.fetch(query, most, *position)]


async def load_by_customer(
    connection: Connection, ids: Collection[UUID], active: bool | None
) -> dict[UUID, list[Instance]]:
    """The latest instances of each customer, newest first: the active, the ended, or both."""
    instances: dict[UUID, list[Instance]] = {one: [] for one in ids}
    for row in await connection.fetch(_BY_CUSTOMER, list(ids), active):
        instance = Instance(*row)
        instances[instance.customer_id].append(instance)
    return instances


async def load_steps(
    connection: Connection, keys: Sequence[tuple[UUID, UUID]]
) -> dict[tuple[UUID, UUID], list[StepRecord]]:
    """The steps of instances, in order, by (customer, instance)."""
    steps: dict[tuple[UUID, UUID], list[StepRecord]] = {key: [] for key in keys}
    columns = [customer for customer, _ in keys], [instance for _, instance in keys]
    for customer, instance, *step in await connection.fetch(_STEPS, *columns):
        steps[customer, instance].append(StepRecord(*step))
    return steps
