"""What a token narrowed to one scope is refused, through the public door, below what it opens."""

from typing import Any
from uuid import uuid4

import pytest

from infra import tokens
from infra.client import Graph
from tests.stack import BUYERS, Stack

JSON = dict[str, Any]
DENIED = "UNAUTHORIZED_FIELD_OR_TYPE"
ANN = {"identity": {"type": "email", "value": BUYERS[6].email}}
KNOWN = (
    "id traits { value } events { edges { node { properties } } } identities { value } "
    "consents { status } decisions { edges { node { id } } } journeys { id } inbox { content } "
    "touchpoints { edges { node { id } } } segments { key } history { reason }"
)
OF_KNOWN = {
    "traits",
    "events",
    "identities",
    "consents",
    "decisions",
    "journeys",
    "inbox",
    "touchpoints",
    "segments",
    "history",
}
BEHIND = {"identities", "decisions", "journeys", "history"}
REF = "query($ref: CustomerRef!)"
BOUGHT = '{ customer: $ref, event: "looked" }'

OPENED: dict[str, tuple[str, set[str]]] = {
    "catalogue:read": (
        f"{REF} {{ actions {{ key eligibility }} customer(ref: $ref) {{ id }} }}",
        {"customer"},
    ),
    "consents:write": (
        "mutation($ref: CustomerRef!) { setConsent(input: "
        '{ customer: $ref, purpose: "surveys", status: DENIED }) '
        f"{{ {KNOWN} }} }}",
        OF_KNOWN,
    ),
    "customers:list": (
        f"query {{ customers(first: 2) {{ edges {{ node {{ {KNOWN} }} }} }} }}",
        OF_KNOWN,
    ),
    "customers:read": (
        f"{REF} {{ customer(ref: $ref) {{ {KNOWN} "
        'whyNot(action: "jazz_weeks", channel: WEB, placement: "home") { stage } '
        "segmentsOfHis: segments { segment { condition } } } }",
        BEHIND | {"whyNot", "segment"},
    ),
    "customers:write": (
        f"mutation($ref: CustomerRef!) {{ track(input: {BOUGHT}) {{ customer {{ {KNOWN} }} }} }}",
        OF_KNOWN,
    ),
    "decisions:make": (
        f'{REF} {{ nextBestActions(customer: $ref, channel: WEB, placement: "home") {{ id '
        "trace { stage } propositions { score action { name eligibility treatments { key } } } "
        f"customer {{ {KNOWN} }} }} }}",
        OF_KNOWN | {"trace", "score", "eligibility", "treatments"},
    ),
    "journeys:read": (
        f"{REF} {{ journeyDefinitions {{ yaml }} customer(ref: $ref) {{ id }} }}",
        {"customer"},
    ),
    "results:read": ("query { actionResults { action } segments { condition } }", {"segments"}),
    "segments:read": (
        "query { segments { condition } actionResults { action } }",
        {"actionResults"},
    ),
}


def narrowed(stack: Stack, *scopes: str) -> Graph:
    token = tokens.issue(stack.instance.keys[0], "admin", "kiosk", scopes=scopes)
    return Graph(stack.instance.url, token)


def fields_of(answer: JSON) -> set[str]:
    """The fields that were refused, all errors being refusals."""
    errors = answer.get("errors", ())
    assert {error["extensions"]["code"] for error in errors} <= {DENIED}, errors
    return {error["path"][-1] for error in errors}


@pytest.mark.parametrize("scope", sorted(OPENED))
def test_a_scope_opens_its_own_and_nothing_that_hangs_below_it(stack: Stack, scope: str) -> None:
    query, closed = OPENED[scope]
    variables = {"ref": ANN} if "$ref" in query else {}

    answer = narrowed(stack, scope).answer(query, **variables)

    assert fields_of(answer) == closed
    assert any(answer["data"].values()), "what the scope is for is answered"


def test_a_decision_is_read_back_by_who_may_read_decisions_and_its_customer_is_not(
    stack: Stack,
) -> None:
    made = narrowed(stack, "decisions:make").answer(
        f'{REF} {{ nextBestActions(customer: $ref, channel: WEB, placement: "home") {{ id }} }}',
        ref=ANN,
    )["data"]["nextBestActions"]["id"]

    answer = narrowed(stack, "decisions:read").answer(
        "query($id: ID!) { decision(id: $id) { id trace { stage } "
        f"customer {{ {KNOWN} }} }} }}",
        id=made,
    )

    assert answer["data"]["decision"]["id"] == made
    assert fields_of(answer) == (OF_KNOWN - {"decisions"}) | {"trace"}


@pytest.mark.parametrize("scope", ["decisions:explain", "identities:read"])
def test_a_scope_that_only_adds_to_others_opens_nothing_by_itself(stack: Stack, scope: str) -> None:
    answer = narrowed(stack, scope).answer(
        f"{REF} {{ customer(ref: $ref) {{ {KNOWN} }} }}", ref=ANN
    )

    assert fields_of(answer) == {"customer"}


@pytest.mark.parametrize("scope", ["catalogue:write", "journeys:exit", "journeys:write"])
@pytest.mark.parametrize("asked", ["actions { key }", "journeyDefinitions { key }"])
def test_who_may_only_write_reads_no_definitions(stack: Stack, scope: str, asked: str) -> None:
    answer = narrowed(stack, scope).answer(f"query {{ {asked} }}")

    assert fields_of(answer) == {asked.split()[0]}


def test_who_may_only_report_an_outcome_or_publish_a_segment_sees_no_customer(
    stack: Stack,
) -> None:
    said = 'proposition: "%s", kind: CLICKED, idempotencyKey: "k"'
    outcome = "mutation { recordOutcome(input: { " + said + " }) { id } }"

    reporting = narrowed(stack, "outcomes:write").answer(outcome % uuid4())
    listing = narrowed(stack, "outcomes:write").answer("query { customers { edges { cursor } } }")
    publishing = narrowed(stack, "segments:write").answer("query { segments { condition } }")

    assert {error["extensions"]["code"] for error in reporting["errors"]} != {DENIED}
    assert fields_of(listing) == {"customers"}
    assert fields_of(publishing) == {"segments"}
