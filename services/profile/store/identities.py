"""Who holds which identity."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from uuid import UUID

from services.chassis.database import Connection, encode_json, execute_rows
from services.contracts.enums import LinkSource
from services.profile.domain.enums import IdentityChangeKind
from services.profile.domain.identities import Identity, IdentityChange

_OWNERS = """
SELECT i.identity_type, i.identity_value, i.customer_id
FROM unnest($1::text[], $2::text[]) AS wanted (type, value)
JOIN identity i ON i.identity_type = wanted.type AND i.identity_value = wanted.value
"""
_LINKS = """
SELECT customer_id, identity_type, identity_value, linked_by FROM identity
WHERE customer_id = ANY($1)
"""
# An owner other than the expected one means another transaction was faster: the row stays as it is,
# and is missing from the count.
_ASSIGN = """
INSERT INTO identity AS held (identity_type, identity_value, customer_id, linked_by, since)
SELECT type, value, customer_id, linked_by, $6
FROM unnest($1::text[], $2::text[], $3::uuid[], $4::text[])
    AS claimed (type, value, customer_id, linked_by)
ON CONFLICT (identity_type, identity_value) DO UPDATE SET customer_id = excluded.customer_id,
    linked_by = excluded.linked_by
WHERE held.customer_id = ANY($5)
"""
_SURVIVORS = """
WITH RECURSIVE chain (asked, customer_id) AS (
    SELECT asked, asked FROM unnest($1::uuid[]) AS asked
    UNION
    SELECT chain.asked, customer.merged_into
    FROM chain JOIN customer USING (customer_id) WHERE customer.merged_into IS NOT NULL
)
SELECT chain.asked, customer.customer_id
FROM chain JOIN customer USING (customer_id) WHERE customer.merged_into IS NULL
"""
_INSERT_CHANGES = """
INSERT INTO identity_change
    (customer_id, change_id, kind, from_customer_id, into_customer_id, identities, reason,
    linked_by, changed_at)
SELECT customer_id, change_id, kind, from_id, into_id, identities::jsonb, reason, linked_by, $9
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::uuid[], $6::text[], $7::text[],
    $8::text[]) AS changed (customer_id, change_id, kind, from_id, into_id, identities, reason,
    linked_by)
ON CONFLICT DO NOTHING
"""
_CHANGES = """
SELECT customer_id, change_id, kind, from_customer_id, into_customer_id, identities, reason,
    linked_by, changed_at
FROM identity_change WHERE customer_id = ANY($1) ORDER BY customer_id, changed_at, change_id
"""


_UNPROVED_MERGES = """
WITH RECURSIVE chain (customer_id) AS (
    SELECT $1::uuid
    UNION
    SELECT customer.merged_into
    FROM chain JOIN customer USING (customer_id) WHERE customer.merged_into IS NOT NULL
)
SELECT EXISTS (
    SELECT FROM identity_change
    WHERE customer_id = $2 AND kind = 'MERGED' AND linked_by = 'write_key'
        AND from_customer_id IN (SELECT customer_id FROM chain)
)
"""


async def find_owners(
    connection: Connection, identities: Collection[Identity]
) -> dict[Identity, UUID]:
    """Who holds each identity; those that nobody holds are absent."""
    rows = await connection.fetch(
        _OWNERS, [i.type for i in identities], [i.value for i in identities]
    )
    return {Identity(row[0], row[1]): row[2] for row in rows}


async def read_links(
    connection: Connection, customers: Collection[UUID]
) -> dict[UUID, dict[Identity, LinkSource | None]]:
    """Each customer's identities, and the source of their links; no customer is absent."""
    links: dict[UUID, dict[Identity, LinkSource | None]] = {one: {} for one in customers}
    for customer, kind, value, source in await connection.fetch(_LINKS, list(customers)):
        links[customer][Identity(kind, value)] = LinkSource(source) if source else None
    return links


async def assign_owners(
    connection: Connection,
    owners: Mapping[Identity, UUID],
    links: Mapping[Identity, LinkSource],
    previous_owners: Collection[UUID],
    now: datetime,
) -> int:
    """Give identities to customers, but those of others than the previous owners; says how many."""
    rows = [(*identity, owner, links.get(identity)) for identity, owner in sorted(owners.items())]
    return await execute_rows(connection, _ASSIGN, rows, list(previous_owners), now)


async def find_survivors(connection: Connection, customers: Collection[UUID]) -> dict[UUID, UUID]:
    """Who each customer has become, itself if never merged; unknown ones are absent."""
    rows = await connection.fetch(_SURVIVORS, list(customers))
    return {row[0]: row[1] for row in rows}


async def insert_changes(
    connection: Connection, changes: Iterable[tuple[UUID, IdentityChange]], now: datetime
) -> None:
    """Record changes in the history of the customer named with each; a known one stays."""
    rows = [
        (
            customer,
            change.id,
            change.kind,
            change.from_customer,
            change.into_customer,
            encode_json([identity._asdict() for identity in change.identities]),
            change.reason,
            change.linked_by,
        )
        for customer, change in changes
    ]
    await execute_rows(connection, _INSERT_CHANGES, rows, now)


async def read_changes(
    connection: Connection, customers: Collection[UUID]
) -> dict[UUID, list[tuple[IdentityChange, datetime]]]:
    """What happened to each customer's identities, and when, oldest first."""
    changes: dict[UUID, list[tuple[IdentityChange, datetime]]] = {one: [] for one in customers}
    for row in await connection.fetch(_CHANGES, list(customers)):
        customer, change_id, kind, from_id, into_id, identities, reason, source, at = row
        change = IdentityChange(
            change_id,
            IdentityChangeKind(kind),
            from_id,
            into_id,
            tuple(Identity(**identity) for identity in identities),
            reason,
            LinkSource(source) if source else None,
        )
        changes[customer].append((change, at))
    return changes


async def is_merged_unproved(connection: Connection, customer: UUID, survivor: UUID) -> bool:
    """Whether a write key caused any of the merges by which a customer became the survivor."""
    return bool(await connection.fetchval(_UNPROVED_MERGES, customer, survivor))
