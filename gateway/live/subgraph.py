"""The subgraph `live`, executed in this process: a transport like that of any other subgraph."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias
from uuid import UUID

import jwt
import orjson
from graphql import GraphQLError

from gateway.live.customer_feed import CustomerFeed
from gateway.live.schema import CustomerRefJson, LiveContext, schema
from gateway.pipeline.pipeline import RequestPipeline
from gateway.supergraph import ExecutionOptions, SubgraphResponse, execute
from services.chassis.errors import UnknownCustomer
from services.chassis.masking import USUAL, Masking
from services.chassis.principal import Principal
from services.contracts.identity import ANONYMOUS_TYPES, derive_customer_id

JSON: TypeAlias = dict[str, Any]
Headers: TypeAlias = Mapping[str, str]

NAME = "live"
FIND_CUSTOMER = "query FindCustomer($ref: CustomerRef!) { customer(ref: $ref) { id } }"

FindCustomer: TypeAlias = Callable[[Principal, CustomerRefJson], Awaitable[UUID]]
"""Finds a customer on behalf of a caller; raises when there is none that it may see."""


def create_customer_finder(graph: Callable[[], RequestPipeline]) -> FindCustomer:
    """Finds customers by a query to the graph, so that the services decide who may see whom."""

    async def find_customer(caller: Principal, ref: CustomerRefJson) -> UUID:
        current = graph()
        answer = await execute(
            current.operations.get(FIND_CUSTOMER, None).plan,
            {"ref": ref},
            current.transport,
            ExecutionOptions(headers=current.headers(caller), within_s=current.within_s),
        )
        for error in answer.get("errors", ()):
            raise GraphQLError(error["message"], extensions=error.get("extensions"))
        if customer := answer["data"]["customer"]:
            return UUID(customer["id"])
        identity = ref.get("identity")
        if identity and identity["type"] in ANONYMOUS_TYPES:  # decided for, and not tracked yet
            return derive_customer_id(identity["type"], identity["value"])
        raise UnknownCustomer(
            "There is no such customer.",
            hint="Identify or track them first, or check the id or identity.",
        )

    return find_customer


@dataclass(frozen=True, slots=True)
class LiveSubgraph:
    """A Transport to the schema of live."""

    feed: CustomerFeed
    find_customer: FindCustomer
    masking: Masking = USUAL

    async def fetch(
        self, subgraph: str, body: bytes, headers: Headers, *, is_idempotent: bool
    ) -> SubgraphResponse:
        answer = await schema.answer(*_read_request(body), self._context(headers))
        return SubgraphResponse(200, orjson.dumps(answer))

    @asynccontextmanager
    async def stream(
        self, subgraph: str, body: bytes, headers: Headers
    ) -> AsyncIterator[AsyncIterator[JSON]]:
        """Execute a subscription until the context is left."""
        async with aclosing(
            schema.answers(*_read_request(body), self._context(headers))
        ) as answers:
            yield answers

    def _context(self, headers: Headers) -> LiveContext:
        caller = _principal(headers)
        watch = partial(self.feed.watch, follows_unproved=not caller.own_customer_only)
        return LiveContext(caller, partial(self.find_customer, caller), watch, self.masking)


def _principal(headers: Headers) -> Principal:
    """The caller. The gateway signed the token a moment ago, in this process, and nobody else can
    reach this subgraph: the signature is not verified.
    """
    token = headers["Authorization"].removeprefix("Bearer ")
    return Principal.from_claims(jwt.decode(token, options={"verify_signature": False}))


def _read_request(body: bytes) -> tuple[str, JSON | None]:
    request = orjson.loads(body)
    return request["query"], request.get("variables")
