"""An object comes out with the client's names and order, each value read by its type."""

from typing import Any

import orjson
import pytest

from gateway.supergraph import SubgraphResponse, execute, plan_document
from tests.unit.gateway.supergraph import shop
from tests.unit.gateway.supergraph.compose_subgraphs import compose_all

SUPERGRAPH = compose_all(
    offers="""
        type Query { offer: Offer }
        type Offer {
          id: ID! title: String score: Float isNew: Boolean! rank: Int! seen: Json shop: Shop
        }
        type Shop { name: String! }
        scalar Json
        """
)
PLAN = plan_document(
    SUPERGRAPH, "{ offer { kind: __typename title id rank shop { name } score seen isNew } }"
)
GOOD = {
    "title": "Jazz weeks",
    "id": "o1",
    "rank": 1,
    "shop": {"name": "Delft"},
    "score": 0.5,
    "seen": [{"at": 1}],
    "isNew": True,
}
SHAPED = {"kind": "Offer", **GOOD}


async def answered(offer: Any) -> dict[str, Any]:
    body = orjson.dumps({"data": {"offer": offer}})
    return await execute(PLAN, None, shop.Scripted({"offers": SubgraphResponse(200, body)}))


async def test_what_is_as_it_should_be_keeps_the_clients_names_and_order() -> None:
    answer = await answered(dict(reversed(GOOD.items())))

    assert answer == {"data": {"offer": SHAPED}}
    assert list(answer["data"]["offer"]) == list(SHAPED)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("id", 7, "7"),
        ("score", 2, 2),
        ("title", None, None),
        ("seen", "x", "x"),
        ("shop", None, None),
    ],
)
async def test_one_value_of_another_kind_that_may_be_is_read_as_such(
    field: str, value: Any, expected: Any
) -> None:
    answer = await answered(GOOD | {field: value})

    assert answer == {"data": {"offer": SHAPED | {field: expected}}}


@pytest.mark.parametrize(
    ("field", "value"), [("score", True), ("score", "1"), ("shop", 3), ("shop", [])]
)
async def test_one_value_of_a_wrong_type_is_cut_out_and_told(field: str, value: Any) -> None:
    answer = await answered(GOOD | {field: value})

    assert answer["data"]["offer"] == SHAPED | {field: None}
    assert [error["path"] for error in answer["errors"]] == [["offer", field]]


@pytest.mark.parametrize(
    ("field", "value"),
    [("id", None), ("id", 1.5), ("isNew", None), ("isNew", "yes"), ("rank", None), ("rank", 2**31)],
)
async def test_a_value_that_must_be_there_takes_the_object_with_it(field: str, value: Any) -> None:
    answer = await answered(GOOD | {field: value})

    assert answer["data"] == {"offer": None}
    assert [error["path"] for error in answer["errors"]] == [["offer", field]]


@pytest.mark.parametrize("missing", ["title", "id", "rank", "isNew"])
async def test_a_value_that_is_missing_counts_as_null(missing: str) -> None:
    absent = {key: value for key, value in GOOD.items() if key != missing}

    assert await answered(absent) == await answered(GOOD | {missing: None})


@pytest.mark.parametrize("wrong", ["title", 7, [], [GOOD], True])
async def test_what_is_no_object_is_cut_out_and_told(wrong: Any) -> None:
    answer = await answered(wrong)

    assert answer["data"] == {"offer": None}
    assert [error["path"] for error in answer["errors"]] == [["offer"]]
