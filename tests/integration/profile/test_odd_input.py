"""Input that goes wrong in one event costs that event, whatever it is and wherever it stands."""

from typing import Any

import orjson
import pytest

from services.contracts.enums import SenderClass
from services.profile.collect import read_json
from tests.integration.profile.conftest import Profile, identify, track

DEEP_PROPERTIES = """
{ customer(ref: {identity: {type: "user_id", value: "u"}}) {
  events { edges { node { properties context } } } traits { name value }
} }
"""


def nested(levels: int) -> Any:
    """An object of so many levels."""
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


async def send(profile: Profile, *events: bytes, context: bytes = b"{}") -> dict[str, Any]:
    """Send a batch of texts; the answer, which can be written as JSON."""
    body = b'{"batch": [' + b", ".join(events) + b'], "context": ' + context + b"}"
    sender, value = SenderClass.SERVER, read_json(body)
    _, answer = await profile.collector().record(sender, "batch", value, profile.now)
    written: dict[str, Any] = orjson.loads(orjson.dumps(answer))
    return written


def text(**fields: Any) -> bytes:
    """A track call as JSON."""
    return orjson.dumps(track(**fields))


@pytest.mark.parametrize(
    "flawed",
    [
        rb'{"type": "track", "event": "x", "userId": "u", "properties": {"title": "half \ud83d"}}',
        rb'{"type": "track", "event": "x", "userId": "u", "properties": {"title": "\ude00 half"}}',
        rb'{"type": "track", "event": "x", "userId": "u", "properties": {"\ud83d": 1}}',
        rb'{"type": "track", "event": "x", "userId": "u", "messageId": "\ud83d"}',
        rb'{"type": "track", "event": "x", "userId": "\ud83d"}',
        rb'{"type": "\ud83d", "userId": "u"}',
        rb'"\ud83d"',
        rb'{"type": "track", "event": "x", "userId": "u", "properties": {"a": NaN}}',
        rb'{"type": "track", "event": "x", "userId": "u", "properties": {"a": 1e999}}',
        rb'{"type": "track", "event": "x", "userId": "u", "properties": {"a": "\u0000"}}',
        rb'{"type": "track", "event": "x", "userId": "u", "properties": {"a\u0000": 1}}',
        b'{"type": "track", "event": "x", "userId": "u", "properties": '
        + b'{"a": ' * 40
        + b"1"
        + b"}" * 41,
        b'{"type": "track", "event": "x", "userId": "u", "properties": '
        + b'{"a": [' * 600
        + b"]}" * 600
        + b"}",
        b'{"type": "track", "event": "x", "userId": "undefined"}',
    ],
)
async def test_two_of_three_are_kept_and_the_third_is_told(profile: Profile, flawed: bytes) -> None:
    answer = await send(profile, text(), flawed, text())

    assert answer["accepted"] == 2
    [refusal] = answer["rejected"]
    assert refusal["index"] == 1
    assert refusal["code"] in ("PROFILE_INVALID_EVENT", "PROFILE_PLACEHOLDER_IDENTITY")
    assert await profile.count("SELECT count(*) FROM event") == 2


@pytest.mark.parametrize("half", [rb"\ud83d", rb"\ude00", rb"\u0000"])
async def test_alone_it_is_an_error_of_the_request_that_names_it(
    profile: Profile, half: bytes
) -> None:
    value = read_json(b'{"event": "x", "userId": "u", "properties": {"title": "%b"}}' % half)

    status, answer = await profile.collector().record(
        SenderClass.SERVER, "track", value, profile.now
    )

    assert (status, answer["success"]) == (400, False)
    assert answer["rejected"][0]["code"] == "PROFILE_INVALID_EVENT"


@pytest.mark.parametrize("context", [rb'{"a": "\u0000"}', rb'{"a": "\ud83d"}', b"7"])
async def test_a_flaw_of_what_a_batch_says_of_all_is_told_of_each(
    profile: Profile, context: bytes
) -> None:
    answer = await send(profile, text(), text(), context=context)

    assert [one["index"] for one in answer["rejected"]] == [0, 1]
    assert all("The batch's context" in one["problem"] for one in answer["rejected"])
    assert answer["accepted"] == 0


async def test_a_batch_that_does_not_know_when_it_was_sent_is_taken_in(profile: Profile) -> None:
    answer = await profile.collect(track(), sentAt="yesterday")

    assert answer["accepted"] == 1


