"""What became of propositions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from services.chassis.database import Connection
from services.contracts.words import SenderClass


@dataclass(frozen=True, slots=True)
class Outcome:
    """An outcome as it is kept."""

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
    """What it taught, the sum of `Lesson`s; None: all it meant, of before that was noted."""


class Claim(NamedTuple):
    """What an idempotency key stands for."""

    outcome_id: UUID
    digest: bytes


_CLAIM = """
INSERT INTO outcome_key (key, outcome_id, digest) VALUES ($1, $2, $3)
ON CONFLICT (key) DO NOTHING RETURNING outcome_id, digest
"""
_CLAIMED = "SELECT outcome_id, digest FROM outcome_key WHERE key = $1"


async def claim(connection: Connection, key: str, mine: Claim) -> Claim:
    """Take an idempotency key; returns what it stands for, which is `mine` if it was free.

    Waits for another transaction that is about to take it.
    """
    row = await connection.fetchrow(_CLAIM, key, *mine)
    if row is None:
        row = await connection.fetchrow(_CLAIMED, key)
    assert row is not None
    return Claim(row["outcome_id"], row["digest"])


_COLUMNS = """outcome_id, customer_id, decision_id, rank, action, treatment, channel, placement,
    kind, first, happened_at, recorded_at, value_cents, currency, reason, sender, lessons"""
_INSERT = f"""
INSERT INTO outcome ({_COLUMNS})
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
"""
_BY_DECISION = f"""
SELECT {_COLUMNS} FROM outcome WHERE decision_id = ANY($1::uuid[]) ORDER BY outcome_id
"""
_ALL = f"SELECT {_COLUMNS} FROM outcome ORDER BY customer_id, outcome_id LIMIT $1"
_ALL_AFTER = f"""
SELECT {_COLUMNS} FROM outcome WHERE (customer_id, outcome_id) > ($2, $3)
ORDER BY customer_id, outcome_id LIMIT $1
"""


async def all_after(
    connection: Connection, place: tuple[UUID, UUID] | None, most: int
) -> list[Outcome]:
    """The next outcomes after a customer and an id, in the order of both; None: the first."""
    query, given = (_ALL_AFTER, place) if place else (_ALL, ())
    return [_outcome(row) for row in await connection.fetch(query, most, *given)]


async def insert(connection: Connection, outcome: Outcome) -> None:
    """Keep an outcome."""
    await connection.execute(
        _INSERT, *(getattr(outcome, field) for field in Outcome.__dataclass_fields__)
    )


async def by_decision(
    connection: Connection, decisions: Sequence[UUID]
) -> dict[UUID, list[Outcome]]:
    """The outcomes of decisions, in the order recorded; decisions without any are absent."""
    found: dict[UUID, list[Outcome]] = {}
    for row in await connection.fetch(_BY_DECISION, decisions):
        found.setdefault(row["decision_id"], []).append(_outcome(row))
    return found


_CLAIM_LESSONS = """
INSERT INTO untrusted_lesson AS held (customer_id, action, lesson, last_day)
SELECT $1, $2, lesson, $4 FROM unnest($3::smallint[]) AS claimed (lesson) ORDER BY lesson
ON CONFLICT (customer_id, action, lesson) DO UPDATE SET last_day = excluded.last_day
WHERE held.last_day < excluded.last_day
RETURNING lesson
"""


async def claim_lessons(
    connection: Connection, customer: UUID, action: str, lessons: Sequence[int], day: date
) -> list[int]:
    """Take what untrusted senders may teach of a customer and an action on a day; gives what was
    left of it. Waits for another transaction that is about to take it.
    """
    rows = await connection.fetch(_CLAIM_LESSONS, customer, action, lessons, day)
    return [row["lesson"] for row in rows]


def _outcome(row: asyncpg.Record) -> Outcome:
    return Outcome(**dict(row.items()))
