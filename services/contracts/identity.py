"""How identities are written, and which ones name a customer by themselves."""

from uuid import UUID, uuid5

ANONYMOUS_TYPES = frozenset({"anonymous_id", "device"})
"""Identities of a browser or device: whoever holds one is a customer, known or not."""

KNOWN_TYPES = frozenset({"user_id", "email", "phone", "crm_id", "loyalty_id"})
"""Identities of a person: they exist only once profile has recorded them."""

TYPES = ANONYMOUS_TYPES | KNOWN_TYPES

_VISITORS = UUID("7d0c7c4e-52a1-5a1f-9c3d-2f9b1a6f4a10")


def normalised(type: str, value: str) -> str:
    """The value as it is stored and looked up: trimmed, e-mail in lower case, phone as +digits."""
    value = value.strip()
    if type == "email":
        return value.lower()
    if type == "phone":
        return "+" + "".join(c for c in value if c.isdigit()) if value else value
    return value


def derived_customer_id(type: str, value: str) -> UUID:
    """The id of the customer first seen by this anonymous identity.

    Every service derives the same one, so a decision taken before profile has heard of a visitor
    belongs to him afterwards. Only for `ANONYMOUS_TYPES`: an id derived from an e-mail address
    would let its holder test who someone is.
    """
    if type not in ANONYMOUS_TYPES:
        raise ValueError(f"{type!r} is not an anonymous identity: its customer id is not derived")
    return uuid5(_VISITORS, f"{type}:{normalised(type, value)}")
