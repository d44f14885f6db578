"""A supergraph SDL that another tool composed says the same as the subgraphs would have said."""

import pytest
from graphql import print_ast

from gateway.supergraph import SupergraphUnreadable, read_supergraph
from gateway.supergraph.override_labels import OverrideLabel
from gateway.supergraph.schema_metadata import AccessRequirement
from gateway.supergraph.supergraph import JoinField, Supergraph

HEAD = """
schema
  @link(url: "https://specs.apollo.dev/link/v1.0")
  @link(url: "https://specs.apollo.dev/join/v0.5", for: EXECUTION)
  @link(url: "https://specs.apollo.dev/tag/v0.3")
  @link(url: "https://specs.apollo.dev/inaccessible/v0.2", for: SECURITY)
  @link(url: "https://specs.apollo.dev/cost/v0.1", import: ["@listSize"])
  @link(url: "https://specs.apollo.dev/requiresScopes/v0.1", for: SECURITY)
  @link(url: "https://specs.apollo.dev/policy/v0.1", as: "rule", for: SECURITY)
{ query: Query }
directive @join__graph(name: String!, url: String!) on ENUM_VALUE
scalar join__FieldSet
scalar link__Import
enum link__Purpose { SECURITY EXECUTION }
enum join__Graph {
  A @join__graph(name: "a", url: "http://a")
  B @join__graph(name: "b-b", url: "")
}
"""
QUERY = "type Query @join__type(graph: A) @join__type(graph: B) { t: T @join__field(graph: A) } "
T = 'type T @join__type(graph: A, key: "id") @join__type(graph: B, key: "id") '


def supergraph(types: str) -> Supergraph:
    return read_supergraph(HEAD + QUERY + types)


def field(found: Supergraph, subgraph: str, name: str) -> JoinField:
    return found.subgraphs[subgraph].types["T"].fields[name]


def test_subgraphs_have_the_names_and_urls_of_the_join_graph() -> None:
    found = supergraph(T + "{ id: ID! }")

    assert list(found.subgraphs) == ["a", "b-b"]
    assert found.urls == {"a": "http://a"}


def test_a_field_is_everywhere_or_where_it_is_said_to_be() -> None:
    found = supergraph(T + "{ id: ID! x: Int @join__field(graph: B) }")

    assert list(found.subgraphs["a"].types["T"].fields) == ["id"]
    assert list(found.subgraphs["b-b"].types["T"].fields) == ["id", "x"]
    assert "Query" not in found.subgraphs["b-b"].types


def test_keys_and_what_fields_need_are_read() -> None:
    found = supergraph(
        'type T @join__type(graph: A, key: "id", resolvable: false) '
        '@join__type(graph: B, key: "id") @join__type(graph: B, key: "x { y }") '
        '{ id: ID! x: X z(a: Int): Int @join__field(graph: B, requires: "w") '
        "@join__field(graph: A, usedOverridden: true) "
        'w: [Int!] @join__field(graph: A, type: "[Int!]!") @join__field(graph: B, external: true) '
        'v: X @join__field(graph: A, provides: "y") }'
        "type X @join__type(graph: A) @join__type(graph: B) { y: Int }"
    )

    keys = {
        n: [(k.fields.text, k.resolvable) for k in s.types["T"].keys]
        for n, s in found.subgraphs.items()
    }
    assert keys == {"a": [("{ id }", False)], "b-b": [("{ id }", True), ("{ x { y } }", True)]}
    assert field(found, "a", "z").overridden
    assert field(found, "b-b", "z").requires.text == "{ w }"  # type: ignore[union-attr]
    assert field(found, "b-b", "w").external
    assert print_ast(field(found, "a", "w").type) == "[Int!]!"
    assert field(found, "a", "v").provides.text == "{ y }"  # type: ignore[union-attr]


def test_a_progressive_override_is_active_in_one_subgraph_and_not_in_the_other() -> None:
    found = supergraph(
        T + '{ id: ID! x: Int @join__field(graph: A, override: "b-b", overrideLabel: "percent(5)") '
        '@join__field(graph: B, usedOverridden: true, overrideLabel: "percent(5)") }'
    )

    assert field(found, "a", "x").label == OverrideLabel("percent(5)", active=True)
    assert field(found, "b-b", "x").label == OverrideLabel("percent(5)", active=False)
    assert not field(found, "b-b", "x").overridden


def test_an_interface_is_an_object_where_it_is_an_interface_object() -> None:
    found = supergraph(
        'interface T @join__type(graph: A, key: "id") '
        '@join__type(graph: B, key: "id", isInterfaceObject: true) '
        "{ id: ID! x: Int @join__field(graph: B) } "
        'type U implements T @join__implements(graph: A, interface: "T") '
        '@join__type(graph: A, key: "id") { id: ID! x: Int @join__field }'
    )

    a, b = (found.subgraphs[name].types["T"] for name in ("a", "b-b"))
    assert (a.is_object, a.is_interface_object, a.possible_types) == (False, False, frozenset("U"))
    assert (b.is_object, b.is_interface_object, b.possible_types) == (True, True, frozenset("T"))
    assert list(found.subgraphs["a"].types["U"].fields) == ["id"]


