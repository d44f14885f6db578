"""Services that share a field mean the same by it; what only one of them knows is asked there."""

import pytest
from graphql import parse

from gateway.supergraph import CannotPlan, Supergraph, plan, read_supergraph
from tests.unit.gateway.supergraph.compose_subgraphs import compose_all

LINKS = """
schema @link(url: "https://specs.apollo.dev/link/v1.0")
  @link(url: "https://specs.apollo.dev/join/v0.3", for: EXECUTION) { query: Query }
enum join__Graph {
  A @join__graph(name: "a", url: "http://a") B @join__graph(name: "b", url: "http://b")
}
"""
ACTIONS = """
type Query { %(name)s: Box }
type Box @key(fields: "id") { id: ID! shared: Wrapper @shareable own%(name)s: Wrapper }
type Wrapper @shareable { actions: [Action!]! }
union Action = Common | Only%(name)s
type Common @shareable { label: String }
type Only%(name)s { x: String }
"""


def requests(supergraph: Supergraph, text: str) -> list[tuple[str, str]]:
    stages = plan(supergraph, parse(text)).variant({}).stages
    return [(r.subgraph, r.operation.partition(" ")[2]) for stage in stages for r in stage.fetches]


def actions_in(field: str) -> list[tuple[str, str]]:
    """The requests for actions of all types, below a field of a box that service `a` finds."""
    supergraph = compose_all(**{name: ACTIONS % {"name": name} for name in ("a", "b")})
    selection = "... on Common { label } ... on Onlya { x } ... on Onlyb { x }"
    return requests(supergraph, f"{{ a {{ {field} {{ actions {{ {selection} }} }} }} }}")


def test_of_a_shared_field_only_those_types_are_asked_that_all_may_return() -> None:
    (sent,) = actions_in("shared")

    assert sent[0] == "a"
    assert "... on Common { label }" in sent[1]
    assert "Only" not in sent[1]


def test_of_a_field_of_one_service_all_its_types_are_asked() -> None:
    (sent,) = actions_in("owna")

    assert "... on Onlya { x }" in sent[1]
    assert "Onlyb" not in sent[1]


def test_a_service_that_cannot_be_reached_has_no_say_in_it() -> None:
    supergraph = compose_all(
        a="type Query { t: T } type T @shareable { u: U } union U = A | B"
        " type A @shareable { x: ID } type B { y: ID }",
        b="type T @shareable { u: U } union U = A type A @shareable { x: ID }",
    )

    (sent,) = requests(supergraph, "{ t { u { ... on B { y } } } }")

    assert "... on B { y }" in sent[1]


def test_a_key_that_is_really_external_is_asked_of_its_owner() -> None:
    supergraph = compose_all(
        a='type Query { t: T @shareable } type T @key(fields: "id") { id: ID! @external x: Int }',
        b='type Query { t: T @shareable } type T @key(fields: "id") { id: ID! }',
    )

    assert [name for name, _ in requests(supergraph, "{ t { id } }")] == ["b"]


def test_what_is_asked_of_an_interface_is_not_pieced_together_from_two_services() -> None:
    supergraph = read_supergraph(
        LINKS
        + """
        interface Node @join__type(graph: A) @join__type(graph: B) { id: ID! }
        type Chat implements Node
          @join__implements(graph: A, interface: "Node")
          @join__implements(graph: B, interface: "Node")
          @join__type(graph: A, key: "id") @join__type(graph: B, key: "id")
        { id: ID! @join__field(graph: A, external: true) @join__field(graph: B) }
        type User implements Node
          @join__implements(graph: A, interface: "Node")
          @join__implements(graph: B, interface: "Node")
          @join__type(graph: A, key: "id") @join__type(graph: B, key: "id")
        { id: ID! @join__field(graph: A) @join__field(graph: B, external: true) }
        type Query @join__type(graph: A) @join__type(graph: B) { nodes: [Node!]! }
        """
    )

    assert [name for name, _ in requests(supergraph, "{ nodes { ... on Chat { id } } }")] == ["b"]
    with pytest.raises(CannotPlan):
        requests(supergraph, "{ nodes { id } }")
