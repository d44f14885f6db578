"""Customers, with what is known of them: read and written many at a time."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from services.chassis.database import Connection, encode_json, execute_rows
from services.chassis.epochs import stamp_sql
from services.contracts.enums import SenderClass
from services.profile.domain.customer import Consent, Customer, ObservationKey, Trait
from services.profile.domain.identities import Identity

FIRST_RETRY = timedelta(minutes=1)
LONGEST_RETRY = timedelta(hours=6)
"""How long a customer who could not be recomputed is set aside, the longest at last."""

_COLUMNS = f"customer_id, {stamp_sql('version')}, rules_version, series, reevaluate_at"
_READ = f"SELECT {_COLUMNS} FROM customer WHERE customer_id = ANY($1) AND merged_into IS NULL"
_LOCK = f"{_READ} ORDER BY customer_id FOR UPDATE"
_TRAITS = """
SELECT customer_id, name, identity_type, identity_value, sender, value, kind, context, source,
    lawful_basis, observed_at
FROM trait WHERE customer_id = ANY($1)
"""
_CONSENTS = """
SELECT customer_id, purpose, identity_type, identity_value, sender, status, lawful_basis, source,
    changed_at
FROM consent WHERE customer_id = ANY($1)
"""
_MEMBERSHIPS = (
    "SELECT customer_id, segment_key, since FROM segment_member WHERE customer_id = ANY($1)"
)

_INSERT = """
INSERT INTO customer (customer_id, version, rules_version, series, reevaluate_at, merged_into,
    created_at, updated_at)
SELECT customer_id, version, rules_version, series::jsonb, reevaluate_at, merged_into, $7, $7
FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::timestamptz[], $6::uuid[])
    AS made (customer_id, version, rules_version, series, reevaluate_at, merged_into)
ON CONFLICT DO NOTHING
"""
_UPDATE = """
UPDATE customer SET version = changed.version, rules_version = changed.rules_version,
    series = changed.series::jsonb, reevaluate_at = changed.reevaluate_at,
    merged_into = changed.merged_into, updated_at = $7
FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::timestamptz[], $6::uuid[])
    AS changed (customer_id, version, rules_version, series, reevaluate_at, merged_into)
WHERE customer.customer_id = changed.customer_id
"""
_ON_OTHER_TRAIT = """
ON CONFLICT (customer_id, name, identity_type, identity_value, sender) DO UPDATE SET
    value = excluded.value, kind = excluded.kind, context = excluded.context,
    source = excluded.source, lawful_basis = excluded.lawful_basis,
    observed_at = excluded.observed_at
"""
_SET_TRAITS = f"""
INSERT INTO trait (customer_id, name, identity_type, identity_value, sender, value, kind, context,
    source, lawful_basis, observed_at)
SELECT customer_id, name, identity_type, identity_value, sender, value::jsonb, kind, context,
    source, lawful_basis, observed_at
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
    $8::text[], $9::text[], $10::text[], $11::timestamptz[]) AS observed (customer_id, name,
    identity_type, identity_value, sender, value, kind, context, source, lawful_basis, observed_at)
{_ON_OTHER_TRAIT}
"""
_DELETE_TRAITS = """
DELETE FROM trait USING unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[])
    AS old (customer_id, name, identity_type, identity_value, sender)
WHERE trait.customer_id = old.customer_id AND trait.name = old.name
    AND trait.identity_type = old.identity_type AND trait.identity_value = old.identity_value
    AND trait.sender = old.sender
"""
_SET_CONSENTS = """
INSERT INTO consent (customer_id, purpose, identity_type, identity_value, sender, status,
    lawful_basis, source, changed_at)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
    $7::text[], $8::text[], $9::timestamptz[])
ON CONFLICT (customer_id, purpose, identity_type, identity_value, sender) DO UPDATE SET
    status = excluded.status, lawful_basis = excluded.lawful_basis, source = excluded.source,
    changed_at = excluded.changed_at
"""
_JOIN = """
INSERT INTO segment_member (customer_id, segment_key, since)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::timestamptz[]) ON CONFLICT DO NOTHING
"""
_LEAVE = """
DELETE FROM segment_member USING unnest($1::uuid[], $2::text[]) AS gone (customer_id, segment_key)
WHERE segment_member.customer_id = gone.customer_id
    AND segment_member.segment_key = gone.segment_key
"""
_MOVE_TO_SURVIVOR = (
    """
