"""Unproved claims: identities that somebody named as a customer's without proof."""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from services.chassis.database import Connection, execute_rows
from services.profile.domain.identities import Identity

MOST_CLAIMS = 20
"""Of one customer; of more only the latest are stored."""

_UPSERT = """
INSERT INTO identity_claim (customer_id, identity_type, identity_value, sender, first_claimed_at,
    last_claimed_at)
SELECT customer_id, type, value, sender, $5, $5
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[])
    AS claimed (customer_id, type, value, sender)
ON CONFLICT (customer_id, identity_type, identity_value) DO UPDATE SET
    sender = excluded.sender, last_claimed_at = excluded.last_claimed_at
"""
_DELETE_OLDEST = """
DELETE FROM identity_claim USING (
    SELECT customer_id, identity_type, identity_value, row_number() OVER (
        PARTITION BY customer_id ORDER BY last_claimed_at DESC, identity_type, identity_value
    ) AS place
    FROM identity_claim WHERE customer_id = ANY($1)
) AS placed
WHERE place > $2 AND identity_claim.customer_id = placed.customer_id
    AND identity_claim.identity_type = placed.identity_type
    AND identity_claim.identity_value = placed.identity_value
"""
_CONFIRM = """
UPDATE identity_claim SET confirmed_at = $4
FROM unnest($1::uuid[], $2::text[], $3::text[]) AS proved (customer_id, type, value)
WHERE identity_claim.customer_id = proved.customer_id AND identity_type = proved.type
    AND identity_value = proved.value AND confirmed_at IS NULL
"""
_CLAIMS = """
SELECT customer_id, identity_type, identity_value, sender, first_claimed_at, last_claimed_at,
    confirmed_at
FROM identity_claim WHERE customer_id = ANY($1)
ORDER BY customer_id, last_claimed_at DESC, identity_type, identity_value
"""


class IdentityClaim(NamedTuple):
    """An identity claimed; `confirmed_at` is when somebody proved it."""

    identity: Identity
    sender: str
    first_claimed_at: datetime
    last_claimed_at: datetime
    confirmed_at: datetime | None


async def record_claims(
    connection: Connection, claims: Iterable[tuple[UUID, Identity, str]], now: datetime
) -> None:
    """Record the identities claimed for customers, and by which class of sender."""
    latest = {(customer, identity): sender for customer, identity, sender in claims}
    if not latest:
        return
    rows = [(customer, *identity, sender) for (customer, identity), sender in latest.items()]
    await execute_rows(connection, _UPSERT, sorted(rows), now)
    await connection.execute(
        _DELETE_OLDEST, list({customer for customer, _ in latest}), MOST_CLAIMS
    )


async def confirm_claims(
    connection: Connection, proved: Iterable[tuple[UUID, Identity]], now: datetime
) -> None:
    """Confirm the claims of identities that are now proved to be a customer's."""
    await execute_rows(connection, _CONFIRM, [(one, *identity) for one, identity in proved], now)


async def read_claims(
    connection: Connection, customers: Collection[UUID]
) -> dict[UUID, list[IdentityClaim]]:
    """The claims of each customer, the latest first; no customer is absent."""
    claims: dict[UUID, list[IdentityClaim]] = {customer: [] for customer in customers}
    for customer, kind, value, *rest in await connection.fetch(_CLAIMS, list(customers)):
        claims[customer].append(IdentityClaim(Identity(kind, value), *rest))
    return claims
