"""Limits: what is too large is refused before it costs anything, and told which limit it met."""

from time import perf_counter

import pytest
from graphql import build_schema, get_introspection_query

from gateway.access.limits import LimitExceeded, Limits
from gateway.access.operations import Operation, read_operation

SCHEMA = build_schema("""
type Query { node: Node, list(first: Int = 500, limit: Int): [Node!]! }
type Node { id: ID!, next: Node, list(first: Int, last: Int): [Node!]! }
""")
SMALL = Limits(query_chars=600, tokens=120, depth=3, aliases=2, root_fields=2, page_size=10)


def read(text: str, limits: Limits = SMALL) -> Operation:
    return read_operation(text, None, SCHEMA, limits)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{ node { id } }" + " " * 600, r"615 characters. The limit is 600 \(max_query_chars\)"),
        ("{ node { " + "id " * 130 + "} }", r"too many tokens. The limit is 120 \(max_tokens\)"),
        ("{ node { next { next { id } } } }", r"4 levels deep. The limit is 3 \(max_depth\)"),
        ("{ a: node { b: id c: id } }", r"3 aliases. The limit is 2 \(max_aliases\)"),
        ("{ node { id } node { id } node { id } }", r"3 root fields. .* 2 \(max_root_fields\)"),
        (
            "{ list(first: 11) { id } }",
            r"Query.list is asked for first: 11. .* 10 \(max_page_size\)",
        ),
        ("{ node { list(last: 11) { id } } }", r"Node.list is asked for last: 11"),
        ("{ list(limit: 11) { id } }", r"limit: 11"),
    ],
)
def test_what_is_too_large_is_told_which_limit_it_met(text: str, said: str) -> None:
    with pytest.raises(LimitExceeded, match=said) as refusal:
        read(text)

    assert refusal.value.code == "LIMIT_EXCEEDED"
    assert refusal.value.hint


def test_what_just_fits_is_read() -> None:
    operation = read("{ a: node { b: next { id } } list(first: 10) { id } }")

    assert [field.name.value for field in operation.root_fields] == ["node", "list"]


def test_fragments_count_wherever_they_are_spread() -> None:
    deep = "{ node { ...F } } fragment F on Node { next { next { id } } }"
    aliased = "{ node { ...F next { ...F } } } fragment F on Node { a: id b: id }"
    wide = "{ ...F ...F ... { node { id } } } fragment F on Query { node { id } }"

    for text, limit in ((deep, "depth"), (aliased, "aliases"), (wide, "root_fields")):
        with pytest.raises(LimitExceeded, match=limit):
            read(text)


def test_fragments_that_would_grow_exponentially_are_measured_at_once() -> None:
    doubling = "".join(
        f"fragment F{n} on Node {{ a: next {{ ...F{n + 1} }} b: next {{ ...F{n + 1} }} }}"
        for n in range(60)
    )
    text = f"{{ node {{ ...F0 }} }} {doubling} fragment F60 on Node {{ id }}"
    started = perf_counter()

    with pytest.raises(LimitExceeded):
        read(text, Limits(query_chars=100_000, tokens=10_000, depth=1_000))

    assert perf_counter() - started < 1


def test_a_fragment_that_holds_itself_ends() -> None:
    operation = read(
        "{ node { ...F } } fragment F on Node { next { ...G } } fragment G on Node { ...F }"
    )

    assert operation.kind == "query"


def test_the_standard_introspection_query_is_within_the_limits() -> None:
    operation = read(get_introspection_query(), Limits())

    assert operation.asks_only_the_schema


def test_a_page_size_in_a_variable_is_left_for_the_request() -> None:
    operation = read("query($n: Int = 50) { list(first: $n) { list(first: 3) { id } } }")

    [page] = operation.pages
    assert (page.place, page.name) == ("Query.list", "first")