def test_members_of_unions_and_implementations_differ_by_subgraph() -> None:
    found = supergraph(
        "union U @join__type(graph: A) @join__type(graph: B) "
        '@join__unionMember(graph: A, member: "T") @join__unionMember(graph: B, member: "T") '
        '@join__unionMember(graph: B, member: "V") = T | V '
        + T
        + "{ id: ID! } type V @join__type(graph: B) { v: Int }"
    )

    assert found.subgraphs["a"].types["U"].possible_types == {"T"}
    assert found.subgraphs["b-b"].types["U"].possible_types == {"T", "V"}


def test_what_is_inaccessible_and_all_machinery_is_out_of_the_public_schema() -> None:
    found = supergraph(T + "{ id: ID! x: Int @inaccessible y(a: Int @inaccessible): Int }")

    assert "type T {\n  id: ID!\n  y: Int\n}" in found.sdl
    assert "x" in found.full_schema.type_map["T"].fields  # type: ignore[attr-defined]
    assert "__" not in found.sdl


def test_markings_are_read_by_the_names_the_document_gives_them() -> None:
    found = supergraph(
        T + '@tag(name: "t") { id: ID! @cost(weight: 3) '
        'x: [Int] @listSize(assumedSize: 9) @requiresScopes(scopes: [["a", "b"], ["c"]]) '
        '@rule(policies: [["p"]]) @tag(name: "u") @tag(name: "v") }'
    )

    assert found.metadata.requirements == {
        "T.x": AccessRequirement(
            scopes=frozenset({frozenset({"a", "b"}), frozenset({"c"})}),
            policies=frozenset({frozenset({"p"})}),
        )
    }
    assert found.metadata.costs == {"T.id": 3}
    assert found.metadata.list_sizes["T.x"].assumed == 9
    assert found.metadata.tags == {"T": {"t"}, "T.x": {"u", "v"}}


def test_a_guard_that_an_interface_only_repeats_is_not_spread_over_its_implementations() -> None:
    implementations = (
        "type T implements I @join__type(graph: A) {GUARD x: Int @authenticated } "
        "type V implements I @join__type(graph: A) {GUARD x: Int }"
    ).replace("{GUARD", '@join__implements(graph: A, interface: "I") {')
    interface = "interface I @join__type(graph: A) { x: Int @authenticated MORE }"
    scoped = interface.replace("MORE", '@requiresScopes(scopes: [["s"]])')

    repeated = supergraph(implementations + interface.replace("MORE", "")).metadata
    asks_more = supergraph(implementations + scoped).metadata

    assert list(repeated.requirements) == ["T.x"]
    assert list(asks_more.requirements) == ["T.x", "V.x"]


def test_a_union_of_join_v0_2_has_the_members_that_the_subgraph_has() -> None:
    types = (
        "union U @join__type(graph: A) @join__type(graph: B) = T | V "
        + T
        + "{ id: ID! } type V @join__type(graph: B) { v: Int }"
    )

    found = read_supergraph(HEAD.replace("join/v0.5", "join/v0.2") + QUERY + types)

    assert found.subgraphs["a"].types["U"].possible_types == {"T"}
    assert found.subgraphs["b-b"].types["U"].possible_types == {"T", "V"}


@pytest.mark.parametrize(
    ("sdl", "said"),
    [
        ("type Query {", "Syntax Error"),
        ("type Query { a: Int }", "links no join specification"),
        (
            'schema @link(url: "https://specs.apollo.dev/join/v0.9") { query: Query } '
            "type Query { a: Int }",
            r"join 'v0\.9'.*no enum of subgraphs",
        ),
        (
            'schema @core(feature: "https://specs.apollo.dev/core/v0.1") '
            '@core(feature: "https://specs.apollo.dev/join/v0.1") { query: Query } '
            "enum core__Purpose { EXECUTION } type Query { a: Int }",
            r"join 'v0\.1'.*Compose it anew in v0\.5, with Federation 2",
        ),
        (HEAD.replace('/tag/v0.3"', '/magic/v1", for: SECURITY') + QUERY, "magic"),
        (HEAD + QUERY, "uses the type 'T'"),
        (HEAD + QUERY + T + '{ id: ID! x: Int @join__field(graph: A, requires: "{") }', "T.x"),
        (
            HEAD + QUERY + T + "{ id: ID! x: Int @join__field(graph: A, type: 3) }",
            "T.x: Its type 3",
        ),
        (HEAD + QUERY + T + '{ id: ID! @cost(weight: "x") }', "T.id: @cost: Argument 'weight'"),
        (HEAD + QUERY + T + "@specifiedBy { id: ID! }", "T: @specifiedBy: Argument 'url'"),
        (
            HEAD + QUERY + T + "{ id: ID! x: Int @join__field(graph: A, contextArguments: "
            '[{ context: "c", name: "n", type: "Int", selection: "{ x }" }]) }',
            "@fromContext",
        ),
    ],
)
def test_what_can_not_be_read_says_why(sdl: str, said: str) -> None:
    with pytest.raises(SupergraphUnreadable, match=rf"(?s){said}"):
        read_supergraph(sdl)
