"""The subgraph `live`, answered in this process: a transport like that of any other subgraph."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, TypeAlias
from uuid import UUID

import jwt
import orjson
from graphql import GraphQLError

from gateway.live.feed import Feed
from gateway.live.schema import Context, Ref, schema
from gateway.pipeline.pipeline import RequestPipeline
from gateway.supergraph import Reply, Terms, execute
from services.chassis.errors import RaakError
from services.chassis.masking import USUAL, Masking
from services.chassis.principal import Principal

JSON: TypeAlias = dict[str, Any]
Headers: TypeAlias = Mapping[str, str]

NAME = "live"
WHO = "query Who($ref: CustomerRef!) { customer(ref: $ref) { id } }"

Find: TypeAlias = Callable[[Principal, Ref], Awaitable[UUID]]
"""Who is meant, asked on behalf of who asks; raises when there is nobody it may see."""


class UnknownCustomer(RaakError):
    """Nobody is known by what a subscription names, so there is nobody to watch."""

    code = "UNKNOWN_CUSTOMER"
    status = 404


def finding(graph: Callable[[], RequestPipeline]) -> Find:
    """Find customers by asking the graph, so that the services judge who may see whom."""

    async def find(caller: Principal, ref: Ref) -> UUID:
        asked = graph()
        answer = await execute(
            asked.operations.get(WHO, None).plan,
            {"ref": ref},
            asked.transport,
            Terms(headers=asked.headers(caller), within_s=asked.within_s),
        )
        for error in answer.get("errors", ()):
            raise GraphQLError(error["message"], extensions=error.get("extensions"))
        customer = answer["data"]["customer"]
        if customer is None:
            raise UnknownCustomer(
                "There is no such customer, so there is nobody to watch.",
                hint="Identify or track him first, or check how he is named.",
            )
        return UUID(customer["id"])

    return find


class LiveSubgraph:
    """A Transport to the schema of live."""

    def __init__(self, feed: Feed, find: Find, masking: Masking = USUAL) -> None:
        self._masking = masking
        self._feed = feed
        self._find = find

    async def fetch(
        self, subgraph: str, body: bytes, headers: Headers, *, is_idempotent: bool
    ) -> Reply:
        """Answer a query."""
        answer = await schema.answer(*_asked(body), self._context(headers))
        return Reply(200, orjson.dumps(answer))

    @asynccontextmanager
    async def stream(
        self, subgraph: str, body: bytes, headers: Headers
    ) -> AsyncIterator[AsyncIterator[JSON]]:
        """Answer a subscription, until the context is left."""
        async with aclosing(schema.answers(*_asked(body), self._context(headers))) as answers:
            yield answers

    def _context(self, headers: Headers) -> Context:
        caller = _principal(headers)
        watching = partial(self._feed.watching, follows_unproved=not caller.own_customer_only)
        return Context(caller, partial(self._find, caller), watching, self._masking)


def _principal(headers: Headers) -> Principal:
    """Who asks, as the gateway says. It signed the token a moment ago, in this process, and nobody
    else can ask this subgraph: the signature is not looked at.
    """
    token = headers["Authorization"].removeprefix("Bearer ")
    return Principal.from_claims(jwt.decode(token, options={"verify_signature": False}))


def _asked(body: bytes) -> tuple[str, JSON | None]:
    request = orjson.loads(body)
    return request["query"], request.get("variables")
