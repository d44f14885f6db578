"""Limits: what is too large is refused before it costs anything, and told which limit it met."""

from collections.abc import Callable
from time import process_time
from typing import Any

import pytest
from graphql import (
    GraphQLSyntaxError,
    Lexer,
    Source,
    TokenKind,
    build_schema,
    get_introspection_query,
    parse,
    print_ast,
)
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.limits.operation_limits import (
    TOKEN,
    LimitExceeded,
    OperationLimits,
    check_text,
    check_variables,
)
from gateway.pipeline.operation_facts import OperationFacts, collect_facts
from gateway.pipeline.parse import parse_document

SCHEMA = build_schema("""
type Query { node: Node, list(first: Int = 500, limit: Int): [Node!]! }
type Node { id: ID!, next: Node, list(first: Int, last: Int): [Node!]! }
""")
SMALL = OperationLimits(
    query_chars=600,
    tokens=120,
    nesting=6,
    depth=3,
    aliases=2,
    directives=2,
    root_fields=2,
    fragments=2,
    repeats=3,
    selections=20,
    page_size=10,
    list_items=4,
    variable_values=10,
)


def read(text: str, limits: OperationLimits = SMALL) -> OperationFacts:
    return collect_facts(parse_document(text, limits), None, SCHEMA, limits)


def least_time(act: Callable[[], object], times: int = 3) -> float:
    """Seconds, at best."""
    taken = []
    for _ in range(times):
        started = process_time()
        act()
        taken.append(process_time() - started)
    return min(taken)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{ node { id } }" + " " * 600, r"615 characters. The limit is 600 \(max_query_chars\)"),
        ("{ node { " + "id " * 130 + "} }", r"135 tokens. The limit is 120 \(max_tokens\)"),
        ("{ node { next { next { id } } } }", r"4 levels deep. The limit is 3 \(max_depth\)"),
        ("{ a: node { b: id c: id } }", r"3 aliases. The limit is 2 \(max_aliases\)"),
        ("{ node { id } node { id } node { id } }", r"3 root fields. .* 2 \(max_root_fields\)"),
        (
            "{ list(first: 11) { id } }",
            r"Query.list is asked for first: 11. .* 10 \(max_page_size\)",
        ),
        ("{ node { list(last: 11) { id } } }", r"Node.list is asked for last: 11"),
        ("{ a(b: [[[[[[1]]]]]]) }", r"nests brackets 8 deep. The limit is 6 \(max_nesting\)"),
        (
            "{ node @skip(if: false) @a @b { id } }",
            r"3 directives. The limit is 2 \(max_directives\)",
        ),
        (
            "{ ...A } fragment A on Query { ...B } fragment B on Query { ...C }"
            " fragment C on Query { node { id } }",
            r"defines 3 fragments. The limit is 2 \(max_fragments\)",
        ),
        (
            "{ node { id id ... { id ... on Node { id } } } }",
            r"repeats a field 4 times in one selection. The limit is 3 \(max_repeats\)",
        ),
        (
            "{ node { ...F ...F ...F } } fragment F on Node { ...G ...G }"
            " fragment G on Node { id next { id } }",
            r"selects 28 fields and fragments. The limit is 20 \(max_selections\)",
        ),
        ("{ node(a: {b: [1 2 3 4 5]}) }", r"a list of 5 items .* 4 \(max_list_items\)"),
        ("query($a: [Int] = [1 2 3 4 5]) { node }", r"a list of 5 items in an argument"),
        ("{ node @a(b: [1 2 3 4 5]) }", r"a list of 5 items in an argument"),
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

    assert operation.root_names == {"node", "list"}


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
    started = process_time()

    with pytest.raises(LimitExceeded, match=r"more than 1000000000000 aliases"):
        read(text, OperationLimits(query_chars=100_000, tokens=10_000, depth=1_000, fragments=100))

    assert process_time() - started < 1


def test_inline_fragments_in_each_other_are_measured_in_time_by_the_length_of_the_text() -> None:
    fields = "".join(f" f{n}" for n in range(8_000))
    text = f"{{ node {'{ ... ' * 90} {{ {fields} }} {'}' * 90} }}"
    large = OperationLimits(query_chars=100_000, tokens=10_000, nesting=100, selections=8_000)
    parsing = least_time(lambda: parse(text))

    def refuse() -> None:
        with pytest.raises(LimitExceeded, match="selects 8091 fields and fragments"):
            read(text, large)

    assert least_time(refuse) < 5 * parsing


