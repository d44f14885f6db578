"""Composition merges what fits, hides what is hidden, and names everything that does not fit."""

import pytest

from gateway.supergraph import CompositionError, compose
from tests.unit.gateway.supergraph.compose_subgraphs import LINK, compose_all

USERS = 'type Query { me: User } type User @key(fields: "id") { id: ID! name: String }'


def problems(**sdls: str) -> list[str]:
    with pytest.raises(CompositionError) as refused:
        compose_all(**sdls)
    return [str(problem) for problem in refused.value.problems]


def test_an_entity_gathers_the_fields_of_all_its_services() -> None:
    supergraph = compose_all(
        users=USERS, reviews='extend type User @key(fields: "id") { id: ID! karma: Int }'
    )

    assert "type User {\n  id: ID!\n  karma: Int\n  name: String\n}" in supergraph.sdl


def test_nothing_of_federation_is_left_in_the_public_schema() -> None:
    machinery = """
        scalar _Any union _Entity = User type _Service { sdl: String! } scalar FieldSet
        extend type Query { _entities(representations: [_Any!]!): [_Entity]! _service: _Service! }
    """

    sdl = compose_all(users=USERS + machinery).sdl

    assert not [word for word in ("_", "FieldSet", "@key", "@link") if word in sdl]


def test_a_renamed_directive_and_a_namespaced_one_are_understood() -> None:
    supergraph = compose(
        {
            "users": """
                extend schema @link(
                  url: "https://specs.apollo.dev/federation/v2.3", as: "fed"
                  import: [{ name: "@key", as: "@primary" }]
                )
                type Query { me: User }
                type User @primary(fields: "id") { id: ID! version: Int @fed__shareable }
            """,
            "karma": LINK
            + 'type User @key(fields: "id") { id: ID! karma: Int version: Int @shareable }',
        }
    )

    assert "karma: Int" in supergraph.sdl


def test_root_types_may_have_other_names() -> None:
    supergraph = compose_all(
        users="schema { query: Root } type Root { me: String again: Root }",
        words="type Query { word: String }",
    )

    assert "type Query {\n  again: Query\n  me: String\n  word: String\n}" in supergraph.sdl


def test_descriptions_and_deprecations_are_kept() -> None:
    supergraph = compose_all(
        users='type Query { "Who asks." me(old: Int @deprecated): ID @deprecated(reason: "old") }'
    )

    assert '"""Who asks."""' in supergraph.sdl
    assert 'me(old: Int @deprecated): ID @deprecated(reason: "old")' in supergraph.sdl


def test_the_widest_output_and_the_strictest_input_win() -> None:
    supergraph = compose_all(
        a="type Query { x(n: Int): [String!]! @shareable } input I { a: Int b: Int } "
        "extend type Query { i(of: I): Int @shareable }",
        b="type Query { x(n: Int!, m: Int): [String]! @shareable } input I { a: Int! c: Int } "
        "extend type Query { i(of: I): Int @shareable }",
    )

    assert "x(n: Int!): [String]!" in supergraph.sdl
    assert "input I {\n  a: Int!\n}" in supergraph.sdl


def test_an_enum_that_only_comes_out_is_a_union_and_one_that_goes_in_an_intersection() -> None:
    out = compose_all(
        a="type Query { a: E } enum E { X Y }", b="type Query { b: E } enum E { Y Z }"
    )
    into = compose_all(
        a="type Query { a(e: E): Int } enum E { X Y }",
        b="type Query { b(e: E): Int } enum E { Y Z }",
    )

    assert "enum E {\n  X\n  Y\n  Z\n}" in out.sdl
    assert "enum E {\n  Y\n}" in into.sdl


def test_what_is_inaccessible_is_there_for_plans_only() -> None:
    supergraph = compose_all(
        users='type Query { me: User secret: Hidden @inaccessible } type User @key(fields: "id") '
        "{ id: ID! @inaccessible name(as: String @inaccessible): E } "
        "enum E { A B @inaccessible } type Hidden @inaccessible { x: Int }"
    )

    assert "type Query {\n  me: User\n}" in supergraph.sdl
    assert "type User {\n  name: E\n}" in supergraph.sdl
    assert "enum E {\n  A\n}" in supergraph.sdl
    assert "Hidden" in supergraph.full_schema.type_map


def test_what_an_interface_object_adds_is_had_by_every_implementation() -> None:
    supergraph = compose_all(
        media='type Query { all: [Media] } interface Media @key(fields: "id") { id: ID! } '
        'type Book implements Media @key(fields: "id") { id: ID! } '
        'type Film implements Media @key(fields: "id") { id: ID! }',
        stars='type Media @interfaceObject @key(fields: "id") '
        "{ id: ID! stars(of: Int): Int @authenticated spy: Int @inaccessible }",
    )

    for written in ("interface Media {", "type Book implements Media {"):
        assert f"{written}\n  id: ID!\n  stars(of: Int): Int\n}}" in supergraph.sdl
    assert list(supergraph.metadata.requirements) == ["Book.stars", "Film.stars"]
    assert "spy" in supergraph.full_schema.type_map["Film"].fields  # type: ignore[attr-defined]


