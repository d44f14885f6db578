"""Outcomes of propositions."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from services.chassis.database import Connection
from services.contracts.enums import SenderClass


@dataclass(frozen=True, slots=True)
class OutcomeRecord:
    outcome_id: UUID
    customer_id: UUID
    decision_id: UUID
    rank: int
    action: str
    treatment: str
    channel: str
    placement: str
    kind: str
    first: bool
    happened_at: datetime
    recorded_at: datetime
    value_cents: int | None
    currency: str | None
    reason: str | None
    sender: str = SenderClass.SERVER.value
    """Who reported it, a `SenderClass`."""
    lessons: int | None = None
    """What it taught, as a sum of `Lesson`s; None: all it could, by a release before this field."""


class IdempotencyClaim(NamedTuple):
    """What an idempotency key stands for."""

    outcome_id: UUID
    digest: bytes


_CLAIM = """
INSERT INTO outcome_key (key, outcome_id, digest) VALUES ($1, $2, $3)
ON CONFLICT (key) DO NOTHING RETURNING outcome_id, digest
"""
_LOAD_CLAIM = "SELECT outcome_id, digest FROM outcome_key WHERE key = $1"


async def claim(connection: Connection, key: str, new: IdempotencyClaim) -> IdempotencyClaim:
    """Claim an idempotency key; returns what it stands for, which is `new` if it was free.

    Waits for another transaction that is about to claim it.
    """
    row = await connection.fetchrow(_CLAIM, key, *new)
    if row is None:
        row = await connection.fetchrow(_LOAD_CLAIM, key)
    assert row is not None
    return IdempotencyClaim(row["outcome_id"], row["digest"])


_FIELDS = [field.name for field in fields(OutcomeRecord)]
_COLUMNS = ", ".join(_FIELDS)
_VALUES = ", ".join(f"${number}" for number, _ in enumerate(_FIELDS, start=1))
_INSERT = f"INSERT INTO outcome ({_COLUMNS}) VALUES ({_VALUES})"
_BY_DECISION = f"""
SELECT {_COLUMNS} FROM outcome WHERE decision_id = ANY($1::uuid[]) ORDER BY outcome_id
"""
_AFTER = f"""
SELECT {_COLUMNS} FROM outcome WHERE (customer_id, outcome_id) > ($1, $2)
ORDER BY customer_id, outcome_id LIMIT $3
"""


async def load_after(
    connection: Connection, customer_id: UUID, outcome_id: UUID, most: int
) -> list[OutcomeRecord]:
    """The next outcomes after a customer and an id, in the order of both."""
    rows = await connection.fetch(_AFTER, customer_id, outcome_id, most)
    return [_to_record(row) for row in rows]


async def insert(connection: Connection, outcome: OutcomeRecord) -> None:
    await connection.execute(_INSERT, *(getattr(outcome, name) for name in _FIELDS))


async def load_by_decision(
    connection: Connection, decisions: Sequence[UUID]
) -> dict[UUID, list[OutcomeRecord]]:
    """The outcomes of decisions, in the order recorded; decisions without any are absent."""
    records: dict[UUID, list[OutcomeRecord]] = {}
    for row in await connection.fetch(_BY_DECISION, decisions):
        records.setdefault(row["decision_id"], []).append(_to_record(row))
    return records


_CLAIM_LESSONS = """
INSERT INTO untrusted_lesson AS earlier (customer_id, action, lesson, last_day)
SELECT $1, $2, lesson, $4 FROM unnest($3::smallint[]) AS lessons (lesson) ORDER BY lesson
ON CONFLICT (customer_id, action, lesson) DO UPDATE SET last_day = excluded.last_day
WHERE earlier.last_day < excluded.last_day
RETURNING lesson
"""


async def claim_lessons(
    connection: Connection, customer: UUID, action: str, lessons: Sequence[int], day: date
) -> list[int]:
    """Claim what untrusted senders may teach of a customer and an action on a day; returns what was
    still free. Waits for another transaction that is about to claim it.
    """
    rows = await connection.fetch(_CLAIM_LESSONS, customer, action, lessons, day)
    return [row["lesson"] for row in rows]


def _to_record(row: asyncpg.Record) -> OutcomeRecord:
    return OutcomeRecord(**dict(row.items()))
