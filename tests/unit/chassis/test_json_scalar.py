"""JSON in the graph: variables within literals, and how deep it may be."""

from typing import Any

import pytest
import strawberry
from strawberry.scalars import JSON

from services.chassis.graphql import Schema
from services.chassis.json_scalar import JsonTooDeep, check_depth
from services.contracts.base import DEEPEST_JSON, DEEPEST_OUTPUT, cut_depth, is_deeper


@strawberry.type
class Query:
    """Says what it heard."""

    @strawberry.field
    def echo(self, value: JSON | None = None) -> JSON | None:
        """The value itself."""
        return value

    @strawberry.field
    def deep(self, levels: int) -> JSON:
        """A value of so many levels."""
        return JSON(nested(levels))


SCHEMA = Schema(query=Query)


def nested(levels: int) -> Any:
    """Lists in objects in lists, so many in all."""
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


async def echo(literal: str, declared: str = "($t: JSON)", **variables: Any) -> Any:
    """What a literal stands for, with these variables sent."""
    answer = await SCHEMA.answer(f"query {declared} {{ echo(value: {literal}) }}", variables)
    assert "errors" not in answer
    return answer["data"]["echo"]


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ("{a: 1, t: $t}", {"a": 1}),
        ("{t: $t}", {}),
        ("{a: {b: {t: $t}}}", {"a": {"b": {}}}),
        ("[1, $t]", [1, None]),
        ("{a: [$t, {t: $t}]}", {"a": [None, {}]}),
        ("$t", None),
    ],
)
async def test_a_variable_that_is_not_sent_is_left_out_and_null_in_a_list(
    literal: str, value: Any
) -> None:
    assert await echo(literal) == value


async def test_a_variable_that_is_sent_is_there_even_if_it_is_null() -> None:
    assert await echo("{a: 1, t: $t}", t=None) == {"a": 1, "t": None}
    assert await echo("{a: 1, t: $t}", t={"b": [2]}) == {"a": 1, "t": {"b": [2]}}


async def test_a_variable_that_is_not_sent_has_its_default() -> None:
    assert await echo("{a: 1, t: $t}", declared="($t: JSON = {b: 2})") == {"a": 1, "t": {"b": 2}}


async def test_literals_without_variables_are_what_they_were() -> None:
    literal = '{a: 1, b: 1.5, c: "x", d: true, e: null, f: WORD, g: [1, [2]]}'

    assert await echo(literal, declared="") == {
        "a": 1,
        "b": 1.5,
        "c": "x",
        "d": True,
        "e": None,
        "f": "WORD",
        "g": [1, [2]],
    }


async def test_what_is_stored_too_deep_is_shown_without_its_depths() -> None:
    query = "query ($levels: Int!) { deep(levels: $levels) }"

    as_deep = await SCHEMA.answer(query, {"levels": DEEPEST_OUTPUT})
    deeper = await SCHEMA.answer(query, {"levels": 250})

    assert as_deep == {"data": {"deep": nested(DEEPEST_OUTPUT)}}
    assert not is_deeper(deeper["data"]["deep"], DEEPEST_OUTPUT)


@pytest.mark.parametrize("levels", [1, 2, DEEPEST_JSON])
def test_depth_is_counted_in_lists_and_objects(levels: int) -> None:
    assert not is_deeper(nested(levels), levels)
    assert is_deeper(nested(levels), levels - 1)
    assert not is_deeper(cut_depth(nested(levels), levels - 1), levels - 1)
    assert cut_depth(nested(levels), levels) == nested(levels)


def test_what_comes_in_too_deep_is_refused() -> None:
    check_depth(nested(DEEPEST_JSON), "It")

    with pytest.raises(JsonTooDeep, match="It nests deeper than 32 levels"):
        check_depth(nested(DEEPEST_JSON + 1), "It")