def test_all_problems_are_listed_at_once_with_place_reason_and_remedy() -> None:
    found = problems(
        a=USERS + " type P { x: Int } enum E { A } extend type Query { e(e: E): E }",
        b="type Query { me: User nothing: Nope } type User { id: ID! name: Int } "
        "input P { x: Int } enum E { A B } extend type Query { f(e: E): E }",
    )

    assert [problem.partition(":")[0] for problem in found] == [
        "[a, b] E",
        "[a, b] P",
        "[a, b] User.name",
        "[b] Query.nothing",
        "[a, b] Query.me",
        "[a, b] User.id",
        "[a, b] User.name",
    ]


@pytest.mark.parametrize(
    ("sdls", "said"),
    [
        ({"a": "type Query {"}, r"Syntax Error.*line"),
        ({"a": 'type Query { a: T } type T @key(fields: "no") { id: ID }'}, "T has no field 'no'"),
        ({"a": 'type Query { a: T } type T @key(fields: "id {") { id: ID }'}, "can't be read"),
        (
            {"a": 'type Query { a: T } type T @key(fields: "t") { t: T id: ID }'},
            "'t' needs a selection of its own",
        ),
        ({"a": "type Query { a: ID @external }"}, "nothing resolves it"),
        ({"a": 'type Query { a: ID @override(from: "a") }'}, "overrides itself"),
        ({"a": "type Query { a: ID @composeDirective }"}, "@composeDirective is not imported"),
        ({"a": "type Query { a: ID @mystery }"}, "@mystery is not defined"),
        (
            {"a": 'type Query { a(x: ID @federation__fromContext(field: "$c x")): ID }'},
            "@fromContext is not supported yet",
        ),
        ({"a": "type Query { a: I } interface I { x: ID } type T implements I { y: ID }"}, "I.x"),
        (
            {"a": "type Query { a(x: Int): ID @shareable }", "b": "type Query { a(y: Int!): ID }"},
            r"Query\.a\(y:\): It is required, but a doesn't have it",
        ),
        (
            {
                "a": "type Query { a(x: Int = 1): ID @shareable }",
                "b": "type Query { a(x: Int = 2): ID @shareable }",
            },
            "default values differ",
        ),
        (
            {"a": "type Query { a: T } type T { x: ID }", "b": "type T { y: ID }"},
            r"T\.y: It is resolved by b only.*Give T a @key",
        ),
        (
            {"a": "type Query { a: T } type T @inaccessible { x: ID }"},
            r"Query\.a: It uses the type 'T'.*Mark it @inaccessible as well",
        ),
    ],
)
def test_what_does_not_compose_says_why(sdls: dict[str, str], said: str) -> None:
    with pytest.raises(CompositionError, match=rf"(?s){said}"):
        compose_all(**sdls)


def test_an_unresolvable_key_is_no_way_in() -> None:
    found = problems(
        a='type Query { a: T } type T @key(fields: "id") { id: ID! }',
        b='type T @key(fields: "id", resolvable: false) { id: ID! y: ID }',
    )

    assert len(found) == 1
    assert "[a] T.y" in found[0]


def test_an_interface_object_nobody_tells_the_type_of_is_a_dead_end() -> None:
    media = """
        type Query { all: [Media] } interface Media @key(fields: "id") { id: ID! }
        type Book implements Media @key(fields: "id") { id: ID! title: String }
    """
    stars_sdl = (
        'type Media @interfaceObject @key(fields: "id") { id: ID! } type Query { best: Media }'
    )

    compose_all(media=media, stars=stars_sdl)
    found = problems(
        media=media.replace(
            'Media @key(fields: "id")', 'Media @key(fields: "id", resolvable: false)'
        ),
        stars=stars_sdl,
    )

    assert found == [
        "[stars] Query.best: It returns the @interfaceObject Media, and no subgraph that can be "
        "reached says whether that is of the type Book. Give the interface Media a @key, in the "
        "subgraph that defines it, whose fields stars has."
    ]


def test_every_field_is_reached_whether_or_not_a_label_is_active() -> None:
    moving = """
        type T @key(fields: "id") { id: ID! x: Int @override(from: "a", label: "percent(5)") }
    """

    compose_all(a='type Query { t: T } type T @key(fields: "id") { id: ID! x: Int }', b=moving)
    found = problems(
        a='type Query { t: T } type T @key(fields: "id", resolvable: false) { id: ID! x: Int }',
        b=moving + "extend type Query { other: T }",
    )

    assert len(found) == 1
    assert "[b] T.x" in found[0]


def test_an_override_of_nothing_says_nothing() -> None:
    of_nobody = 'type Query { a: Int @override(from: "gone", label: "percent(5)") }'
    of_no_field = 'type Query { b: Int @override(from: "a", label: "percent(5)") }'

    supergraph = compose_all(a=of_nobody, b=of_no_field)

    assert supergraph.labels == frozenset()
