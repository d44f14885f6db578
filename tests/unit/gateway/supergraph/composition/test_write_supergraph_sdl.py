"""A composed graph is written as a standard supergraph SDL, and read back as the same facts."""

from typing import Any

import pytest
from graphql import DirectiveLocation, build_schema, print_ast, print_schema

from gateway.supergraph import compose, compose_sdl, plan_document, read_supergraph
from gateway.supergraph.composition.write_supergraph_sdl import graph_names
from gateway.supergraph.supergraph import Supergraph
from tests.unit.gateway.supergraph import shop
from tests.unit.gateway.supergraph.compose_subgraphs import EVERYTHING, LINK


def facts(found: Supergraph) -> dict[Any, Any]:
    """What plans are made of, comparable; without what another subgraph has taken over."""
    types = {
        (subgraph.name, type_.name): (
            type_.is_object,
            type_.is_interface_object,
            type_.possible_types,
            type_.keys,
            {f.name: f.signature() for f in type_.fields.values() if not f.overridden},
        )
        for subgraph in found.subgraphs.values()
        for type_ in subgraph.types.values()
    }
    return {
        "types": types,
        "sdl": found.sdl,
        "whole": print_schema(found.full_schema),
        "markings": found.metadata,
        "urls": found.urls,
    }


@pytest.mark.parametrize("sdls", [shop.SDLS, EVERYTHING], ids=["shop", "everything"])
def test_what_is_written_reads_back_as_the_same_facts(sdls: dict[str, str]) -> None:
    urls = {name: f"http://{name}" for name in sdls}

    read = read_supergraph(compose_sdl(sdls, urls))

    assert facts(read) == facts(compose(sdls, urls))


def test_a_supergraph_read_back_plans_the_same() -> None:
    operation = "{ t { id v(of: { a: 1 }) x } back { w n { x } } }"
    own, read = compose(EVERYTHING), read_supergraph(compose_sdl(EVERYTHING))

    def requests(supergraph: Supergraph) -> list[tuple[str, str]]:
        variant = plan_document(supergraph, operation).variant({})
        return [(r.subgraph, r.operation) for stage in variant.stages for r in stage.fetches]

    assert requests(read) == requests(own)


def test_the_text_does_not_depend_on_the_order_of_the_subgraphs() -> None:
    assert compose_sdl(EVERYTHING) == compose_sdl(dict(reversed(EVERYTHING.items())))


def test_the_text_is_valid_graphql_and_says_what_it_uses() -> None:
    written = compose_sdl(EVERYTHING, {"b": "http://b"})

    schema = build_schema(written)
    head = written.partition("{")[0]
    values = schema.type_map["join__Graph"].ast_node.values  # type: ignore[union-attr]
    assert [print_ast(value) for value in values] == [
        'A_1 @join__graph(name: "a-1", url: "")',
        'B @join__graph(name: "b", url: "http://b")',
        'C @join__graph(name: "c", url: "")',
    ]
    for spec in ("tag", "inaccessible", "authenticated", "requiresScopes", "policy", "cost"):
        assert f"specs.apollo.dev/{spec}/" in head
    assert "specs.apollo.dev/cost/" not in compose_sdl(shop.SDLS)


def test_prices_are_defined_once_though_every_subgraph_defines_them() -> None:
    definitions = """
        directive @cost(weight: Int!) on FIELD_DEFINITION
        directive @listSize(assumedSize: Int) on FIELD_DEFINITION
    """
    sdl = "type Query { %s: [Int] @cost(weight: 3) @listSize(assumedSize: 7) }"
    written = compose_sdl({name: LINK + definitions + sdl % name for name in ("a", "b")})

    schema = build_schema(written)

    cost, list_size = schema.get_directive("cost"), schema.get_directive("listSize")
    assert cost is not None
    assert list_size is not None
    assert str(cost.args["weight"].type) == "Int!"
    assert DirectiveLocation.SCALAR in cost.locations
    assert set(list_size.args) == {
        "assumedSize",
        "slicingArguments",
        "sizedFields",
        "requireOneSlicingArgument",
    }