def test_an_operation_is_parted_from_others_with_the_fragments_it_uses() -> None:
    others = "query Other { node { ...Unused } } fragment Unused on Node { id } "
    meant = (
        "query Meant { node { ... on Node { next { ...Outer } } } } "
        "fragment Outer on Node { next { ...Inner ...Outer ...Missing } }"
        "fragment Inner on Node { id } "
    )

    document = parse_document(others + meant, OperationLimits())

    facts = collect_facts(document, "Meant", SCHEMA, OperationLimits())

    assert print_ast(facts.operation.document) == print_ast(parse(meant))


def test_a_fragment_that_holds_itself_ends() -> None:
    operation = read(
        "{ node { ...F } } fragment F on Node { next { ...G } } fragment G on Node { ...F }"
    )

    assert operation.kind == "query"


def test_the_standard_introspection_query_is_within_the_limits() -> None:
    operation = read(get_introspection_query(), OperationLimits())

    assert operation.introspects_only


def test_a_page_size_in_a_variable_is_left_for_the_request() -> None:
    operation = read("query($n: Int = 50) { list(first: $n) { list(first: 3) { id } } }")

    [(page, variable)] = operation.pages
    assert (page.place, page.name, variable) == ("Query.list", "first", "n")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"a": [1, 2, 3, 4, 5]}, r"a list of 5 items. The limit is 4 \(max_list_items\)"),
        (
            {str(n): {"b": n} for n in range(6)},
            r"11 values or more. The limit is 10 \(max_variable_values\)",
        ),
        ({"a": [[[[[[[1]]]]]]]}, r"nested 7 deep. The limit is 6 \(max_nesting\)"),
    ],
)
def test_variables_that_hold_too_much_are_told_which_limit_they_met(
    variables: dict[str, Any], said: str
) -> None:
    with pytest.raises(LimitExceeded, match=said):
        check_variables(variables, SMALL)


def test_variables_that_just_fit_pass() -> None:
    check_variables({"a": [1, 2], "b": {"c": [[[[]]]]}}, SMALL)


def test_a_chain_of_fragments_too_long_to_follow_is_too_deep() -> None:
    chain = "".join(
        f"fragment F{n} on Node {{ {'next {' * 40} ...F{n + 1} {'}' * 40} }}" for n in range(30)
    )
    text = f"{{ node {{ ...F0 }} }} {chain} fragment F30 on Node {{ id }}"

    with pytest.raises(LimitExceeded, match="max_depth"):
        read(text, OperationLimits(query_chars=100_000, tokens=10_000))


def tokens_of_the_parser(text: str) -> int:
    lexer, count = Lexer(Source(text)), 0
    while lexer.advance().kind is not TokenKind.EOF:
        count += 1
    return count


PIECES = st.sampled_from(
    [
        "{",
        "}",
        "...",
        "on",
        "$a",
        "-1.5e+3",
        "0",
        "@b",
        "!",
        "|",
        "[",
        ":",
        "=",
        "_9x",
        ",",
        '""',
        '"a#b"',
        '"\\""',
        '""" " \\""" """',
        '"""' * 2,
        "# ( comment\n",
        "\ufeff",
        "\r\n",
    ]
)


@given(st.lists(PIECES).map(" ".join))
def test_tokens_are_counted_as_the_parser_counts_them(text: str) -> None:
    try:
        count = tokens_of_the_parser(text)
    except GraphQLSyntaxError:
        return

    assert sum(token[0] != "#" for token in TOKEN.findall(text)) == count


@pytest.mark.parametrize("piece", ['"', '\\"', '"""', '""', '"\\', "#", "-", "a", "\\"])
def test_no_text_takes_long_to_be_counted(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    started = process_time()

    with pytest.raises(LimitExceeded):
        check_text("[[ " + text, OperationLimits(query_chars=200_000, tokens=1, nesting=1))

    assert process_time() - started < 0.5
