"""The subgraphs of the comparison without a GraphQL engine, so that gateways are most of it.

`python -m tests.benchmarks.peers.light profile 4101` answers the same as `subgraphs.py` does, for a
fifth of the CPU: documents are read once, and their selections looked up in plain data.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

import orjson
import uvicorn
from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
    parse,
    value_from_ast_untyped,
)
from starlette.types import Receive, Scope, Send

from tests.benchmarks.peers.subgraphs import OFFERS, offer

Selection: TypeAlias = tuple[tuple[str, str, Mapping[str, Any], Any], ...]
"""Response key, field, arguments and what is selected below, for each field."""

HEADERS = [(b"content-type", b"application/json")]


@lru_cache(maxsize=1_000)
def read(text: str) -> Selection:
    """The root selection of a document's only operation."""
    definitions = parse(text).definitions
    fragments = {d.name.value: d for d in definitions if isinstance(d, FragmentDefinitionNode)}
    operation = next(d for d in definitions if isinstance(d, OperationDefinitionNode))
    return tuple(_fields(operation.selection_set, fragments))


def _fields(
    selected: SelectionSetNode, fragments: Mapping[str, FragmentDefinitionNode]
) -> Iterator[tuple[str, str, Mapping[str, Any], Any]]:
    for node in selected.selections:
        if isinstance(node, FragmentSpreadNode):
            yield from _fields(fragments[node.name.value].selection_set, fragments)
        elif isinstance(node, InlineFragmentNode):
            yield from _fields(node.selection_set, fragments)
        elif isinstance(node, FieldNode):
            below = tuple(_fields(node.selection_set, fragments)) if node.selection_set else ()
            given = {a.name.value: a.value for a in node.arguments or ()}
            yield (node.alias or node.name).value, node.name.value, given, below


def customer(id: str) -> dict[str, Any]:
    """All that either subgraph knows of a customer."""
    return {
        "__typename": "Customer",
        "id": id,
        "name": f"Customer {id}",
        "offers": lambda first=OFFERS: [_offer(id, rank) for rank in range(1, first + 1)],
    }


def _offer(customer: str, rank: int) -> dict[str, Any]:
    return {"__typename": "Offer", **vars(offer(customer, rank))}


ROOT: dict[str, Callable[..., Any]] = {
    "customer": customer,
    "_entities": lambda representations: [customer(one["id"]) for one in representations],
}


def answered(value: Any, selection: Selection, variables: Mapping[str, Any]) -> Any:
    """What is selected of a value."""
    if isinstance(value, list):
        return [answered(one, selection, variables) for one in value]
    return {
        key: _field(value[name], given, below, variables) for key, name, given, below in selection
    }


def _field(value: Any, given: Mapping[str, Any], below: Selection, variables: Any) -> Any:
    if callable(value):
        value = value(**{name: _argument(node, variables) for name, node in given.items()})
    return answered(value, below, variables) if below else value


def _argument(node: Any, variables: Mapping[str, Any]) -> Any:
    if isinstance(node, VariableNode):
        return variables[node.name.value]
    return value_from_ast_untyped(node)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a GraphQL request."""
    if scope["type"] != "http":
        return
    body, has_more = b"", True
    while has_more:
        message = await receive()
        body, has_more = body + message.get("body", b""), message.get("more_body", False)
    asked = orjson.loads(body)
    data = answered(ROOT, read(asked["query"]), asked.get("variables") or {})
    text = orjson.dumps({"data": data})
    headers = [*HEADERS, (b"content-length", b"%d" % len(text))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[2]), log_level="warning", access_log=False, lifespan="off")
