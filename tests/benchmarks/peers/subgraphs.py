"""The two subgraphs every gateway is measured on: customers, and five offers of eight fields.

`python -m tests.benchmarks.peers.subgraphs profile 4101` serves one of them as our services serve
theirs, but to everybody.
"""

import sys
from typing import Any

import strawberry

from services.chassis.graphql import Schema, SubgraphEndpoint
from services.chassis.http_server import Server, make_config
from services.chassis.principal import Principal
from services.chassis.server import collect_garbage_rarely
from services.contracts.enums import Role

OFFERS = 5


@strawberry.federation.type(keys=["id"], name="Customer")
class Person:
    """A customer as profile knows them."""

    id: strawberry.ID

    @classmethod
    def resolve_reference(cls, id: str) -> "Person":
        return cls(id=strawberry.ID(id))

    @strawberry.field
    def name(self) -> str:
        return f"Customer {self.id}"


@strawberry.type
class Profile:
    """The root of profile."""

    @strawberry.field
    def customer(self, id: strawberry.ID) -> Person | None:
        return Person(id=id)


@strawberry.type
class Offer:
    """Eight fields."""

    id: strawberry.ID
    action: str
    title: str
    body: str
    channel: str
    rank: int
    propensity: float
    score: float


@strawberry.federation.type(keys=["id"], name="Customer")
class Decided:
    """A customer as decision knows them."""

    id: strawberry.ID

    @classmethod
    def resolve_reference(cls, id: str) -> "Decided":
        return cls(id=strawberry.ID(id))

    @strawberry.field
    def offers(self, first: int = OFFERS) -> list[Offer] | None:
        return [offer(str(self.id), rank) for rank in range(1, first + 1)]


def offer(customer: str, rank: int) -> Offer:
    """The offer at a rank; the same for a customer every time."""
    return Offer(
        id=strawberry.ID(f"{customer}-{rank}"),
        action=f"action_{rank}",
        title=f"Offer {rank} for you",
        body="What is said to the customer, at about the length that offers usually have.",
        channel="WEB",
        rank=rank,
        propensity=0.5 / rank,
        score=10.25 / rank,
    )


ROOTS: dict[str, dict[str, Any]] = {"profile": {"query": Profile}, "decision": {"types": [Decided]}}
"""What each subgraph's schema is made of."""


def schema(name: str) -> Schema:
    """The schema of one of them; Federation 2.9 is what all composers know."""
    return Schema(federation_version="2.9", **ROOTS[name])


ANYBODY = Principal(Role.AGENT, "anybody")
"""Who asks: the other gateways bring no token."""


if __name__ == "__main__":
    collect_garbage_rarely()
    app = SubgraphEndpoint(schema(sys.argv[1]), lambda caller: None, lambda token: ANYBODY)
    Server(make_config(app, port=int(sys.argv[2]), lifespan="off")).run()
