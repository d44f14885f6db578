"""Which operations are tools of assistants, how their arguments are described, and the fence."""

import json
from pathlib import Path
from typing import Any

import pytest
from graphql import OperationDefinitionNode, build_schema, parse
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.limits.cost import CostWeights
from gateway.access.limits.load_shedding import Priorities
from gateway.access.limits.operation_limits import OperationLimits
from gateway.access.limits.registered_operations import OperationRegistry
from gateway.pipeline.prepare import PreparedOperationCache
from gateway.schema_source import read_subgraphs
from gateway.supergraph import compose
from gateway.surfaces.mcp.argument_schema import describe_arguments
from gateway.surfaces.mcp.tools import describe_use, find_problem, tool_name
from gateway.surfaces.mcp.untrusted_text import CLOSING, NOTICE, OPENING, fence

JSON = dict[str, Any]
EXAMPLES = Path(__file__).parents[3] / "examples" / "records" / "assistant"

SCHEMA = build_schema("""
"Where."
enum Channel { "A page." WEB APP }
"Who."
input Ref @oneOf { "The id." id: ID name: String }
input Step { at: DateTime! next: Step  times: Int! = 2  kinds: [Channel!] = [WEB] }
scalar DateTime
scalar Anything
type Query { q(ref: Ref, channel: Channel, step: Step, any: Anything, some: [Float]): Int }
""")


def describe(variables: str) -> JSON:
    definition = parse(f"query Q({variables}) {{ q }}").definitions[0]
    assert isinstance(definition, OperationDefinitionNode)
    return describe_arguments(definition, SCHEMA)


def test_arguments_are_the_variables_with_their_words_and_defaults() -> None:
    described = describe(
        '"""How many,\n  at most.""" $first: Int! = 3, $some: [Float!]!, $text: String'
    )

    assert described == {
        "type": "object",
        "properties": {
            "first": {"type": "integer", "description": "How many, at most.", "default": 3},
            "some": {"type": "array", "items": {"type": "number"}},
            "text": {"type": "string"},
        },
        "required": ["some"],
        "additionalProperties": False,
    }


def test_an_enum_says_what_its_values_mean() -> None:
    described = describe('"Here." $channel: Channel! = WEB')

    assert described["properties"]["channel"] == {
        "$ref": "#/$defs/Channel",
        "description": "Here.",
        "default": "WEB",
    }
    assert described["$defs"]["Channel"] == {
        "type": "string",
        "enum": ["WEB", "APP"],
        "description": "Where. WEB: A page.",
    }


def test_of_a_one_of_exactly_one_field_is_to_be_given() -> None:
    alternatives = describe("$ref: Ref!")["$defs"]["Ref"]["oneOf"]

    assert [each["required"] for each in alternatives] == [["id"], ["name"]]
    assert alternatives[0]["properties"] == {"id": {"type": "string", "description": "The id."}}
    assert not any(each["additionalProperties"] for each in alternatives)


def test_an_input_may_hold_itself() -> None:
    step = describe("$step: Step, $any: Anything")["$defs"]["Step"]

    assert step["properties"]["next"] == {"$ref": "#/$defs/Step"}
    assert step["properties"]["times"] == {"type": "integer", "default": 2}
    assert step["properties"]["kinds"]["default"] == ["WEB"]
    assert step["required"] == ["at"]


@pytest.fixture(scope="module")
def operations() -> PreparedOperationCache:
    """Operations over the whole graph."""
    classify = Priorities.read().classify
    limits = OperationLimits()
    return PreparedOperationCache(
        compose(read_subgraphs()), limits, CostWeights(), classify, size=100
    )


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.graphql")), ids=lambda file: file.stem)
def test_every_example_is_a_tool_named_like_its_file(
    operations: PreparedOperationCache, file: Path
) -> None:
    prepared = operations.get(file.read_text(), None)
    definition = prepared.facts.operation.definition

    assert find_problem(prepared) is None
    assert definition.description is not None
    assert definition.name is not None
    assert tool_name(definition.name.value) == file.stem
    assert all(each.description for each in definition.variable_definitions or ())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("query A($id: ID!) { decision(id: $id) { id } }", "select the customer of Decision"),
        ("query A { customers(first: 2) { edges { node { id } } } }", None),
        ("query A { customers { edges { cursor } } }", "select the customer of CustomerEdge"),
        (
            "query A($ref: CustomerRef!) { customer(ref: $ref) { "
            "decisions { edges { node { ...D } } } } } fragment D on Decision { id }",
            None,
        ),
        (
            "query A($id: ID!) { decision(id: $id) { ...D } } "
            "fragment D on Decision { customer { id } }",
            None,
        ),
        (
            'mutation A($id: ID!) { exitJourney(instance: $id, reason: "no") { id } }',
            "not one field that a CustomerRef is an argument of",
        ),
        ('mutation A { publishSegment(yaml: "") { key } }', "not one field"),
        (
            "mutation A($i: ConsentInput!, $o: OutcomeInput!) { setConsent(input: $i) { id } "
            "recordOutcome(input: $o) { id } }",
            "not one field",
        ),
        (
            "query A($id: ID!) { decision(id: $id) { customer { "
            'nextBestActions(channel: WEB, placement: "home") { customer { id } } } } }',
            "It records something",
        ),
        (
            "query A($ref: CustomerRef!) { customer(ref: $ref) { "
            'nextBestActions(channel: WEB, placement: "home") { id } } }',
            None,
        ),
        (
            "mutation A($input: ConsentInput!) { setConsent(input: $input) { id } }",
            None,
        ),
        (
            "subscription A($ref: CustomerRef!) { customerActivity(ref: $ref) { at } }",
            "A subscription has no result",
        ),
    ],
)
def test_a_tool_tells_which_customer_it_is_about(
    operations: PreparedOperationCache, text: str, problem: str | None
) -> None:
    found = find_problem(operations.get(text, None))

    assert (found is None) == (problem is None)
    assert (problem or "") in (found or "")


def test_who_publishes_is_told_which_tool_it_is_or_why_it_is_none(
    operations: PreparedOperationCache,
) -> None:
    texts = (
        '"All." query AllActions { actions { key } }',
        '"One." query A($id: ID!) { decision(id: $id) { id } }',
        "query Actions { actions { key } }",
    )

    assert [describe_use(operations.get(text, None)) for text in texts] == [
        {"tool": "all_actions"},
        {"tool": None, "noTool": "It does not select the customer of Decision."},
        {},
    ]


async def test_only_a_description_makes_a_tool_and_the_last_one_published_stands_last() -> None:
    registry = OperationRegistry()
    plain, first = "query A { a }", '"An A." query A { a }'
    unnamed, second = '"No name." { a }', '"Another A." query A { b }'

    await registry.adopt([plain, first, unnamed])
    await registry.adopt([second, plain, first, unnamed])
    before = registry.described()
    await registry.adopt([plain, first, unnamed, second])

    assert before == [(second, "A"), (first, "A")]
    assert registry.described() == [(first, "A"), (second, "A")]


@given(st.recursive(st.text() | st.just(CLOSING), lambda inner: st.lists(inner, max_size=3)))
def test_nothing_inside_the_fence_can_close_it(value: Any) -> None:
    text = fence({"data": {"said": value}})

    lines = text.split("\n")
    assert lines[:2] == [NOTICE, OPENING]
    assert lines[3:] == [CLOSING]
    assert "<" not in lines[2]
    assert json.loads(lines[2]) == {"data": {"said": value}}
