"""What each role gets of the same question, through the public door."""

from typing import Any

import httpx
import pytest

from infra import tokens
from infra.graph_client import GraphClient
from tests.stack import BUYERS, Stack

JSON = dict[str, Any]
DENIED = "UNAUTHORIZED_FIELD_OR_TYPE"
ANN = {"identity": {"type": "email", "value": BUYERS[6].email}}
TOKEN = f"email={BUYERS[6].email}"

OFFERS = """query($ref: CustomerRef!) {
  nextBestActions(customer: $ref, channel: WEB, placement: "home") {
    controlGroup trace { stage }
    propositions { rank content score propensity value { cents } action { key name lever } }
  } }"""
CUSTOMER = """query($ref: CustomerRef!) {
  customer(ref: $ref) {
    id identities { value } traits { name } features { name } history { kind }
    touchpoints(first: 1) { edges { node { kind controlGroup } } }
  } }"""
INSIDE = ("score", "propensity", "value")


def denied(answer: JSON) -> set[str]:
    """The names of the fields that were denied, all errors being denials."""
    errors = answer.get("errors", ())
    assert {error["extensions"]["code"] for error in errors} <= {DENIED}, errors
    return {error["path"][-1] for error in errors}


@pytest.mark.parametrize("role", ["visitor", "app"])
def test_customers_get_offers_and_not_how_they_came_about(stack: Stack, role: str) -> None:
    answer = stack.as_(role, TOKEN).answer(OFFERS, ref=ANN)

    assert denied(answer) == {"controlGroup", "trace", *INSIDE, "lever"}
    made = answer["data"]["nextBestActions"]
    assert made["propositions"], "they are offered something all the same"
    for proposition in made["propositions"]:
        assert proposition["content"]
        assert proposition["action"]["name"]
        assert not any(proposition[field] for field in INSIDE)


def test_an_agent_gets_both(stack: Stack) -> None:
    answer = stack.as_("agent").answer(OFFERS, ref=ANN)

    assert denied(answer) == set()
    assert answer["data"]["nextBestActions"]["trace"]


@pytest.mark.parametrize(
    ("role", "without"),
    [
        ("visitor", {"identities", "traits", "features", "history", "touchpoints"}),
        ("app", {"features", "controlGroup"}),
        ("agent", set()),
        ("marketer", {"identities", "history"}),
        ("analyst", {"identities", "traits", "history"}),
        ("privacy", set()),
        ("admin", set()),
    ],
)
def test_each_role_sees_its_part_of_a_customer(stack: Stack, role: str, without: set[str]) -> None:
    own = TOKEN if role in ("visitor", "app") else ""
    by_id = stack.as_("agent").data(
        "query($ref: CustomerRef!) { customer(ref: $ref) { id } }", ref=ANN
    )
    ref = by_id["customer"] if role in ("marketer", "analyst") else ANN

    answer = stack.as_(role, own).answer(CUSTOMER, ref=ref)

    assert denied(answer) == without
    assert answer["data"]["customer"]["id"]
    assert all(answer["data"]["customer"].get(field) is None for field in without)


def test_a_token_narrowed_to_one_scope_does_that_and_nothing_else(stack: Stack) -> None:
    token = tokens.issue(stack.instance.keys.tokens, "agent", "kiosk", scopes=["customers:read"])
    graph = GraphClient(stack.instance.url, token)

    seen = graph.answer(CUSTOMER, ref=ANN)
    offers = graph.answer(OFFERS, ref=ANN)

    assert "identities" in denied(seen)
    assert seen["data"]["customer"]["traits"]
    assert denied(offers) == {"nextBestActions"}


def test_a_publication_by_who_may_not_publish_is_told_who_may(stack: Stack) -> None:
    mutation = 'mutation { publishSegment(yaml: "key: x") { key } }'

    answer = stack.as_("agent").answer(mutation)

    [error] = answer["errors"]
    assert answer["data"] is None
    assert error["extensions"]["code"] == DENIED
    assert "marketer, admin" in error["extensions"]["hint"]


def test_a_token_without_the_scope_hears_nothing(stack: Stack) -> None:
    token = tokens.issue(stack.instance.keys.tokens, "agent", "kiosk", scopes=["results:read"])
    listen = "subscription($ref: CustomerRef!) { customerActivity(ref: $ref) { id } }"

    response = httpx.post(
        f"{stack.instance.url}/graphql",
        json={"query": listen, "variables": {"ref": ANN}},
        headers={"Authorization": f"Bearer {token}", "Accept": "text/event-stream"},
        trust_env=False,
    )

    assert response.text.count("event: next") == 1, "one answer, and it ends"
    assert DENIED in response.text
