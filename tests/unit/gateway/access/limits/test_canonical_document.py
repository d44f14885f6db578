"""The canonical form: layout and `__typename` make no other document, everything else does."""

import pytest
from graphql import GraphQLError, parse
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.limits.canonical_document import canonical_text, count_common_lines

NAMES = st.sampled_from(["a", "b", "key", "name", "type", "on_"])
VALUES = st.sampled_from(
    [
        "1",
        "-1.50",
        "true",
        "null",
        "RED",
        "$v",
        '"x  y"',
        '"# no comment"',
        "[1 2]",
        "{k: $v}",
        '"""b\n c"""',
    ]
)
DIRECTIVES = st.sampled_from(["", "", "@include ( if : $v )", "@skip ( if : true )"])


@st.composite
def fields(draw: st.DrawFn, below: st.SearchStrategy[list[str]] | None = None) -> list[str]:
    """A field in tokens, each of which may have any layout before it."""
    alias = draw(st.sampled_from([[], ["x", ":"]]))
    argument = draw(VALUES)
    arguments = draw(st.sampled_from([[], ["(", "k", ":", argument, ")"]]))
    tokens = [*alias, draw(NAMES), *arguments, *draw(DIRECTIVES).split()]
    return [*tokens, *draw(below)] if below is not None else tokens


def selection_sets(below: st.SearchStrategy[list[str]]) -> st.SearchStrategy[list[str]]:
    spread = st.just(["...", "F"])
    inline = below.map(lambda tokens: ["...", "on", "T", *tokens])
    one = st.one_of(fields(), fields(below), inline, spread)
    return st.lists(one, min_size=1, max_size=3).map(
        lambda parts: ["{", *(token for part in parts for token in part), "}"]
    )


SELECTIONS = st.recursive(fields().map(lambda f: ["{", *f, "}"]), selection_sets, max_leaves=6)
DOCUMENTS = st.tuples(SELECTIONS, SELECTIONS).map(
    lambda both: [
        *("query", "Q", "(", "$v", ":", "Int", "=", "1", ")"),
        *both[0],
        *("fragment", "F", "on", "T"),
        *both[1],
    ]
)
LAYOUT = st.sampled_from([" ", "\n", "\t ", ",", " , ", "\r\n", " # a { comment }\n", "\ufeff "])


def canonical(text: str) -> str:
    return canonical_text(parse(text))


@given(DOCUMENTS, st.data())
def test_any_layout_and_any_added_type_names_have_one_form(
    tokens: list[str], data: st.DataObject
) -> None:
    other = ""
    for token in tokens:
        other += data.draw(LAYOUT) + token
        if token == "{" and data.draw(st.booleans()):
            other += data.draw(LAYOUT) + "__typename"

    assert canonical(other) == canonical(" ".join(tokens))


@given(DOCUMENTS, st.data())
def test_any_other_token_makes_another_form(tokens: list[str], data: st.DataObject) -> None:
    at = data.draw(st.sampled_from([n for n, t in enumerate(tokens) if t[0].isalnum()]))
    other = [*tokens[:at], f"{tokens[at]}9", *tokens[at + 1 :]]
    try:
        changed = canonical(" ".join(other))
    except GraphQLError:
        return

    assert changed != canonical(" ".join(tokens))


@given(DOCUMENTS)
def test_a_canonical_form_is_its_own_canonical_form(tokens: list[str]) -> None:
    text = canonical(" ".join(tokens))

    assert canonical(text) == text


@pytest.mark.parametrize(
    "other",
    [
        "query Q { a { id t: __typename } }",
        "query Q { a { id __typename @include(if: true) } }",
        "query Q { a { id __typename @skip(if: false) } }",
        "query Q { a { id __typename(x: 1) } }",
        "query Q { a { id ... { __typename } } }",
        "query Q { a { id ...F } } fragment F on T { __typename }",
        "query Q { a { id __schema } }",
        "query Q { a { __typename } }",
        "query Q { a { id id } }",
        "query Q @live { a { id } }",
        "query Q($v: Int) { a { id } }",
        "query Q { a { id } } query R { a { id } }",
        "query P { a { id } }",
        "mutation Q { a { id } }",
        "{ a { id } }",
    ],
)
def test_nothing_can_be_added_but_a_plain_type_name(other: str) -> None:
    assert canonical("query Q { a { id __typename } __typename }") == canonical("query Q{a{id}}")
    assert canonical(other) != canonical("query Q { a { id } }")


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ('{ a(k: "x y") }', '{ a(k: "x  y") }'),
        ('{ a(k: "x") }', '{ a(k: "x,") }'),
        ('{ a(k: """x""") }', '{ a(k: """ x""") }'),
        ('{ a(k: """x\n  y""") }', '{ a(k: """x\n y\n  z""") }'),
        ("{ a(k: 1) }", "{ a(k: 1.0) }"),
        ("{ a b }", "{ b a }"),
    ],
)
def test_values_and_order_count(one: str, two: str) -> None:
    assert canonical(one) != canonical(two)


def test_a_type_name_that_stands_alone_stays_once() -> None:
    assert canonical("{ a { __typename __typename } }") == canonical("{ a { __typename } }")


@pytest.mark.parametrize(
    ("other", "lines"), [("a\nb\nc", 3), ("a\nx\nc", 1), ("a\nb", 2), ("", 0), ("a\nb\nc\nd", 3)]
)
def test_common_lines_are_those_before_the_first_difference(other: str, lines: int) -> None:
    assert count_common_lines("a\nb\nc", other) == lines
