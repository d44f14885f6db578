"""A subgraph is a valid schema by itself, or refused, even if others would make it whole."""

import pytest

from gateway.supergraph import CompositionError
from tests.unit.gateway.supergraph.compose_subgraphs import compose_all

ELSEWHERE = (
    "type Query { w: Int } interface I { x: Int y: Int } interface J { x: Int @deprecated } "
    "type T implements I & J @shareable { x: Int y: Int } input Filter { n: Int } enum E { A }"
)
"""What the other subgraph defines, whole."""

REFUSED = {
    "a type that only another defines": (
        "type Query { t: [T!]! }",
        "[a] Query.t: It uses the type 'T', which isn't defined here. "
        "Define that type, or name another.",
    ),
    "an argument's type that only another defines": (
        "type Query { a(given: Filter): Int }",
        "[a] Query.a(given:): It uses the type 'Filter', which isn't defined here. "
        "Define that type, or name another.",
    ),
    "a member of a union that only another defines": (
        "type Query { u: Media } union Media = T | Video type Video { x: Int }",
        "[a] Media: It uses the type 'T', which isn't defined here. "
        "Define that type, or name another.",
    ),
    "an interface that only another defines": (
        "type Query { v: Book } type Book implements J { x: Int }",
        "[a] Book: It uses the type 'J', which isn't defined here. "
        "Define that type, or name another.",
    ),
    "an object without fields": (
        "type Query { t: T } type T",
        "[a] T: Type T must define one or more fields. Give it one, or remove it.",
    ),
    "an interface without fields": (
        "type Query { j: J } interface J",
        "[a] J: Type J must define one or more fields. Give it one, or remove it.",
    ),
    "an enum without values": (
        "type Query { e: E } enum E",
        "[a] E: Enum type E must define one or more values. Give it one, or remove it.",
    ),
    "a field of an interface that is missing": (
        "type Query { t: T } interface I { x: Int y: Int } type T implements I @shareable "
        "{ x: Int }",
        "[a] I.y: Interface field I.y expected but T does not provide it. "
        "Add it there, or remove it from the interface.",
    ),
    "a field of another type than the interface's": (
        "type Query { t: T } interface I { x: Int! } type T implements I @shareable { x: Int }",
        "[a] I.x: Interface field I.x expects type Int! but T.x is type Int. "
        "Give it the interface's type, or one that is part of it.",
    ),
    "an argument that only the interface has": (
        "type Query { t: T } interface I { x(n: Int): Int } "
        "type T implements I @shareable { x: Int }",
        "[a] I.x(n:): Interface field argument I.x(n:) expected but T.x does not provide it. "
        "Add it there, or remove it from the interface.",
    ),
}

COMPOSES = {
    "no Query, but a type that returns it": 'type V @key(fields: "id") { id: ID! back: Query }',
    "Federation's machinery, written out": (
        "type Query { _service: _Service! _entities(representations: [_Any!]!): [_Entity]! } "
        "scalar _Any union _Entity = V type _Service { sdl: String } "
        'type V @key(fields: "id") { id: ID! }'
    ),
    "types whose members are in extensions": (
        "type V extend type V implements J { x: Int } extend type V implements J { z: Int } "
        "extend interface J { x: Int } enum E extend enum E { A } "
        "extend input Filter { n: Int } extend union X = V"
    ),
    "a deprecated field where another deprecates the interface's": (
        'interface J { x: Int } type V implements J @key(fields: "id") '
        "{ id: ID! x: Int @deprecated }"
    ),
}


@pytest.mark.parametrize(("sdl", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_it_is_refused_once(sdl: str, said: str) -> None:
    with pytest.raises(CompositionError) as refused:
        compose_all(a=sdl, b=ELSEWHERE)

    assert [str(p) for p in refused.value.problems if p.subgraphs == ("a",)] == [said]


@pytest.mark.parametrize("sdl", COMPOSES.values(), ids=COMPOSES.keys())
def test_what_federation_allows_composes(sdl: str) -> None:
    assert compose_all(a=sdl, b=ELSEWHERE).schema.query_type


def test_what_is_wrong_in_each_subgraph_is_told_at_once() -> None:
    with pytest.raises(CompositionError) as refused:
        compose_all(
            a="type Query { t: T n: Nope }",
            b="type T { x: Int n: Nope } interface J type U implements J @shareable { x: V }",
            c=ELSEWHERE + " type V { x: Int }",
        )

    assert [
        (p.subgraphs, p.coordinate)
        for p in refused.value.problems
        if "isn't defined here" in p.reason or "one or more" in p.reason
    ] == [
        (("a",), "Query.t"),
        (("a",), "Query.n"),
        (("b",), "T.n"),
        (("b",), "U.x"),
        (("b",), "J"),
    ]
