"""Whatever is asked, the answer through plans equals the one graphql-core gives without them."""

import asyncio
import copy
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from graphql import (
    GraphQLNamedType,
    GraphQLObjectType,
    execute_sync,
    get_named_type,
    is_abstract_type,
    is_composite_type,
    parse,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.supergraph import compose, execute, plan_document
from tests.unit.gateway.supergraph import shop

SUPERGRAPH = compose(shop.SDLS)
MONOLITH = shop.monolith(SUPERGRAPH.sdl)


@pytest.fixture(autouse=True)
def unchanged_rows() -> Iterator[None]:
    """Mutations change rows; the next test finds them as they were."""
    before = copy.deepcopy((shop.CUSTOMERS, shop.OFFERS))
    yield
    shop.CUSTOMERS.update(before[0])
    shop.OFFERS.update(before[1])


@pytest.fixture(autouse=True, scope="module")
def quiet_services() -> Iterator[None]:
    """The refusals in these tests are meant; strawberry would log each with a traceback."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def through_plan(text: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
    return await execute(plan_document(SUPERGRAPH, text), variables, shop.InProcess())


def through_monolith(text: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
    result = execute_sync(
        MONOLITH, parse(text), root_value=shop.MONOLITH_ROOT, variable_values=variables
    )
    answer: dict[str, Any] = {"data": result.data}
    if result.errors:
        answer["errors"] = [{"message": e.message, "path": e.path} for e in result.errors]
    return answer


def essence(answer: dict[str, Any]) -> tuple[Any, bool, set[tuple[Any, ...]]]:
    """Data with its key order, whether there are errors, and those whose place is still there.

    Once a null has travelled past them, which other errors are met depends on who is asked first.
    """
    data = answer.get("data")
    errors = {(e["message"], *e.get("path", ())) for e in answer.get("errors", ())}
    lasting = {error for error in errors if leads_somewhere(data, error[1:])}
    return ordered(data), bool(errors), lasting


def leads_somewhere(data: Any, path: tuple[Any, ...]) -> bool:
    for segment in path:
        if data is None:
            return False
        data = data[segment]
    return True


def ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return [(key, ordered(item)) for key, item in value.items()]
    return [ordered(item) for item in value] if isinstance(value, list) else value


OPERATIONS: dict[str, tuple[str, dict[str, Any] | None]] = {
    "one field": ("{ version }", None),
    "a list": ("{ customers { id name } }", None),
    "order of the client": ("{ customers { name id email } version }", None),
    "nothing found": ('{ customer(id: "9") { id offers { title } } }', None),
    "aliases": (
        '{ a: customer(id: "1") { x: id y: name } b: customer(id: "2") { x: name } }',
        None,
    ),
    "aliases that look like helpers": ("{ customers { raak_id: name offers { title } } }", None),
    "an alias that hides a key": ("{ customers { id: name email: id offers { title } } }", None),
    "typename as an alias": ("{ parties { t: __typename name } }", None),
    "typename only": ("{ customers { __typename } }", None),
    "typename of the root": ("{ __typename version }", None),
    "another service": ("{ customers { offers { title } } }", None),
    "arguments as literals": ("{ customers { offers(limit: 1, dearest: true) { price } } }", None),
    "arguments as variables": (
        "query ($n: Int!, $d: Boolean = true)"
        " { customers { offers(limit: $n, dearest: $d) { price } } }",
        {"n": 1},
    ),
    "the same field with other arguments": (
        "{ customers { few: offers(limit: 1) { id } many: offers(limit: 9) { id rating } } }",
        None,
    ),
    "an input object": (
        "query ($f: OfferFilter) { offers(filter: $f) { title } }",
        {"f": {"maxPrice": 300, "titles": ["Offer 1", "Offer 3", "Offer 4"]}},
    ),
    "an input object in part": (
        "query ($m: Int) { offers(filter: { maxPrice: $m }) { title } }",
        {"m": 200},
    ),
    "a null variable": ("query ($f: OfferFilter) { offers(filter: $f) { id } }", {"f": None}),
    "a variable left out": ("query ($f: OfferFilter) { offers(filter: $f) { id } }", {}),
    "services side by side": ("{ customers { id } offers { id } reviews { id } version }", None),
    "two keys away": ("{ offers { customer { reviews { stars } } } }", None),
    "there and back": ("{ reviews { author { name offers { customer { email } } } } }", None),
    "a composite key": ("{ offers { rating } }", None),
    "a required field": ("{ offers { shipping } }", None),
    "a required field beside itself": ("{ offers { price shipping p: price } }", None),
    "through a nested key": ("{ customers { offers { rating shipping shop { code } } } }", None),
    "a union": (
        "{ offers { items { __typename ... on Book { title } ... on Service { minutes } } } }",
        None,
    ),
    "a union in part": ("{ offers { items { ... on Service { minutes title } } } }", None),
    "a union's member of another service": (
        "{ offers { items { ... on Book { pages reviews(minStars: 3) { stars } } } } }",
        None,
    ),
    "a union that can be null": (
        "{ customers { membership { ... on GoldMembership { lounge level }"
        " ... on SilverMembership { points level } } } }",
        None,
    ),
    "an interface": ("{ parties { name } }", None),
    "an interface with more": (
        "{ parties { name ... on Company { vat } ... on Customer { email reviews { body } } } }",
        None,
    ),
    "a fragment on an interface": (
        "{ customers { ...N } parties { ...N } } fragment N on Named { name __typename }",
        None,
    ),
    "nested fragments": (
        "{ customers { ...A ...B } }"
        " fragment A on Customer { id ...C } fragment B on Customer { friends { ...C } }"
        " fragment C on Customer { offers { title } }",
        None,
    ),
    "fields merged from fragments": (
        "{ customers { offers { id } ... { offers { title rating } } ... on Customer"
        " { offers { shop { code } } } } }",
        None,
    ),
    "an inline fragment without a type": ("{ ... { version } customers { ... { id } } }", None),
    "skip and include": (
        "query ($yes: Boolean!, $no: Boolean!) { customers { id @skip(if: $yes)"
        " name @include(if: $yes) offers @include(if: $no) { id } ... @skip(if: $no) { email } } }",
        {"yes": True, "no": False},
    ),
    "included both ways": (
        "query ($a: Boolean!, $b: Boolean!)"
        " { customers { name @include(if: $a) @skip(if: $b) name @include(if: $b) } }",
        {"a": False, "b": True},
    ),
    "everything skipped": ("{ customers { id @skip(if: true) name @include(if: false) } }", None),
    "lists with nulls": ("{ customers { tags friends { tags } } parties { __typename } }", None),
    "a value object": ('{ customers { address(country: "BE") { city street } } }', None),
    "an error in a list": ("{ customers { id secret } }", None),
    "errors in another service's entities": ("{ offers { customer { secret } } }", None),
    "a null that travels": ("{ parties { ... on Customer { mustHaveName } } }", None),
    "a null that travels far": ("{ customers { mustHaveName } }", None),
    "a null that travels beyond a service": ("{ offers { customer { mustHaveName } } }", None),
    "a null that travels to a nullable list": (
        "{ reviews { author { offers { customer { mustHaveName } } } } }",
        None,
    ),
    "mutations in order": (
        'mutation { a: rename(id: "2", name: "B") { name offers { id } }'
        ' b: reprice(id: "o1", price: 5) { shipping customer { name } }'
        ' c: rename(id: "2", name: "C") { name } }',
        None,
    ),
    "introspection": (
        "query ($t: String!) { __schema { queryType { name } } __type(name: $t) { name kind }"
        ' x: __type(name: "Offer") { fields { name } } }',
        {"t": "Item"},
    ),
    "introspection beside data": ("{ a: __typename __schema { __typename } version }", None),
}


@pytest.mark.parametrize("name", OPERATIONS)
async def test_the_answer_equals_the_monoliths(name: str) -> None:
    text, variables = OPERATIONS[name]
    expected = essence(through_monolith(text, variables))
    shop.CUSTOMERS.update(copy.deepcopy(ROWS[0]))
    shop.OFFERS.update(copy.deepcopy(ROWS[1]))

    answer = await through_plan(text, variables)

    assert essence(answer) == expected


ROWS = copy.deepcopy((shop.CUSTOMERS, shop.OFFERS))
NEEDS_ARGUMENTS = {"Query.customer": '(id: "1")'}


@st.composite
def selections(draw: st.DrawFn, type_: GraphQLNamedType, depth: int) -> str:
    """A random selection on a composite type; keys are numbered, so they never clash."""
    if is_abstract_type(type_):
        members = MONOLITH.get_possible_types(type_)
        chosen = draw(st.lists(st.sampled_from(members), min_size=1, max_size=3))
        parts = [f"... on {m.name} {draw(selections(m, depth))}" for m in chosen]
        return "{ __typename " + " ".join(parts) + " }"
    assert isinstance(type_, GraphQLObjectType)
    fields = [
        name
        for name, field in type_.fields.items()
        if depth > 0 or not is_composite_type(get_named_type(field.type))
    ]
    chosen_fields = draw(
        st.lists(st.sampled_from(fields or ["__typename"]), min_size=1, max_size=4)
    )
    printed = []
    for name in chosen_fields:
        if name == "__typename":
            printed.append(name)
            continue
        returned = get_named_type(type_.fields[name].type)
        alias = f"{type_.name}_{name}_{draw(st.integers(0, 10**9))}"
        below = draw(selections(returned, depth - 1)) if is_composite_type(returned) else ""
        arguments = NEEDS_ARGUMENTS.get(f"{type_.name}.{name}", "")
        printed.append(f"{alias}: {name}{arguments} {below}")
    return "{ " + " ".join(printed) + " }"


@settings(max_examples=100, deadline=None)
@given(text=selections(MONOLITH.type_map["Query"], 4))
def test_any_query_is_answered_like_the_monolith(text: str) -> None:
    expected = essence(through_monolith(text))

    answer = asyncio.run(through_plan(text))

    assert essence(answer) == expected