UPDATE event SET customer_id = $2 WHERE customer_id = $1 AND NOT EXISTS (
    SELECT FROM event AS same WHERE same.customer_id = $2 AND same.sender = event.sender
        AND same.message_id = event.message_id)
""",
    f"""
WITH moved AS (DELETE FROM trait WHERE customer_id = $1 RETURNING *)
INSERT INTO trait (customer_id, name, identity_type, identity_value, sender, value, kind, context,
    source, lawful_basis, observed_at)
SELECT $2, name, identity_type, identity_value, sender, value, kind, context, source, lawful_basis,
    observed_at
FROM moved
{_ON_OTHER_TRAIT} WHERE trait.observed_at < excluded.observed_at
""",
    "UPDATE consent SET customer_id = $2 WHERE customer_id = $1",
    "UPDATE identity_change SET customer_id = $2 WHERE customer_id = $1",
    """
UPDATE identity_claim SET customer_id = $2 WHERE customer_id = $1 AND NOT EXISTS (
    SELECT FROM identity_claim AS same WHERE same.customer_id = $2
        AND same.identity_type = identity_claim.identity_type
        AND same.identity_value = identity_claim.identity_value)
""",
)
_DELETE_REST = (
    "DELETE FROM segment_member WHERE customer_id = $1",
    "DELETE FROM identity_claim WHERE customer_id = $1",
)
_NOT_SET_ASIDE = (
    "NOT EXISTS (SELECT FROM set_aside WHERE set_aside.customer_id = customer.customer_id)"
)
_OUTDATED = f"""
SELECT customer_id FROM customer
WHERE merged_into IS NULL AND rules_version < $1 AND {_NOT_SET_ASIDE}
LIMIT $2 FOR UPDATE SKIP LOCKED
"""
_DUE = f"""
SELECT customer_id FROM customer WHERE reevaluate_at <= $1 AND {_NOT_SET_ASIDE}
ORDER BY reevaluate_at LIMIT $2 FOR UPDATE SKIP LOCKED
"""
_RETRY = """
SELECT customer_id FROM set_aside JOIN customer USING (customer_id)
WHERE retry_at <= $1 ORDER BY retry_at LIMIT 1 FOR UPDATE SKIP LOCKED
"""
_SET_ASIDE = """
INSERT INTO set_aside AS held (customer_id, failures, reason, retry_at)
SELECT customer_id, 1, reason, $3::timestamptz + $4::interval
FROM unnest($1::uuid[], $2::text[]) AS failed (customer_id, reason)
ON CONFLICT (customer_id) DO UPDATE SET failures = held.failures + 1, reason = excluded.reason,
    retry_at = $3::timestamptz + least($4::interval * 2 ^ least(held.failures, 20), $5::interval)
