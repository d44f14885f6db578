"""A plan is printed as Apollo and Hive print theirs: in which order, where, with what of what."""

from typing import Any

import pytest
from graphql import parse

from gateway.supergraph import Supergraph, explain_plan, plan, print_plan
from tests.unit.gateway.supergraph.compose_subgraphs import compose_all

SHOP = compose_all(
    users="""
    type Query { me: User users: [[User!]] }
    type Mutation { rename: User }
    type User @key(fields: "id") { id: ID! name: String home: Home }
    type Home @shareable { street: String }
    """,
    orders="""
    type Mutation { order: Order }
    type Subscription { ordered: Order closed: Boolean }
    type Order { by: User! }
    type User @key(fields: "id") { id: ID! orders(first: Int): [Order!]! sku: String! }
    """,
    ads="""
    type User @key(fields: "id") {
      id: ID! sku: String! @external home: Home @external
      ad: String @requires(fields: "sku home { street }")
    }
    type Home @shareable { street: String }
    """,
    media="""
    type Query { media: [Medium] }
    union Medium = Film | Song
    type Film @key(fields: "id") { id: ID! }
    type Song @key(fields: "id") { id: ID! }
    """,
    stars="""
    type Film @key(fields: "id") { id: ID! stars: Int }
    type Song @key(fields: "id") { id: ID! stars: Int beats: Int }
    """,
)


def explained(text: str, supergraph: Supergraph = SHOP) -> dict[str, Any]:
    return explain_plan(supergraph, plan(supergraph, parse(text)).variant({}))


def nodes_in(node: Any) -> list[dict[str, Any]]:
    """A node and all below it."""
    if isinstance(node, list):
        return [found for item in node for found in nodes_in(item)]
    if not isinstance(node, dict):
        return []
    inner = [node.get(key) for key in ("node", "nodes", "primary", "rest")]
    return [node, *(found for value in inner for found in nodes_in(value))]


def test_entities_are_flattened_where_they_are_after_what_finds_them() -> None:
    text = print_plan(
        explained("query Me($n: Int) { me { name orders(first: $n) { by { id } } } }")
    )

    assert (
        text
        == """\
QueryPlan {
  Sequence {
    Fetch(service: "users") {
      {
        me {
          name
          raak_id: id
        }
      }
    },
    Flatten(path: "me") {
      Fetch(service: "orders") {
        {
          ... on User {
            __typename
            raak_id: id
          }
        } =>
        {
          ... on User {
            orders(first: $n) {
              by {
                id
              }
            }
          }
        }
      },
    },
  },
}"""
    )


def test_the_json_is_apollos() -> None:
    found = explained("query Me($n: Int) { me { id orders(first: $n) { by { id } } } }")

    (first, second) = found["node"]["nodes"]
    assert (found["kind"], found["node"]["kind"]) == ("QueryPlan", "Sequence")
    assert first == {
        "kind": "Fetch",
        "serviceName": "users",
        "variableUsages": [],
        "operation": "query Me__users__0 { me { id } }",
        "operationKind": "query",
        "operationName": "Me__users__0",
    }
    assert (second["kind"], second["path"]) == ("Flatten", ["me"])
    assert second["node"]["variableUsages"] == ["n"]
    assert second["node"]["requires"] == [
        {
            "kind": "InlineFragment",
            "typeCondition": "User",
            "selections": [
                {"kind": "Field", "name": "__typename"},
                {"kind": "Field", "name": "id"},
            ],
        }
    ]


def test_what_waits_for_nothing_of_each_other_is_parallel() -> None:
    found = explained("{ me { id orders { by { name } } } media { ... on Film { stars } } }")

    kinds = [node["kind"] for node in found["node"]["nodes"]]
    assert found["node"]["kind"] == "Parallel"
    assert kinds == ["Sequence", "Sequence"]
    assert [n["path"] for n in nodes_in(found) if n["kind"] == "Flatten"] == [
        ["me"],
        ["me", "orders", "@", "by"],
        ["media", "@|[Film]"],
    ]


def test_what_needs_two_services_comes_after_both() -> None:
    supergraph = compose_all(
        a='type Query { t: T } type T @key(fields: "id") { id: ID! x: Int }',
        b='type T @key(fields: "id") { id: ID! y: Int }',
        c='type T @key(fields: "id") { id: ID! z: Int }',
        d="""type T @key(fields: "id") {
          id: ID! y: Int @external z: Int @external sum: Int @requires(fields: "y z")
        }""",
    )

    found = explained("{ t { sum } }", supergraph)

    first, both, last = found["node"]["nodes"]
    assert first["serviceName"] == "a"
    assert both["kind"] == "Parallel"
    assert [node["node"]["serviceName"] for node in both["nodes"]] == ["b", "c"]
    assert last["node"]["serviceName"] == "d"


def test_each_list_on_the_way_is_an_at_sign() -> None:
    found = explained("{ users { orders { by { id } } } }")

    assert found["node"]["nodes"][1]["path"] == ["users", "@", "@"]


def test_inputs_inside_objects_are_selected_as_they_are_read() -> None:
    requires = nodes_in(explained("{ me { ad } }"))[-1]["requires"]

    assert requires[0]["selections"][1:] == [
        {"kind": "Field", "name": "id", "alias": "raak_id"},
        {"kind": "Field", "name": "sku", "alias": "raak_sku"},
        {
            "kind": "Field",
            "name": "home",
            "alias": "raak_home",
            "selections": [{"kind": "Field", "name": "street", "alias": "raak_street"}],
        },
    ]


def test_entities_of_two_types_that_one_request_fetches_share_its_id() -> None:
    found = explained("{ media { ... on Film { stars } ... on Song { beats } } }")

    fetches = [node for node in nodes_in(found) if node.get("requires")]
    assert [fetch["id"] for fetch in fetches] == [0, 0]
    assert len({fetch["operation"] for fetch in fetches}) == 1
    text = print_plan(found)
    assert text.count('Fetch(service: "stars", id: 0)') == 2
    assert text.count("beats") == text.count("stars\n") == 1


def test_mutations_run_one_after_the_other() -> None:
    found = explained("mutation { rename { name } order { by { name } } }")

    assert [node.get("operationKind") for node in found["node"]["nodes"]] == [
        "mutation",
        "mutation",
        None,
    ]


def test_a_subscription_has_its_source_and_the_rest() -> None:
    text = print_plan(explained("subscription { ordered { by { name } } }"))

    assert text.startswith("QueryPlan {\n  Subscription {\n    Primary: {\n      Fetch(")
    assert '    Rest: {\n      Flatten(path: "ordered.by") {\n' in text
    single = explained("subscription { closed }")
    assert single["node"].keys() == {"kind", "primary"}


@pytest.mark.parametrize("text", ["{ __typename }", "{ __schema { types { name } } }"])
def test_what_no_service_is_asked_for_has_an_empty_plan(text: str) -> None:
    found = explained(text)

    assert found == {"kind": "QueryPlan"}
    assert print_plan(found) == "QueryPlan {}"


def test_what_types_share_is_printed_as_a_fragment() -> None:
    supergraph = compose_all(
        a="""
        type Query { all: [Named] }
        interface Named { name: String }
        interface Housed { home: Home }
        type A implements Named & Housed { name: String home: Home }
        type B implements Named & Housed { name: String home: Home }
        type Home { street: String }
        """,
        b="type Query { other: Int }",
    )

    text = print_plan(explained("{ all { ... on Housed { home { street } } } }", supergraph))

    assert text.count("street") == 1
    assert "\n    fragment Shared0 on Home {\n      street\n    }\n" in text
