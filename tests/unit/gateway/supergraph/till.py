"""The till of the shop: a fourth service, which tells what is bought while it is bought."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any

import orjson
import strawberry
from strawberry.federation import Schema
from strawberry.federation import field as federated
from strawberry.federation import type as entity

from gateway.supergraph import SubgraphResponse, compose, plan_document
from tests.unit.gateway.supergraph import shop


@entity(name="Customer", keys=["id"])
class CustomerOfTill:
    id: strawberry.ID

    @classmethod
    def resolve_reference(cls, id: strawberry.ID) -> "CustomerOfTill":
        return cls(id=id)


@strawberry.type
class Purchase:
    at: int
    by: CustomerOfTill | None

    @strawberry.field
    def receipt(self) -> str | None:
        raise shop.RefusedError(f"No paper at {self.at}.")


@strawberry.type(name="Query")
class TillQuery:
    version: str = federated(resolver=lambda: "1", shareable=True)


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def bought(
        self, by: list[strawberry.ID], fails: bool = False
    ) -> AsyncGenerator[Purchase, None]:
        """One purchase by each of these customers; then it may fail."""
        for at, customer in enumerate(by):
            yield Purchase(at=at, by=CustomerOfTill(id=customer))
        if fails:
            raise shop.RefusedError("The till is stuck.")


SCHEMA = Schema(query=TillQuery, subscription=Subscription)
SDLS = {**shop.SDLS, "till": SCHEMA.as_str()}
SUPERGRAPH = compose(SDLS)
plan = partial(plan_document, SUPERGRAPH, entity_id_fields={"Customer": "id"})


class InProcess:
    """The till as a transport in this process; it notes how many streams are open."""

    def __init__(self) -> None:
        self.open = 0

    async def fetch(
        self, subgraph: str, body: bytes, headers: Mapping[str, str], *, is_idempotent: bool
    ) -> SubgraphResponse:
        raise AssertionError("nobody asks the till anything")

    @asynccontextmanager
    async def stream(
        self, subgraph: str, body: bytes, headers: Mapping[str, str]
    ) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        self.open += 1
        try:
            async with aclosing(self._answers(body)) as answers:
                yield answers
        finally:
            self.open -= 1

    async def _answers(self, body: bytes) -> AsyncGenerator[dict[str, Any], None]:
        request = orjson.loads(body)
        results = await SCHEMA.subscribe(request["query"], request["variables"])
        async for result in results:
            answer: dict[str, Any] = {"data": result.data}
            if result.errors:
                answer["errors"] = [error.formatted for error in result.errors]
            yield answer
