"""Variables that are what is declared are accepted fast; about all others graphql-core decides."""

import re
from typing import Any

import pytest
from graphql import OperationDefinitionNode, build_schema, parse
from graphql.execution.values import get_variable_values
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.supergraph.executor.variables import VariableCoercion

SCHEMA = build_schema("""
type Query { a(filter: Filter, one: One, ids: [ID!], any: Any): Int }
input Filter { a: Int! b: [String!] c: [Filter] d: Color = RED e: Float f: Boolean! = true }
input One @oneOf { a: Int b: String }
enum Color { RED GREEN }
scalar Any
""")
(OPERATION,) = parse(
    "query ($filter: Filter!, $ids: [ID!], $n: Int = 3, $one: One, $any: Any, "
    "$on: Boolean! = true) { a }"
).definitions
assert isinstance(OPERATION, OperationDefinitionNode)
DECLARED = OPERATION.variable_definitions or ()
INPUTS = VariableCoercion(SCHEMA, DECLARED)

leaves = st.sampled_from([None, 1, 2**31, 1.5, "x", "RED", True, [], ["x"], [None], {}, {"a": 1}])
values = st.recursive(
    leaves,
    lambda inner: st.dictionaries(st.sampled_from("abcdefz"), inner) | st.lists(inner, max_size=2),
    max_leaves=6,
)
names = st.sampled_from(["filter", "ids", "n", "one", "any", "on", "other"])


@settings(max_examples=250)
@given(st.dictionaries(names, values))
def test_what_is_accepted_graphql_core_accepts_with_the_same_conditions(
    variables: dict[str, Any],
) -> None:
    exact = get_variable_values(SCHEMA, DECLARED, variables)
    found = INPUTS.coerce(variables)

    assert isinstance(found, list) == isinstance(exact, list)
    if isinstance(exact, list):
        assert found == [error.message for error in exact]
    else:
        assert not isinstance(found, list)
        assert found["on"] == exact.coerced["on"]


@pytest.mark.parametrize(
    "variables",
    [
        {"filter": {"a": 1}},
        {"filter": {"a": 1, "b": ["x"], "c": [{"a": 2}, None], "d": "GREEN", "e": 1.5}},
        {"filter": {"a": 1, "b": None, "d": None}, "n": None, "ids": ["1"], "on": False},
        {"filter": {"a": 1}, "other": {"not": "declared"}},
        {"filter": {"a": 1}, "one": {"a": 1}},
        {"filter": {"a": 1}, "one": None},
    ],
)
def test_ordinary_variables_are_accepted_fast(variables: dict[str, Any]) -> None:
    assert INPUTS.accepts(variables)


@pytest.mark.parametrize(
    "one", [{}, {"a": 1, "b": "x"}, {"a": None}, {"a": 1, "b": None}, {"c": 1}]
)
def test_one_of_several_means_one_that_is_not_null(one: dict[str, Any]) -> None:
    assert not INPUTS.accepts({"filter": {"a": 1}, "one": one})
    assert isinstance(INPUTS.coerce({"filter": {"a": 1}, "one": one}), list)


@pytest.mark.parametrize("levels", [100, 300, 5_000])
def test_what_is_nested_endlessly_is_no_crash(levels: int) -> None:
    nested: Any = {"a": 1}
    for _ in range(levels):
        nested = {"a": 1, "c": [nested]}

    found = INPUTS.coerce({"filter": nested})

    assert isinstance(found, list) == (levels > 100)


@pytest.mark.parametrize(
    ("value", "why"),
    [(2**70, "Integer exceeds"), ("\ud800", "surrogates"), ({1}, "serializable: set")],
)
def test_what_is_no_json_says_why(value: object, why: str) -> None:
    (said,) = INPUTS.coerce({"filter": {"a": 1}, "any": value})

    assert re.search(why, said)


def test_an_operation_without_variables_takes_any() -> None:
    assert VariableCoercion(SCHEMA, ()).coerce({"a": 1}) == {}
