"""What a caller does wrong is told by name, with the remedy, through the public door."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.stack import BUYERS, Stack

OFFERS = """
query($customer: CustomerRef!, $placement: String!) {
  nextBestActions(customer: $customer, channel: CALL_CENTRE, placement: $placement) { id }
}"""
ANN = {"identity": {"type": "email", "value": BUYERS[3].email}}


def the_error(answer: dict[str, Any]) -> dict[str, Any]:
    [error] = answer["errors"]
    return {"message": error["message"], **error.get("extensions", {})}


def track(**more: Any) -> dict[str, Any]:
    return {"type": "track", "anonymousId": "v-bad", "event": "looked", **more}


def test_an_unknown_customer_is_named(stack: Stack) -> None:
    nobody = {"identity": {"type": "email", "value": "nobody@example.com"}}

    answer = stack.as_("agent").answer(OFFERS, customer=nobody, placement="agent_desktop")

    error = the_error(answer)
    assert error["code"] == "UNKNOWN_CUSTOMER"
    assert "nobody@example.com" in error["message"]
    assert error["hint"]


def test_an_unknown_placement_comes_with_the_nearest_name(stack: Stack) -> None:
    answer = stack.as_("agent").answer(OFFERS, customer=ANN, placement="agent_desk")

    error = the_error(answer)
    assert error["code"] == "DECISION_UNKNOWN_PLACEMENT"
    assert "agent_desktop" in error["hint"]


def test_an_unknown_channel_is_refused_before_anybody_is_asked(stack: Stack) -> None:
    query = '{ nextBestActions(customer: {id: "x"}, channel: FAX, placement: "home") { id } }'

    answer = stack.as_("agent").answer(query)

    assert "FAX" in answer["errors"][0]["message"]
    assert "data" not in answer or answer["data"] is None


def test_an_unknown_action_is_named(stack: Stack) -> None:
    query = """query($ref: CustomerRef!) { customer(ref: $ref) {
      whyNot(action: "loyalty_cart", channel: APP, placement: "app_home") { stage } } }"""

    answer = stack.as_("agent").answer(query, ref=ANN)

    error = the_error(answer)
    assert "loyalty_cart" in error["message"]
    assert "loyalty_card" in error["hint"]


def test_malformed_yaml_is_told_with_its_line(stack: Stack) -> None:
    mutation = "mutation($yaml: String!) { publishCatalogue(yaml: $yaml) { version } }"

    answer = stack.as_("marketer").answer(
        mutation, yaml="currency: USD\nplacements: []\nactions:\n  - {key: a\n"
    )

    error = the_error(answer)
    assert error["code"] == "INVALID_DEFINITION"
    assert error["problems"][0]["line"] >= 4
    assert error["problems"][0]["hint"]


def test_an_unknown_name_in_a_condition_comes_with_line_and_suggestion(stack: Stack) -> None:
    mutation = "mutation($yaml: String!) { publishSegment(yaml: $yaml) { key } }"
    yaml = "key: s\nname: S\ncondition: evnts.count('order_completed') > 1\n"

    answer = stack.as_("marketer").answer(mutation, yaml=yaml)

    [problem] = the_error(answer)["problems"]
    assert problem["line"] == 3
    assert "evnts" in problem["problem"]
    assert "events" in problem["problem"] + problem["hint"]


def test_a_batch_with_one_bad_event_keeps_the_good_ones(stack: Stack) -> None:
    bad = track(event=None, messageId="bad")
    batch = [track(messageId="good-1"), bad, track(messageId="good-2")]

    answer = stack.send("batch", {"batch": batch})

    assert answer.status_code == 200
    body = answer.json()
    assert body["accepted"] == 2
    [rejected] = body["rejected"]
    assert (rejected["index"], rejected["messageId"]) == (1, "bad")
    assert rejected["hint"]


def test_an_oversized_event_is_rejected_with_its_size(stack: Stack) -> None:
    answer = stack.send("track", track(properties={"text": "x" * 33_000}))

    assert answer.status_code in {400, 413}
    assert "32" in answer.text


def test_an_oversized_batch_is_refused_whole(stack: Stack) -> None:
    batch = [track(messageId=str(n), properties={"text": "x" * 1_000}) for n in range(600)]

    answer = stack.send("batch", {"batch": batch})

    assert answer.status_code == 413
    assert "500" in answer.text


def test_a_clock_far_in_the_future_is_rejected(stack: Stack) -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()

    answer = stack.send("track", track(timestamp=tomorrow))

    assert answer.status_code == 400
    assert "ahead of our clock" in answer.text


@pytest.mark.parametrize("path", ["/v1/track", "/graphql"])
def test_invalid_utf8_is_told_with_its_place(stack: Stack, path: str) -> None:
    headers = {"Content-Type": "application/json"}
    if path == "/graphql":
        headers["Authorization"] = f"Bearer {stack.token('agent')}"

    answer = httpx.post(
        f"{stack.instance.url}{path}",
        content=b'{"event": "\xff\xfe"}',
        headers=headers,
        auth=(stack.session.write_key, "") if path != "/graphql" else None,
        trust_env=False,
    )

    assert answer.status_code == 400
    assert "UTF-8" in answer.text


def test_a_wrong_write_key_is_refused_with_a_remedy(stack: Stack) -> None:
    answer = httpx.post(
        f"{stack.instance.url}/v1/track", auth=("wrong", ""), json=track(), trust_env=False
    )

    assert answer.status_code == 401
    assert "write key" in answer.text


def test_a_visitor_reaches_nobody_but_himself(stack: Stack) -> None:
    visitor = stack.as_("visitor", "anonymous_id=v-1")

    answer = visitor.answer("query($r: CustomerRef!) { customer(ref: $r) { id } }", r=ANN)

    assert the_error(answer)["code"] == "FORBIDDEN"
    assert not (answer.get("data") or {}).get("customer")


TRACK = """
mutation($customer: CustomerRef!, $t: JSON) {
  track(input: {customer: $customer, event: "looked", properties: %s}) {
    customer { events(first: 1) { edges { node { properties } } } }
  }
}"""


def test_a_variable_that_is_not_sent_is_left_out_of_a_json_literal(stack: Stack) -> None:
    agent = stack.as_("agent")

    object_ = agent.answer(TRACK % "{a: 1, t: $t}", customer=ANN)
    list_ = agent.answer(TRACK % "{a: [1, $t]}", customer=ANN)

    found = [
        answer["data"]["track"]["customer"]["events"]["edges"][0]["node"]["properties"]
        for answer in (object_, list_)
    ]
    assert found == [{"a": 1}, {"a": [1, None]}]


def test_properties_too_deep_to_be_shown_are_refused(stack: Stack) -> None:
    deep: Any = 1
    for _ in range(40):
        deep = {"a": deep}
    answer = stack.as_("agent").answer(TRACK % "$t", customer=ANN, t=deep)

    error = the_error(answer)
    assert error["code"] == "PROFILE_INVALID_EVENT"
    assert "nests deeper than 32 levels" in error["message"]


@pytest.mark.parametrize("field", ["userId", "anonymousId"])
def test_an_event_of_nobody_is_refused_with_a_remedy(stack: Stack, field: str) -> None:
    event = {"type": "track", "event": "looked", field: "undefined"}

    answer = stack.send("batch", {"batch": [track(), event]}).json()

    assert answer["accepted"] == 1
    [refusal] = answer["rejected"]
    assert (refusal["index"], refusal["code"]) == (1, "PROFILE_PLACEHOLDER_IDENTITY")
