"""What guards, prices and tags the graph is kept, and what several subgraphs say is combined."""

import pytest

from gateway.supergraph.composition.merge_metadata import combine, implies
from gateway.supergraph.schema_metadata import AccessRequirement, AnyOf, ListSize, SchemaMetadata
from tests.unit.gateway.supergraph.compose_subgraphs import compose_all

SIGNED_IN = AccessRequirement(authenticated=True)


def any_of(*sets: str) -> AnyOf:
    """`any_of("ab", "c")`: a and b, or c."""
    return frozenset(map(frozenset, sets))


def marked(**sdls: str) -> SchemaMetadata:
    return compose_all(**sdls).metadata


def test_a_field_a_type_a_scalar_and_an_enum_may_be_guarded() -> None:
    metadata = marked(
        a='type Query { a: T @authenticated } type T @policy(policies: [["p"]]) { s: S e: E } '
        'scalar S @requiresScopes(scopes: [["a", "b"], ["c"]]) enum E @authenticated { A }'
    )

    assert metadata.requirements == {
        "E": SIGNED_IN,
        "Query.a": SIGNED_IN,
        "S": AccessRequirement(scopes=any_of("ab", "c")),
        "T": AccessRequirement(policies=any_of("p")),
    }


def test_what_several_subgraphs_ask_is_asked_together() -> None:
    metadata = marked(
        a='type Query { a: ID @shareable @requiresScopes(scopes: [["a"], ["b"]]) }',
        b='type Query { a: ID @shareable @requiresScopes(scopes: [["c"]]) @authenticated }',
        c='type Query { a: ID @shareable @policy(policies: [["p"]]) }',
    )

    assert metadata.requirements == {
        "Query.a": AccessRequirement(True, any_of("ac", "bc"), any_of("p")),
    }


@pytest.mark.parametrize(
    ("one", "other", "combined"),
    [
        (any_of(), any_of("a"), any_of("a")),
        (any_of("a", "b"), any_of("b", "c"), any_of("b", "ac")),
        (any_of("a"), any_of("a"), any_of("a")),
        (any_of("a", ""), any_of(), any_of()),
    ],
)
def test_any_of_and_any_of_is_written_in_its_shortest_form(
    one: AnyOf, other: AnyOf, combined: AnyOf
) -> None:
    assert (
        combine(AccessRequirement(scopes=one), AccessRequirement(scopes=other)).scopes == combined
    )


def test_who_may_do_more_may_do_less() -> None:
    strict = AccessRequirement(True, any_of("ab"), any_of("p"))

    assert implies(strict, AccessRequirement(True, any_of("a", "c")))
    assert not implies(strict, AccessRequirement(scopes=any_of("abc")))
    assert not implies(
        AccessRequirement(scopes=any_of("a", "c")), AccessRequirement(scopes=any_of("a"))
    )


def test_what_guards_an_interface_guards_every_implementation_and_only_there() -> None:
    metadata = marked(
        a="type Query { a: I } "
        'interface I @authenticated { x: ID y: ID @policy(policies: [["p"]]) } '
        "interface J implements I { x: ID y: ID } type T implements I & J { x: ID y: ID } "
        "type U implements I { x: ID @authenticated y: ID } type V { x: ID y: ID }"
    )

    assert metadata.requirements == {
        "T": SIGNED_IN,
        "T.y": AccessRequirement(policies=any_of("p")),
        "U": SIGNED_IN,
        "U.x": SIGNED_IN,
        "U.y": AccessRequirement(policies=any_of("p")),
    }


def test_costs_list_sizes_and_tags_are_kept_and_the_largest_counts() -> None:
    metadata = marked(
        a="type Query { a(n: Int @cost(weight: 2)): [T] @shareable @cost(weight: 3) "
        '@tag(name: "x") @listSize(assumedSize: 5, slicingArguments: ["n"]) } '
        "type T @cost(weight: 7) @shareable { x: ID }",
        b="type Query { a(n: Int @cost(weight: 1)): [T] @shareable @cost(weight: 4) "
        '@tag(name: "y") @listSize(assumedSize: 4, requireOneSlicingArgument: false) } '
        "type T @shareable { x: ID }",
    )

    assert metadata.costs == {"Query.a": 4, "Query.a(n:)": 2, "T": 7}
    assert metadata.tags == {"Query.a": {"x", "y"}}
    assert metadata.list_sizes == {"Query.a": ListSize(5, ("n",), (), False)}
