"""How identities are written, and which ones name a customer by themselves."""

from uuid import UUID, uuid5

ANONYMOUS_TYPES = frozenset({"anonymous_id", "device"})
"""Identities of a browser or device: whoever holds one is a customer, known or not."""

KNOWN_TYPES = frozenset({"user_id", "email", "phone", "crm_id", "loyalty_id"})
"""Identities of a person: they exist only once profile has recorded them."""

TYPES = ANONYMOUS_TYPES | KNOWN_TYPES

IDENTIFYING_NAMES = KNOWN_TYPES | {
    "account_number",
    "address",
    "bank_account",
    "birth_date",
    "birthday",
    "bsn",
    "card_number",
    "credit_card",
    "date_of_birth",
    "external_ids",
    "family_name",
    "first_name",
    "full_name",
    "given_name",
    "iban",
    "last_name",
    "middle_name",
    "mobile_number",
    "msisdn",
    "national_id",
    "passport",
    "passport_number",
    "phone_number",
    "postal_code",
    "postcode",
    "social_security_number",
    "ssn",
    "street",
    "surname",
    "telephone",
    "username",
    "zip_code",
}
"""Names of traits and properties that tell who somebody is, in whatever spelling: `userName` is
one, `shippingAddress` ends with one. Their values are shown only to who may read identities.
"""

IDENTIFYING_TRAITS = IDENTIFYING_NAMES | {"name"}
"""The same for what is said of a customer; elsewhere `name` may be a product's."""

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