@pytest.mark.parametrize(
    "line",
    [
        'x: Int @join__field(graph: A_1, override: "b")\n',
        'k: Int @join__field(graph: A_1, override: "b") '
        "@join__field(graph: B, usedOverridden: true)",
        'stars(of: Int): Int @join__field @tag(name: "m") @policy(policies: [["p"]])',
        "w: Int @join__field(graph: B, external: true) @join__field(graph: C)",
        'v(of: In): Int @join__field(graph: B, requires: "w n { x }")',
        'back: T @join__field(graph: B, provides: "w")',
        'x: Int @join__field(graph: A_1, type: "Int!") @join__field(graph: B)',
        'a: Int! @join__field(graph: A_1, type: "Int") @join__field(graph: B)',
        '@join__type(graph: A_1, key: "n { x }", resolvable: false)',
        'interface M @join__type(graph: A_1, key: "id") '
        '@join__type(graph: B, key: "id", extension: true, isInterfaceObject: true)',
        "o: Int @authenticated",
        'requiresScopes(scopes: [["a", "b"], ["c"]])',
    ],
)
def test_each_fact_is_written_as_other_composers_write_it(line: str) -> None:
    assert line in compose_sdl(EVERYTHING)


def test_subgraph_names_become_distinct_enum_values() -> None:
    assert graph_names(["b-b", "b_b", "1st"]) == {"1st": "_1ST", "b-b": "B_B", "b_b": "B_B_1"}


def test_types_of_a_kept_directive_are_kept_with_it_but_are_not_of_the_graph() -> None:
    sdl = """
        extend schema
          @link(url: "https://specs.apollo.dev/federation/v2.9", import: ["@composeDirective"])
          @link(url: "https://x.example/shelf/v1.0", import: ["@shelf"])
          @composeDirective(name: "@shelf")
        directive @shelf(at: shelf__Place) on FIELD_DEFINITION
        input shelf__Place { floor: shelf__Floor }
        enum shelf__Floor { CELLAR }
        type Query { x: Int @shelf(at: { floor: CELLAR }) }
    """

    written = compose_sdl({"a": sdl})

    assert "shelf__Floor" in build_schema(written).type_map
    assert "shelf" not in read_supergraph(written).sdl


def test_directives_of_the_subgraphs_own_are_kept_where_they_ask_for_it() -> None:
    link = """
        extend schema
          @link(url: "https://specs.apollo.dev/federation/v2.9", import: ["@composeDirective",
            "@shareable"])
          @link(url: "https://x.example/shelf/v1.VERSION",
            import: ["@shelf", {name: "@of", as: "@by"}])
          @composeDirective(name: "@shelf") @composeDirective(name: "@by")
        directive @shelf(n: Int) repeatable on FIELD_DEFINITION | OBJECT
        directive @by(v: Int = VERSION) on FIELD_DEFINITION
        directive @mine on FIELD_DEFINITION
    """
    written = compose_sdl(
        {
            "a": link.replace("VERSION", "9")
            + "type Query { x: Int @shelf(n: 1) @by @mine @shareable }",
            "b": link.replace("VERSION", "10")
            + "type Query { x: Int @shelf(n: 1) @shelf(n: 2) @by @shareable } "
            "extend type Query @shelf",
        }
    )

    url = "https://x.example/shelf/v1.10"
    assert f'@link(url: "{url}", import: [{{name: "@of", as: "@by"}}, "@shelf"])' in written
    assert "directive @by(v: Int = 10) on FIELD_DEFINITION" in written
    assert "type Query @join__type(graph: A) @join__type(graph: B) @shelf {" in written
    assert "x: Int @shelf(n: 1) @by @shelf(n: 2)\n" in written
    assert "@mine" not in written
    assert "shelf" not in read_supergraph(written).sdl
