"""A caller that may not have a field is told who may, whatever it asks."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.pipeline.request import GraphQLRequest
from gateway.supergraph import ExecutionOptions, compose, plan_document, subscribe
from services.chassis.principal import Principal
from services.contracts.enums import Role
from tests.unit.gateway.small_graph import SDLS, InProcess, graph

AGENT = Principal(Role.AGENT, "ann")
PRIVACY = Principal(Role.PRIVACY, "paul")
OWN = "6b3c1f0e-6f6c-4a53-9d54-7f3a3c6c2a11"
VISITOR = Principal(Role.VISITOR, "shop", (("id", OWN),))
MARKED = SDLS["profile"].replace(
    "segments: [String!]!", 'segments: [String!] @requiresScopes(scopes: [["segments:read"]])'
)


async def errors(caller: Principal, query: str) -> list[dict[str, Any]]:
    supergraph = compose(SDLS | {"profile": MARKED.replace('"@key"', '"@key", "@requiresScopes"')})
    answering = replace(graph(InProcess()), supergraph=supergraph)
    asked = GraphQLRequest(query)
    answer = await answering.answer(answering.prepare(asked, caller), asked, caller)
    found: list[dict[str, Any]] = answer["errors"]
    return found


@pytest.mark.parametrize(
    ("caller", "query", "path", "coordinate", "hint"),
    [
        (
            PRIVACY,
            '{ a: action(key: "x") }',
            ["a"],
            "Query.action",
            "The role 'privacy' may not have it; these may: agent, marketer, analyst, admin.",
        ),
        (
            VISITOR,
            f'{{ customer(ref: {{id: "{OWN}"}}) {{ id called: name }} }}',
            ["customer", "called"],
            "Customer.name",
            "The role 'visitor' may not have it; these may: app, agent, marketer, privacy, admin.",
        ),
        (
            AGENT,
            "{ segments }",
            ["segments"],
            "Query.segments",
            "The token lacks what it asks: the scope segments:read.",
        ),
        (
            AGENT,
            'mutation { p: publishSegment(yaml: "x") }',
            ["p"],
            "Mutation.publishSegment",
            "The role 'agent' may not have it; these may: marketer, admin.",
        ),
    ],
)
async def test_a_refusal_says_who_may_or_what_is_lacking(
    caller: Principal, query: str, path: list[str], coordinate: str, hint: str
) -> None:
    [error] = await errors(caller, query)

    assert error == {
        "message": f"Access to {coordinate!r} is denied.",
        "path": path,
        "extensions": {"code": "UNAUTHORIZED_FIELD_OR_TYPE", "hint": hint},
    }


async def test_a_subscription_says_it_too() -> None:
    supergraph = compose({"a": "type Query { a: Int } type Subscription { b: Int }"})
    answers = subscribe(
        plan_document(supergraph, "subscription { b }"),
        {},
        InProcess(),
        ExecutionOptions(
            denied=frozenset({"Subscription.b"}),
            denied_error=lambda denied: {"message": denied, "extensions": {"hint": "Be another."}},
        ),
    )

    told = [answer async for answer in answers]

    error = {"message": "Subscription.b", "path": ["b"], "extensions": {"hint": "Be another."}}
    assert told == [{"data": {"b": None}, "errors": [error]}]
