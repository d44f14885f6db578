"""Whatever services answer, clients get a response that specification and schema allow."""

import json
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    get_named_type,
    is_abstract_type,
    is_leaf_type,
    parse,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.supergraph import SubgraphResponse, compose, execute, plan_document
from gateway.supergraph.executor.scalars import BUILT_IN
from tests.unit.gateway.supergraph import shop
from tests.unit.gateway.supergraph.compose_subgraphs import compose_all

SUPERGRAPH = compose(shop.SDLS)
STORY = """
{
  customers {
    who: name
    tags
    address { city }
    membership { __typename ... on GoldMembership { level } ... on SilverMembership { points } }
    friends { id reviews { stars } }
    offers(limit: 2) {
      title price
      shop { code }
      items { __typename ... on Book { title pages reviews { author { n: name } } }
              ... on Service { minutes } }
    }
  }
  parties { __typename name ... on Customer { email } }
}
"""
PLAN = plan_document(SUPERGRAPH, STORY)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["Book", "Customer", "GOLD", "__typename", "1", "o1"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=5) | st.sampled_from(["id", "__typename", "name", "offers"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
paths = st.lists(
    st.one_of(
        st.sampled_from(["customers", "who", "name", "friends", "_entities", "__typename"]),
        st.integers(-3, 5),
        json_values,
    ),
    max_size=8,
)
hostile_errors = st.lists(
    json_values
    | st.fixed_dictionaries(
        {},
        optional={
            "message": json_values,
            "path": paths | json_values,
            "extensions": json_values
            | st.fixed_dictionaries(
                {}, optional=dict.fromkeys(["code", "hint", "problems"], json_values)
            ),
            "locations": json_values,
        },
    ),
    max_size=4,
)


GOOD: dict[tuple[str, bytes], bytes] = {}
"""What services say to what they are asked when nothing is spoilt."""


class Mutating(shop.InProcess):
    """Services whose answers are spoilt at some places before they are sent."""

    def __init__(self, draw: Any) -> None:
        super().__init__()
        self._draw = draw

    async def fetch(
        self, subgraph: str, body: bytes, headers: Mapping[str, str], *, is_idempotent: bool
    ) -> SubgraphResponse:
        good = GOOD.get((subgraph, body))
        if good is None:
            reply = await super().fetch(subgraph, body, headers, is_idempotent=is_idempotent)
            good = GOOD[subgraph, body] = reply.body
        return SubgraphResponse(200, self._draw(spoilt(orjson.loads(good))))


@st.composite
def spoilt(draw: Any, answer: Any) -> bytes:
    """A valid answer with some of its values changed, or cut, or with errors beside it."""
    for _ in range(draw(st.integers(0, 3))):
        parent, key = draw(st.sampled_from(places(answer)))
        what = draw(st.sampled_from(["replace", "remove", "repeat"]))
        if what == "replace":
            parent[key] = draw(json_values)
        elif what == "remove":
            del parent[key]
        elif isinstance(parent, list):
            parent.append(parent[key])
        else:
            parent[key] = [parent[key]]
        if not places(answer):
            break
    if draw(st.booleans()):
        answer["errors"] = draw(hostile_errors | json_values)
    written = json.dumps(answer).encode()
    if draw(st.integers(0, 19)) == 7:
        written = written[: draw(st.integers(0, len(written)))]
    return written


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in an answer, as the object or list it is in and its key."""
    keys = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, inner in keys:
        found.append((value, key))
        if isinstance(inner, dict | list):
            found += places(inner)
    return found


class Checker:
    """Asserts that a response is one the specification allows for an operation."""

    def __init__(self, text: str) -> None:
        (operation,) = parse(text).definitions
        self._selections = [operation.selection_set]  # type: ignore[attr-defined]
        self._schema = SUPERGRAPH.schema

    def check(self, answer: dict[str, Any]) -> None:
        assert set(answer) in ({"data"}, {"data", "errors"})
        orjson.dumps(answer)
        if answer["data"] is not None:
            self._object(self._schema.query_type, answer["data"], self._selections)
        for error in answer.get("errors", [None]) if "errors" in answer else []:
            self._error(error, answer["data"])

    def _error(self, error: Any, data: Any) -> None:
        assert set(error) <= {"message", "path", "extensions"}
        assert isinstance(error["message"], str)
        assert isinstance(error["extensions"]["code"], str)
        type_: Any = self._schema.query_type
        selections = self._selections
        for key in error.get("path", ()):
            while isinstance(type_, GraphQLNonNull):
                type_ = type_.of_type
            if isinstance(type_, GraphQLList):
                assert type(key) is int
                assert key >= 0
                type_ = type_.of_type
                if data is not None:
                    assert key < len(data)
                    data = data[key]
                continue
            options = self._possible(type_)
            found = [f for t in options for k, f in self._fields(t, selections) if k == key]
            assert found, f"{key!r} is not asked for"
            type_ = found[0][0]
            selections = [node.selection_set for _, nodes in found for node in nodes]
            data = data.get(key) if data is not None else None

    def _possible(self, type_: Any) -> list[GraphQLObjectType]:
        if is_abstract_type(type_):
            return list(self._schema.get_possible_types(type_))
        return [type_]

    def _fields(self, type_: GraphQLObjectType, selections: Any) -> list[tuple[str, Any]]:
        fields: dict[str, Any] = {}
        holds = SUPERGRAPH.names[type_.name].all

        def collect(selection_set: Any) -> None:
            for node in selection_set.selections if selection_set else ():
                if node.kind == "inline_fragment":
                    if node.type_condition.name.value in holds:
                        collect(node.selection_set)
                    continue
                name = node.name.value
                returned = None if name == "__typename" else type_.fields[name].type
                key = node.alias.value if node.alias else name
                fields.setdefault(key, (returned, []))[1].append(node)

        for selection_set in selections:
            collect(selection_set)
        return list(fields.items())

    def _object(self, type_: Any, value: Any, selections: Any) -> None:
        assert isinstance(value, dict)
        if is_abstract_type(type_):
            type_ = self._schema.type_map[value["__typename"]]
        fields = self._fields(type_, selections)
        assert list(value) == [key for key, _ in fields]
        for key, (returned, nodes) in fields:
            if returned is None:
                assert value[key] == type_.name
            else:
                self._value(returned, value[key], [node.selection_set for node in nodes])

    def _value(self, type_: GraphQLOutputType, value: Any, selections: Any) -> None:
        if isinstance(type_, GraphQLNonNull):
            assert value is not None
            type_ = type_.of_type
        if value is None:
            return
        if isinstance(type_, GraphQLList):
            assert isinstance(value, list)
            for item in value:
                self._value(type_.of_type, item, selections)
        elif not is_leaf_type(type_):
            self._object(type_, value, selections)
        elif isinstance(type_, GraphQLEnumType):
            assert value in type_.values
        else:
            assert BUILT_IN[get_named_type(type_).name](value) == value


CHECKER = Checker(STORY)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
async def test_no_answer_of_a_service_breaks_the_response(data: st.DataObject) -> None:
    transport = Mutating(data.draw)

    CHECKER.check(await execute(PLAN, None, transport))


async def test_the_checker_knows_a_good_answer() -> None:
    answer = await execute(PLAN, None, shop.InProcess())

    CHECKER.check(answer)
    assert "errors" not in answer
    answer["data"]["customers"][0]["who"] = 7
    with pytest.raises(AssertionError):
        CHECKER.check(answer)


# --- each kind of wrong value -------------------------------------------------------------------

SCALARS = compose_all(
    a="type Query { s: S } type S { int: Int float: Float string: String boolean: Boolean id: ID "
    "enum: E any: Any list: [Int] must: [Int!] } enum E { A B @inaccessible } scalar Any"
)
VALUES: list[tuple[str, Any, Any]] = [
    ("int", 2**31 - 1, 2**31 - 1),
    ("int", 5.0, 5),
    ("int", 2**31, None),
    ("int", 1.5, None),
    ("int", 10**30, None),
    ("int", True, None),
    ("int", "5", None),
    ("float", 1, 1),
    ("float", 1.5e300, 1.5e300),
    ("float", True, None),
    ("float", "1", None),
    ("string", "é", "é"),
    ("string", 1, None),
    ("string", ["a"], None),
    ("boolean", False, False),
    ("boolean", 0, None),
    ("boolean", "true", None),
    ("id", "x", "x"),
    ("id", 7, "7"),
    ("id", 7.5, None),
    ("id", True, None),
    ("enum", "A", "A"),
    ("enum", "B", None),
    ("enum", "C", None),
    ("enum", ["A"], None),
    ("enum", {"A": 1}, None),
    ("any", {"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}),
    ("any", 10**15, 10**15),
    ("list", [1, None, 2], [1, None, 2]),
    ("list", [1, "2", 3], [1, None, 3]),
    ("list", 1, None),
    ("list", {"0": 1}, None),
    ("must", [1, 2], [1, 2]),
    ("must", [1, "2"], None),
]


@pytest.mark.parametrize(("field", "said", "heard"), VALUES)
async def test_a_value_is_of_its_type_or_null_with_an_error(
    field: str, said: Any, heard: Any
) -> None:
    said_as_json = json.dumps({"data": {"s": {field: said}}}).encode()
    transport = shop.Scripted({"a": SubgraphResponse(200, said_as_json)})

    answer = await execute(plan_document(SCALARS, f"{{ s {{ {field} }} }}"), None, transport)

    assert answer["data"] == {"s": {field: heard}}
    has_null = heard is None or (isinstance(heard, list) and None in heard)
    is_hidden_or_good = said in ("B", heard)
    assert ("errors" in answer) == (has_null and not is_hidden_or_good)


@pytest.mark.parametrize(("levels", "is_taken"), [(90, True), (120, False), (900, False)])
async def test_what_is_nested_too_deeply_to_be_written_is_not_taken(
    levels: int, is_taken: bool
) -> None:
    body = b'{"data": {"s": {"any": ' + b"[" * levels + b"]" * levels + b"}}}"
    transport = shop.Scripted({"a": SubgraphResponse(200, body)})

    answer = await execute(plan_document(SCALARS, "{ s { any } }"), None, transport)

    orjson.dumps(answer)
    codes = [error["extensions"]["code"] for error in answer.get("errors", ())]
    assert codes == ([] if is_taken else ["SUBGRAPH_INVALID_RESPONSE"])


@pytest.mark.parametrize("name", [7, None, [], ["Book"], {"a": 1}, "Nothing", "", True])
async def test_an_object_of_no_known_type_is_null_with_an_error(name: Any) -> None:
    supergraph = compose_all(
        a="type Query { n: N } interface N { x: ID } "
        'type T implements N @key(fields: "x") { x: ID }',
        b='type T @key(fields: "x") { x: ID y: Int }',
    )
    said = {"data": {"n": {"__typename": name, "x": "1"}}}
    entities = {"data": {"_entities": [{"y": 1}]}}
    transport = shop.Scripted(
        {
            "a": SubgraphResponse(200, orjson.dumps(said)),
            "b": SubgraphResponse(200, orjson.dumps(entities)),
        }
    )

    answer = await execute(plan_document(supergraph, "{ n { x ... on T { y } } }"), None, transport)

    assert answer["data"] == {"n": None}
    assert [error["path"] for error in answer["errors"]] == [["n"]]


async def test_where_an_object_stands_for_a_list_paths_end_before_it() -> None:
    supergraph = compose_all(
        a='type Query { all: [T]! } type T @key(fields: "x") { x: ID }',
        b='type T @key(fields: "x") { x: ID y: Int }',
    )
    said = {"data": {"all": {"x": "1"}}}
    transport = shop.Scripted(
        {"a": SubgraphResponse(200, orjson.dumps(said)), "b": SubgraphResponse(503, b"")}
    )

    answer = await execute(plan_document(supergraph, "{ all { x y } }"), None, transport)

    assert answer["data"] is None
    assert [error["path"] for error in answer["errors"]] == [["all"]]


# --- floods -------------------------------------------------------------------------------------


async def flooded(answer: Any, text: str = "{ customers { id name } }") -> dict[str, Any]:
    transport = shop.Scripted({"customers": SubgraphResponse(200, json.dumps(answer).encode())})
    return await execute(plan_document(SUPERGRAPH, text), None, transport)


@pytest.mark.parametrize(
    "errors",
    [
        [{}] * 30_000,
        [{"message": "x" * 10_000}] * 200,
        [{"message": "x", "path": ["customers"] * 10_000}] * 200,
        [{"message": "x", "extensions": {"problems": ["x" * 100] * 500}}] * 200,
        [{"message": "x", "extensions": {"code": "x" * 100_000, "hint": "x" * 100_000}}] * 200,
        [[[[[]]]]] * 30_000,
    ],
    ids=str.split("many long-messages long-paths huge-problems huge-codes no-errors"),
)
async def test_a_flood_of_errors_is_a_small_answer(errors: Any) -> None:
    answer = await flooded({"data": None, "errors": errors})

    assert len(answer["errors"]) == 101
    assert answer["errors"][-1]["extensions"]["code"] == "TOO_MANY_ERRORS"
    assert len(orjson.dumps(answer)) < 200_000


async def test_a_flood_of_wrong_values_is_a_small_answer() -> None:
    customers = [{"id": 1.5, "name": {}}] * 20_000

    answer = await flooded({"data": {"customers": customers}})

    assert answer["data"] is None
    assert len(answer["errors"]) <= 101


@pytest.mark.parametrize("index", [-1, 3, 10**9, 10**30, 1.0, True, "0", None, [0], {}])
async def test_an_error_path_ends_where_it_makes_no_sense(index: Any) -> None:
    customers = [{"id": str(n), "name": None} for n in range(3)]
    error = {"message": "no", "path": ["customers", index, "name"]}

    answer = await flooded({"data": {"customers": customers}, "errors": [error]})

    assert [e["path"] for e in answer["errors"]] == [["customers"]]


async def test_an_error_of_a_refused_request_stands_at_the_fields_it_left_empty() -> None:
    answer = await flooded({"errors": [{"message": "Value cannot represent a DateTime."}]})

    assert [error["path"] for error in answer["errors"]] == [["customers"]]


async def test_an_error_path_is_kept_as_far_as_it_was_asked_for() -> None:
    customers = [{"id": str(n), "name": None} for n in range(3)]
    paths = [["customers", 2, "name"], ["customers", 1, "secret"], ["nothing"], "customers", []]

    answer = await flooded(
        {"data": {"customers": customers}, "errors": [{"message": "no", "path": p} for p in paths]}
    )

    assert [e.get("path") for e in answer["errors"]] == [
        ["customers", 2, "name"], ["customers", 1], None, None, None,
    ]  # fmt: skip
