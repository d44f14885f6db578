"""Docstrings are what clients read in the schema."""

import sys
from enum import StrEnum
from types import ModuleType
from typing import Annotated

import pytest
import strawberry
from graphql import GraphQLInputObjectType, GraphQLObjectType

from services.chassis.descriptions import COMMON, ClassDocs, read_class
from services.chassis.graphql import Schema


@strawberry.enum
class Oven(StrEnum):
    """Where it is baked."""

    WOOD = "wood"
    """Over a fire, which takes
    an hour to heat.
    """
    GAS = "gas"


@strawberry.input
class BreadInput:
    """What is to be baked."""

    grams: int
    """Of dough, before it is baked."""
    oven: Oven = Oven.GAS


Day = Annotated[int, strawberry.argument(description="Of the month.")]


@strawberry.type
class Bread:
    """A loaf,
    however it is cut.
    """

    grams: int
    """Weighed
    cold.
    """
    owner: str = strawberry.field(description="Who ordered it.")
    """Not what clients read."""
    crumbs: int
    secret: strawberry.Private[int]
    """Nobody reads this."""


@strawberry.type
class Query:
    @strawberry.field
    def bread(
        self,
        input: BreadInput,
        day: Day,
        start: Annotated[int, strawberry.argument(name="from")] = 1,
        hours: int = 1,
    ) -> Bread | None:
        """A loaf; null if it burnt.

        Args:
            input: What it is
                made of.
            start: Which oven; hours: is no argument here.
        """
        return None


SCHEMA = Schema(query=Query)._schema
TYPES = SCHEMA.type_map


def test_a_type_an_input_and_an_enum_have_the_docstring_of_their_class() -> None:
    assert TYPES["Bread"].description == "A loaf, however it is cut."
    assert TYPES["BreadInput"].description == "What is to be baked."
    assert TYPES["Oven"].description == "Where it is baked."


def test_a_field_and_a_value_have_the_string_below_them() -> None:
    bread, bread_input, oven = TYPES["Bread"], TYPES["BreadInput"], TYPES["Oven"]
    assert isinstance(bread, GraphQLObjectType)
    assert isinstance(bread_input, GraphQLInputObjectType)

    assert bread.fields["grams"].description == "Weighed cold."
    assert bread.fields["owner"].description == "Who ordered it."
    assert bread.fields["crumbs"].description is None
    assert bread_input.fields["grams"].description == "Of dough, before it is baked."
    assert {name: value.description for name, value in oven.values.items()} == {  # type: ignore[attr-defined]
        "WOOD": "Over a fire, which takes an hour to heat.",
        "GAS": None,
    }


def test_a_resolver_says_what_its_arguments_mean() -> None:
    query = SCHEMA.query_type
    assert query is not None
    field = query.fields["bread"]

    assert field.description == "A loaf; null if it burnt."
    assert {name: argument.description for name, argument in field.args.items()} == {
        "input": "What it is made of.",
        "day": "Of the month.",
        "from": "Which oven; hours: is no argument here.",
        "hours": None,
    }


def test_what_the_subgraphs_have_in_common_is_described_once() -> None:
    assert SCHEMA.query_type is not None
    assert SCHEMA.query_type.description == COMMON["Query"]


def test_a_class_without_source_is_described_by_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sourceless", ModuleType("sourceless"))
    unread = type("Unread", (), {"__doc__": "Only here.", "__module__": "sourceless"})

    assert read_class(unread) == ClassDocs()