async def test_visitors_who_are_undefined_stay_apart(profile: Profile) -> None:
    await profile.collect(
        identify(userId="undefined", anonymousId="v-1", traits={"email": "ann@example.com"}),
        identify(userId="undefined", anonymousId="v-2", traits={"email": "bob@example.com"}),
    )

    ann = await profile.customer("email", "ann@example.com")
    bob = await profile.customer("email", "bob@example.com")
    assert ann.id != bob.id
    assert {one.value for one in ann.identities} == {"v-1", "ann@example.com"}


@pytest.mark.parametrize(
    "mutation",
    [
        'track(input: {customer: %s, event: "x"}) { duplicate }',
        "identify(input: {customer: %s}) { id }",
        'setConsent(input: {customer: %s, purpose: "email", status: GIVEN}) { id }',
    ],
)
async def test_no_mutation_is_about_a_placeholder(profile: Profile, mutation: str) -> None:
    nobody = '{identity: {type: "anonymous_id", value: "undefined"}}'

    answer = await profile.ask(f"mutation {{ {mutation % nobody} }}")

    [error] = answer["errors"]
    assert error["extensions"]["code"] == "PROFILE_INVALID_IDENTITY"
    assert await profile.count("SELECT count(*) FROM customer") == 0


async def test_a_variable_that_is_not_sent_is_left_out_of_properties(profile: Profile) -> None:
    answer = await profile.ask(
        'mutation ($t: JSON) { track(input: {customer: {identity: {type: "user_id", value: "u"}}'
        ', event: "x", properties: {a: 1, t: $t}}) {'
        " customer { events { edges { node { properties } } } } } }"
    )

    [edge] = answer["data"]["track"]["customer"]["events"]["edges"]
    assert edge["node"]["properties"] == {"a": 1}


async def test_properties_too_deep_are_an_error_of_their_mutation(profile: Profile) -> None:
    answer = await profile.ask(
        "mutation ($deep: JSON) {"
        ' deep: track(input: {customer: {identity: {type: "user_id", value: "u"}}'
        ', event: "x", properties: $deep}) { duplicate } }',
        deep=nested(60),
    )

    [error] = answer["errors"]
    assert error["extensions"]["code"] == "PROFILE_INVALID_EVENT"


async def test_what_was_stored_too_deep_hides_nobody(profile: Profile) -> None:
    await profile.collect(identify(userId="u", traits={"a": 1}))
    async with profile.database.transaction() as connection:
        await connection.execute("UPDATE event SET properties = $1, context = $1", nested(240))
        await connection.execute("UPDATE trait SET value = $1", nested(240))

    answer = await profile.ask(DEEP_PROPERTIES)

    assert answer["errors"] == []
    assert orjson.dumps(answer).count(b"{") < 250
    assert answer["data"]["customer"]["traits"][0]["value"]["a"]["a"]


async def test_one_whose_traits_are_too_deep_can_withdraw_their_consent(profile: Profile) -> None:
    await profile.collect(identify(userId="u", traits={"a": 1}))
    async with profile.database.transaction() as connection:
        await connection.execute("UPDATE trait SET value = $1", nested(252))

    await profile.collect(
        track(userId="u", context={"consent": {"categoryPreferences": {"email": False}}})
    )

    assert (await profile.snapshot("user_id", "u")).consents == {"email": False}


NULLS = """
mutation {
  identify(input: {
    customer: {identity: {type: "user_id", value: "u"}}, identities: null,
    traits: null, kind: null, context: null, source: null, lawfulBasis: null, at: null,
    messageId: null
  }) { id }
  track(input: {
    customer: {identity: {type: "user_id", value: "u"}}, event: "x", properties: null,
    context: null, at: null, messageId: null
  }) { duplicate }
  setConsent(input: {
    customer: {identity: {type: "user_id", value: "u"}}, purpose: "email", status: GIVEN,
    lawfulBasis: null, source: null, at: null
  }) { consents { lawfulBasis source } }
}
"""


async def test_null_in_what_a_mutation_may_leave_out_is_as_if_left_out(profile: Profile) -> None:
    answer = await profile.ask(NULLS)

    assert answer["errors"] == []
    [consent] = answer["data"]["setConsent"]["consents"]
    assert consent == {"lawfulBasis": "CONSENT", "source": "graph"}
