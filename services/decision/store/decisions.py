"""Decisions."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from services.chassis.database import Connection


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    decision_id: UUID
    customer_id: UUID
    decided_for: UUID
    """Who the customer was then: a merge changes `customer_id`, never this."""
    identity_type: str | None
    """With the value, the identity the request named, if it named one."""
    identity_value: str | None
    decided_at: datetime
    channel: str
    placement: str
    snapshot_version: int | None
    degraded: str | None
    catalogue_version: int = 0
    observations: int = 0
    control_group: str | None = None
    propositions: list[dict[str, Any]] = field(default_factory=list)
    """By rank: action, treatment, content, propensity, value_cents, currency, score, reason."""
    packed_input: bytes = b""
    """What it was made from; `domain.input_codec` reads it. Empty: there was no catalogue."""


_INSERT = """
INSERT INTO decision (
    customer_id, decision_id, decided_for, identity_type, identity_value, decided_at, channel,
    placement, catalogue_version, snapshot_version, observations, degraded, control_group,
    propositions, record
)
SELECT coalesce(merged.customer_id, incoming.decided_for), decision_id, decided_for,
    identity_type, identity_value, decided_at, channel, placement, catalogue_version,
    snapshot_version, observations, degraded, control_group, propositions::json, record
FROM unnest(
    $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::text[],
    $8::bigint[], $9::bigint[], $10::bigint[], $11::text[], $12::text[], $13::text[], $14::bytea[]
) AS incoming (
    decided_for, decision_id, identity_type, identity_value, decided_at, channel, placement,
    catalogue_version, snapshot_version, observations, degraded, control_group, propositions,
    record
)
LEFT JOIN merged_customer AS merged ON merged.from_customer_id = incoming.decided_for
"""


async def insert(connection: Connection, decisions: Sequence[DecisionRecord]) -> None:
    """Store decisions. That of a customer merged meanwhile goes to who they are now."""
    rows = [
        (
            d.decided_for, d.decision_id, d.identity_type, d.identity_value, d.decided_at,
            d.channel, d.placement, d.catalogue_version, d.snapshot_version, d.observations,
            d.degraded, d.control_group, orjson.dumps(d.propositions).decode(), d.packed_input,
        )
        for d in decisions
    ]  # fmt: skip
    await connection.execute(_INSERT, *zip(*rows, strict=True))


_COLUMNS = """
SELECT decision_id, customer_id, decided_for, identity_type, identity_value, decided_at, channel,
    placement, catalogue_version, snapshot_version, observations, degraded, control_group,
    propositions, record AS packed_input
FROM decision
"""
_BY_ID = f"{_COLUMNS} WHERE decision_id = ANY($1::uuid[])"
_LOCK = f"{_COLUMNS} WHERE decision_id = $1 FOR NO KEY UPDATE"
_PAGE = f"""
{_COLUMNS} WHERE customer_id = $1 AND ($2::uuid IS NULL OR decision_id < $2)
ORDER BY decision_id DESC LIMIT $3
"""
_AFTER = f"{_COLUMNS} WHERE decision_id > $1 ORDER BY decision_id LIMIT $2"


async def load_after(connection: Connection, id: UUID, most: int) -> list[DecisionRecord]:
    """The next decisions after an id, which grow with time."""
    return [_to_record(row) for row in await connection.fetch(_AFTER, id, most)]


async def load_by_id(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, DecisionRecord]:
    """Decisions by id; those that do not exist are absent."""
    rows = await connection.fetch(_BY_ID, ids)
    return {row["decision_id"]: _to_record(row) for row in rows}


async def lock(connection: Connection, id: UUID) -> DecisionRecord | None:
    """A decision, locked so that its outcomes are recorded one after the other."""
    row = await connection.fetchrow(_LOCK, id)
    return _to_record(row) if row else None


async def load_page(
    connection: Connection, customer_id: UUID, before: UUID | None, most: int
) -> list[DecisionRecord]:
    """A customer's decisions, newest first, older than one of them."""
    return [_to_record(row) for row in await connection.fetch(_PAGE, customer_id, before, most)]


def _to_record(row: asyncpg.Record) -> DecisionRecord:
    return DecisionRecord(**dict(row.items()))
