"""What is not asked for since its inputs failed is told, even where another error hides them."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import orjson
from graphql import parse

from gateway.supergraph import SubgraphResponse, SubgraphTimeout, compose, execute, plan

LINK = """extend schema @link(
  url: "https://specs.apollo.dev/federation/v2.7", import: ["@key", "@external", "@requires"]
)"""
SDLS = {
    "books": f"""{LINK} type Query {{ book: Book }} type Book @key(fields: "id") {{ id: ID! }}""",
    "prices": f"""{LINK} type Book @key(fields: "id") {{ id: ID! price: Int }}""",
    "taxes": f"""{LINK}
type Book @key(fields: "id") {{
  id: ID! price: Int @external tax: Int @requires(fields: "price")
}}""",
}


class WithoutPrices:
    """The books, of which nobody tells the price."""

    def __init__(self, found: dict[str, Any]) -> None:
        self._found = found

    async def fetch(
        self, subgraph: str, body: bytes, headers: Mapping[str, str], *, is_idempotent: bool
    ) -> SubgraphResponse:
        assert subgraph != "taxes", "too little is known to ask it"
        if subgraph in self._found:
            return SubgraphResponse(200, orjson.dumps({"data": self._found[subgraph]}))
        raise SubgraphTimeout(subgraph)

    def stream(
        self, subgraph: str, body: bytes, headers: Mapping[str, str]
    ) -> AbstractAsyncContextManager[AsyncIterator[dict[str, Any]]]:
        raise AssertionError("nothing is subscribed to")


async def errors(found: dict[str, Any]) -> list[tuple[list[str], str]]:
    planned = plan(compose(SDLS), parse("{ book { price tax } }"))
    answer = await execute(planned, None, WithoutPrices(found))
    assert answer["data"] == {"book": {"price": None, "tax": None}}
    return [(e["path"], e["extensions"]["code"]) for e in answer.get("errors", ())]


async def test_a_field_whose_input_failed_says_so() -> None:
    found = await errors({"books": {"book": {"raak_id": "1"}}})

    assert found == [
        (["book", "price"], "SUBGRAPH_TIMEOUT"),
        (["book", "tax"], "SUBGRAPH_NOT_ASKED"),
    ]


async def test_a_field_whose_input_is_not_there_is_null_without_an_error() -> None:
    found = await errors({"books": {"book": {"raak_id": "1"}}, "prices": {"_entities": [None]}})

    assert found == []
