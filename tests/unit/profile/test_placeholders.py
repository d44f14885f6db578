"""What programs write where they know nobody names nobody, at any door."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from services.contracts.enums import SenderClass
from services.contracts.identity import TYPES, derive_customer_id, is_placeholder
from services.profile.domain.calls import BatchContext, NoIdentity, PlaceholderIdentity
from services.profile.domain.identities import (
    Identity,
    InvalidIdentity,
    normalise_identity,
    parse_identity,
)
from services.profile.domain.spec import read_call

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
READING = BatchContext(NOW, timedelta(minutes=5), uuid4, SenderClass.SERVER)
NOBODY = (
    "undefined",
    "Undefined",
    " null ",
    "NULL",
    "None",
    "nil",
    "NaN",
    "[object Object]",
    "true",
    "False",
    "0",
    "-1",
    "000",
    "anonymous",
    "Guest",
    "unknown",
    "(not set)",
    "(none)",
    '"undefined"',
    "<user_id>",
    "{{user.id}}",
    "${userId}",
    "00000000-0000-0000-0000-000000000000",
    "{00000000-0000-0000-0000-000000000000}",
    "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
)
SOMEBODY = (
    "1",
    "42",
    "100",
    "-12",
    "0a",
    "a0",
    "ann",
    "nullius",
    "guest-1",
    "Anonymous Coward",
    "00000000-0000-0000-0000-000000000001",
    "😀",
    "{x}",
)


@pytest.mark.parametrize("value", NOBODY)
@pytest.mark.parametrize("type", sorted(TYPES))
def test_a_placeholder_is_no_identity_of_any_type(type: str, value: str) -> None:
    assert normalise_identity(type, value) is None
    with pytest.raises(InvalidIdentity):
        parse_identity(type, value)


@pytest.mark.parametrize("value", SOMEBODY)
@pytest.mark.parametrize("type", sorted(TYPES - {"email", "phone"}))
def test_what_only_looks_like_one_is_an_identity(type: str, value: str) -> None:
    assert normalise_identity(type, value) == Identity(type, value)


@pytest.mark.parametrize(
    ("type", "value", "is_nobody"),
    [
        ("email", "null@null.com", True),
        ("email", "Undefined@undefined", True),
        ("email", "none@none.com", True),
        ("email", "null@example.com", False),
        ("email", "ann@none.com", False),
        ("email", "guest@hotel.example", False),
        ("phone", "+000 000-0000", True),
        ("phone", "0", True),
        ("phone", "+31 6 0000 0001", False),
    ],
)
def test_addresses_and_numbers_have_placeholders_of_their_own(
    type: str, value: str, is_nobody: bool
) -> None:
    assert is_placeholder(type, value) is is_nobody
    assert (normalise_identity(type, value) is None) is is_nobody


@pytest.mark.parametrize("type", ["anonymous_id", "device"])
def test_no_customer_is_derived_from_one(type: str) -> None:
    with pytest.raises(ValueError, match="'undefined' stands for nobody"):
        derive_customer_id(type, "undefined")


@pytest.mark.parametrize("kind", ["track", "identify", "page", "screen", "group"])
@pytest.mark.parametrize("field", ["userId", "anonymousId"])
def test_an_event_that_names_nobody_else_is_refused_and_told_why(kind: str, field: str) -> None:
    event = {"type": kind, "event": "x", "groupId": "g", field: "undefined"}

    with pytest.raises(
        PlaceholderIdentity, match=f"{field} is 'undefined', which stands for nobod"
    ):
        read_call(event, READING)


def test_an_event_that_names_somebody_else_is_theirs_alone() -> None:
    event: dict[str, Any] = {
        "type": "identify",
        "userId": "undefined",
        "anonymousId": "v-1",
        "traits": {"email": "null@null.com", "crm_id": "None", "phone": 0, "city": "Breda"},
        "context": {
            "device": {"id": "00000000-0000-0000-0000-000000000000"},
            "externalIds": [{"type": "loyalty_id", "id": "guest"}],
        },
    }

    call = read_call(event, READING)

    assert call.identities == (Identity("anonymous_id", "v-1"),)
    assert call.traits["city"] == "Breda"


@pytest.mark.parametrize(
    "event",
    [
        {"type": "alias", "userId": "undefined", "previousId": "v-1"},
        {"type": "alias", "userId": "u", "previousId": "[object Object]"},
        {"type": "alias", "userId": "undefined", "anonymousId": "a", "previousId": "v-1"},
    ],
)
def test_nobody_is_merged_with_a_placeholder(event: dict[str, Any]) -> None:
    with pytest.raises(NoIdentity, match="which stands for nobody"):
        read_call(event, READING)


def test_a_message_id_that_is_one_is_as_if_left_out() -> None:
    event = {"type": "track", "event": "x", "userId": "u", "messageId": "undefined"}

    first, second = read_call(event, READING), read_call(event, READING)

    assert first.message_id.startswith("raak-")
    assert first.message_id != second.message_id