"""
_FIND_SET_ASIDE = "SELECT customer_id FROM set_aside WHERE customer_id = ANY($1)"
_END_SET_ASIDE = "DELETE FROM set_aside WHERE customer_id = ANY($1)"
_PAGE = """
SELECT customer_id FROM customer
WHERE merged_into IS NULL AND ($1::uuid IS NULL OR customer_id > $1) ORDER BY customer_id LIMIT $2
"""
_PAGE_OF_SEGMENT = """
SELECT customer_id FROM segment_member
WHERE segment_key = $3 AND ($1::uuid IS NULL OR customer_id > $1) ORDER BY customer_id LIMIT $2
"""


async def lock(connection: Connection, ids: Collection[UUID]) -> dict[UUID, Customer]:
    """Customers to be changed, locked in the order of their ids; merged ones are absent."""
    return await _fetch(connection, _LOCK, ids)


async def read(connection: Connection, ids: Collection[UUID]) -> dict[UUID, Customer]:
    return await _fetch(connection, _READ, ids)


async def _fetch(connection: Connection, query: str, ids: Collection[UUID]) -> dict[UUID, Customer]:
    rows = await connection.fetch(query, list(ids))
    return {row["customer_id"]: Customer(*row) for row in rows}


async def read_values(connection: Connection, customers: dict[UUID, Customer]) -> None:
    """Read the traits, consents and memberships of customers into them."""
    ids = list(customers)
    for row in await connection.fetch(_TRAITS, ids):
        customers[row["customer_id"]].traits[_read_key(tuple(row))] = Trait(*tuple(row)[5:])
    for row in await connection.fetch(_CONSENTS, ids):
        customers[row["customer_id"]].consents[_read_key(tuple(row))] = Consent(*tuple(row)[5:])
    for customer, segment, since in await connection.fetch(_MEMBERSHIPS, ids):
        customers[customer].segments[segment] = since


def _read_key(row: Sequence[Any]) -> ObservationKey:
    _, name, type_, value, sender, *_ = row
    return ObservationKey(name, Identity(type_, value), SenderClass(sender))


async def insert(connection: Connection, customers: Sequence[Customer], now: datetime) -> int:
    """Write new customers, unless there are such already; gives how many it wrote."""
    return await execute_rows(connection, _INSERT, map(_row_of, customers), now)


async def update(connection: Connection, customers: Sequence[Customer], now: datetime) -> None:
    await execute_rows(connection, _UPDATE, map(_row_of, customers), now)


def _row_of(one: Customer) -> tuple[object, ...]:
    series = encode_json(one.series)
    return one.id, one.version, one.rules_version, series, one.reevaluate_at, one.merged_into


async def write_values(connection: Connection, customers: Iterable[Customer]) -> None:
    """Write what is new of the customers' traits, consents and segments, and delete what is old."""
    new_traits, old_traits, new_consents, new_segments, old_segments = [], [], [], [], []
    for customer in customers:
        customer_id = customer.id
        for key in customer.new_traits:
            trait = customer.traits[key]
            new_traits.append(
                (*_columns_of(customer_id, key), encode_json(trait.value), *trait[1:])
            )
        old_traits += [_columns_of(customer_id, key) for key in customer.old_traits]
        new_consents += [
            (*_columns_of(customer_id, key), *customer.consents[key])
            for key in customer.new_consents
        ]
        new_segments += [
            (customer_id, key, customer.segments[key]) for key in customer.new_segments
        ]
        old_segments += [(customer_id, key) for key in customer.old_segments]
    await execute_rows(connection, _SET_TRAITS, new_traits)
    await execute_rows(connection, _DELETE_TRAITS, old_traits)
    await execute_rows(connection, _SET_CONSENTS, new_consents)
    await execute_rows(connection, _JOIN, new_segments)
    await execute_rows(connection, _LEAVE, old_segments)


def _columns_of(customer: UUID, key: ObservationKey) -> tuple[Any, ...]:
    name, identity, sender = key
    return customer, name, *identity, sender


async def move_to_survivor(connection: Connection, absorbed: UUID, survivor: UUID) -> None:
    """Give the survivor all rows of an absorbed customer; each keeps the identity it came by.

    An event both have under one message id is one event, and stays where it is. Of a trait both
    have by one identity and class of sender the later counts: a call by our id of a customer may
    name another's identity, under which its traits are filed all the same.
    """
    for statement in _MOVE_TO_SURVIVOR:
        await connection.execute(statement, absorbed, survivor)
    for statement in _DELETE_REST:
        await connection.execute(statement, absorbed)


async def claim_outdated(connection: Connection, rules_version: int, limit: int) -> list[UUID]:
    """Some customers of an older version, locked; those another transaction holds are skipped."""
    return [row[0] for row in await connection.fetch(_OUTDATED, rules_version, limit)]


async def claim_due(connection: Connection, now: datetime, limit: int) -> list[UUID]:
    """Some customers whose segments time may have changed, locked, the longest due first."""
    return [row[0] for row in await connection.fetch(_DUE, now, limit)]


async def claim_retry(connection: Connection, now: datetime) -> list[UUID]:
    """One customer who was set aside until now, locked, if there is any."""
    return [row[0] for row in await connection.fetch(_RETRY, now)]


async def set_aside(connection: Connection, reasons: Mapping[UUID, str], now: datetime) -> None:
    """Skip customers for some time after `now`, longer each time in a row."""
    columns = list(reasons), list(reasons.values())
    await connection.execute(_SET_ASIDE, *columns, now, FIRST_RETRY, LONGEST_RETRY)


async def find_set_aside(connection: Connection, customers: Collection[UUID]) -> set[UUID]:
    return {row[0] for row in await connection.fetch(_FIND_SET_ASIDE, list(customers))}


async def end_set_aside(connection: Connection, customers: Collection[UUID]) -> None:
    """Let customers who could be recomputed no longer be set aside."""
    await connection.execute(_END_SET_ASIDE, list(customers))


async def read_page(
    connection: Connection, after: UUID | None, limit: int, segment: str | None
) -> list[UUID]:
    """The ids of the next customers, all or of a segment, in order."""
    if segment is None:
        return [row[0] for row in await connection.fetch(_PAGE, after, limit)]
    return [row[0] for row in await connection.fetch(_PAGE_OF_SEGMENT, after, limit, segment)]
