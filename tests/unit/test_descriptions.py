"""The public schema speaks: it says what each element means to whoever has read nothing else."""

import re
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from typing import Any, NamedTuple

import pytest
from graphql import GraphQLSchema, is_specified_directive, is_specified_scalar_type

from gateway.schema_source import read_subgraphs
from gateway.supergraph import compose
from infra.schema import MODULES

FILLERS = frozenset({"", "a", "an", "and", "by", "for", "in", "is", "it", "of", "or", "the", "to"})
"""Words that say nothing by themselves, without a plural's s."""


class Element(NamedTuple):
    """A part of a schema that can be described; `coordinate` is `Type.field(argument:)`."""

    coordinate: str
    description: str | None


def elements_of(schema: GraphQLSchema) -> Iterator[Element]:
    for name, type_ in schema.type_map.items():
        if name.startswith("__") or is_specified_scalar_type(type_):
            continue
        yield Element(name, type_.description)
        for member_name, member in {**members(type_, "fields"), **members(type_, "values")}.items():
            coordinate = f"{name}.{member_name}"
            yield Element(coordinate, member.description)
            for argument_name, argument in members(member, "args").items():
                yield Element(f"{coordinate}({argument_name}:)", argument.description)
    for directive in schema.directives:
        if not is_specified_directive(directive):
            yield Element(f"@{directive.name}", directive.description)
            for argument_name, argument in directive.args.items():
                yield Element(f"@{directive.name}({argument_name}:)", argument.description)


def members(of: object, kind: str) -> dict[str, Any]:
    return getattr(of, kind, {})


def repeats_name(element: Element) -> bool:
    """Whether its description has no word that its coordinate has not."""
    said = words(element.description or "") - FILLERS
    return said <= words(element.coordinate)


def words(text: str) -> frozenset[str]:
    """The words of a sentence or a coordinate, in small letters and without a plural's s."""
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", text)
    return frozenset(part.lower().removesuffix("s") for part in parts)


@pytest.fixture(scope="module")
def elements() -> list[Element]:
    """Of the schema that clients see."""
    return list(elements_of(compose(read_subgraphs()).schema))


def test_every_element_of_the_public_schema_is_described(elements: list[Element]) -> None:
    assert len(elements) > 500
    assert [one.coordinate for one in elements if not (one.description or "").strip()] == []


def test_no_description_only_repeats_the_name(elements: list[Element]) -> None:
    assert [one for one in elements if repeats_name(one)] == []


def test_a_description_is_a_sentence_or_two(elements: list[Element]) -> None:
    def is_sentence(text: str) -> bool:
        return text[0] in "`•" or text[0].isupper() or text[0].isdigit() or text.startswith("true ")

    odd = [one for one in elements if not is_sentence(one.description or "-")]
    unfinished = [one for one in elements if not (one.description or "").endswith((".", "..."))]

    assert odd == []
    assert unfinished == []


def test_subgraphs_that_describe_the_same_element_agree() -> None:
    """Composing takes the first description it meets, whatever the others say."""
    said: defaultdict[str, set[str]] = defaultdict(set)
    for module in MODULES.values():
        for one in elements_of(import_module(module).schema._schema):
            if one.description:
                said[one.coordinate].add(one.description)

    assert {name: texts for name, texts in said.items() if len(texts) > 1} == {}


@pytest.mark.parametrize(
    ("coordinate", "description"),
    [
        ("Customer.id", "The id."),
        ("Customer.id", "The customer's id."),
        ("JourneyStep.enteredAt", "Entered at."),
        ("Query.customers(first:)", "The first customers."),
        ("Channel.CALL_CENTRE", "The call centre."),
        ("Money", ""),
    ],
)
def test_a_name_said_again_is_no_description(coordinate: str, description: str) -> None:
    assert repeats_name(Element(coordinate, description))


def test_a_word_more_is_one() -> None:
    assert not repeats_name(Element("Customer.id", "Opaque; the same through merges."))
