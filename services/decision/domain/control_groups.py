"""Control groups: a lasting random share of customers, the same on every replica and every day."""

from uuid import UUID

from xxhash import xxh3_64_intdigest

SHARES = 2**64


def is_in_control_group(customer_id: UUID, salt: str, share_percent: float) -> bool:
    """Whether a customer is in the group with this salt.

    Groups with different salts are drawn independently of one another, and raising the share of a
    group keeps everyone in it who was.
    """
    return xxh3_64_intdigest(customer_id.bytes + salt.encode()) < share_percent / 100 * SHARES
