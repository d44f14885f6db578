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
one, `shippingAddress` ends with one. Only callers that may read identities see their values.
"""

IDENTIFYING_TRAITS = IDENTIFYING_NAMES | {"name"}
"""The same for traits of a customer; elsewhere `name` may be a product's."""

PLACEHOLDERS = frozenset({
    "undefined", "null", "none", "nil", "nan", "inf", "infinity", "true", "false",
    "anonymous", "guest", "unknown", "unset", "empty", "not set", "(not set)", "not_set", "not-set",
    "not_authenticated", "not_available", "not available", "n/a", "-1",
    "id", "user_id", "userid", "uid", "distinct_id", "distinctid", "anonymous_id", "anonymousid",
    "device_id", "deviceid", "email",
    "{}", "[]", "[object]", "[object object]", "[object undefined]", "[object null]",
    "ffffffff-ffff-ffff-ffff-ffffffffffff", "9774d56d682e549c", "02:00:00:00:00:00",
})  # fmt: skip
"""What programs write when they know no customer, in small letters: taken for an identity, it
would make one customer of everybody it was written for. The last line is what devices report when
they have no id, or hide it."""

_ZEROS = "0-:. "
_BRACKETS = "()<>{}[]\"'`"

_VISITORS = UUID("7d0c7c4e-52a1-5a1f-9c3d-2f9b1a6f4a10")


def normalise_value(type: str, value: str) -> str:
    """The value as it is stored and looked up: trimmed, e-mail in lower case, phone as +digits."""
    value = value.strip()
    if type == "email":
        return value.lower()
    if type == "phone":
        return "+" + "".join(c for c in value if c.isdigit()) if value else value
    return value


def is_placeholder(type: str, value: str) -> bool:
    """Whether a value names nobody: `undefined`, `null`, zeros (of a UUID, of a phone number) and
    their like; a template's variable that was not replaced; an e-mail address made of such values
    (`null@null.com`). Capital letters count as small ones.
    """
    text = value.strip().casefold()
    if text in PLACEHOLDERS or (bare := text.strip(_BRACKETS)) in PLACEHOLDERS:
        return True
    if not bare.strip(_ZEROS) or (type == "phone" and not bare.strip(f"{_ZEROS}+/")):
        return bool(text)
    if text.startswith(("{{", "${", "<%", "{%")) and text.endswith(("}}", "}", "%>")):
        return True
    if type == "email":
        name, _, domain = text.partition("@")
        return name in PLACEHOLDERS and domain.partition(".")[0] in (name, "")
    return False


def derive_customer_id(type: str, value: str) -> UUID:
    """The id of the customer that an anonymous identity stands for.

    Every service derives the same one, so a decision taken before profile knows a visitor is still
    theirs afterwards. Only for `ANONYMOUS_TYPES`: an id derived from an e-mail address would let
    whoever holds the id test whose it is.
    """
    if type not in ANONYMOUS_TYPES:
        raise ValueError(f"{type!r} is not an anonymous identity: its customer id is not derived")
    if is_placeholder(type, value):
        raise ValueError(f"{value[:60]!r} stands for nobody: no customer id is derived from it")
    return uuid5(_VISITORS, f"{type}:{normalise_value(type, value)}")
