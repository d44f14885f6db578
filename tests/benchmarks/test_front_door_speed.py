"""What the limits cost a request that is within them.

Measured: the guard with an application that answers at once, and without it; the admission of an
operation (a token of the caller's bucket, a ticket, its return); pricing a known operation; the
variables; for a new operation measuring its text and tree, and pricing it; and where only
registered documents are answered, finding that one is: as it was registered, laid out anew and
seen before, and laid out anew for the first time.
Targets: guard and admission together 10 µs, pricing a known operation 5 µs, and a document made to
grow exponentially refused in twice the time it takes to parse it.
Run: pytest -m benchmark tests/benchmarks/test_front_door_speed.py --benchmark-columns=min,median
"""

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from itertools import count
from typing import Any

import pytest
from graphql import build_schema, parse
from pytest_benchmark.fixture import BenchmarkFixture
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.access.authentication.attempts import FailedAuthentications
from gateway.access.authentication.request_guard import ClientAddresses, RequestGuard
from gateway.access.limits.cost import CostModel, OperationCost
from gateway.access.limits.load_shedding import Admission, LoadShedder, Priorities
from gateway.access.limits.operation_limits import (
    LimitExceeded,
    OperationLimits,
    check_text,
    check_variables,
)
from gateway.access.limits.rate_limits import RateLimiter, RateLimits, caller_key
from gateway.access.limits.registered_operations import OperationRegistry
from gateway.access.selections import visit_operation
from gateway.pipeline.authorize import RegistrationCheck
from gateway.pipeline.operation_facts import collect_facts
from gateway.pipeline.parse import parse_document
from gateway.supergraph import Operation
from services.chassis.principal import Principal
from services.contracts.enums import Role

SCHEMA = build_schema("""
type Query { customer(id: ID!): Customer }
type Customer { id: ID! name: String offers(limit: Int): [Offer!] events(first: Int): Events }
type Events { edges: [Edge!]! }
type Edge { node: Offer! }
type Offer { id: ID! title: String reason: String value: Money customer: Customer }
type Money { cents: Int! currency: String! }
""")
OPERATION = """
query Offers($id: ID!, $limit: Int = 5, $first: Int) {
  customer(id: $id) {
    id name
    offers(limit: $limit) { id title reason value { cents currency } }
    events(first: $first) { edges { node { id title value { cents } } } }
  }
}
"""
VARIABLES = {"id": "42", "limit": 5, "first": 20}
DOUBLING = (
    "{ customer(id: 1) { ...F0 } } "
    + " ".join(
        f"fragment F{n} on Customer {{ a: offers {{ customer {{ ...F{n + 1} }} }}"
        f" b: offers {{ customer {{ ...F{n + 1} }} }} }}"
        for n in range(49)
    )
    + " fragment F49 on Customer { id }"
)
CALLER = Principal(Role.APP, "shop", (("type", "email"), ("value", "ann@example.com")))
SCOPE: Scope = {
    "type": "http",
    "path": "/graphql",
    "client": ("203.0.113.9", 50_000),
    "headers": [
        (b"host", b"api.example"),
        (b"user-agent", b"benchmark"),
        (b"accept", b"application/graphql-response+json"),
        (b"content-type", b"application/json"),
        (b"content-length", b"300"),
        (b"authorization", b"Bearer " + b"x" * 400),
    ],
}
OK: list[Message] = [
    {"type": "http.response.start", "status": 200, "headers": []},
    {"type": "http.response.body", "body": b"{}"},
]


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that answers at once."""
    for message in OK:
        await send(message)


async def drop(message: Message) -> None:
    """A client that looks at nothing."""


async def nothing() -> Message:
    return {"type": "http.disconnect"}


def times(app: ASGIApp, requests: int = 100) -> Callable[[], None]:
    """That many requests, so that what the loop costs to start does not count."""

    async def run() -> None:
        for _ in range(requests):
            await app(dict(SCOPE), nothing, drop)

    return lambda: asyncio.run(run())


@pytest.mark.benchmark
@pytest.mark.parametrize("is_guarded", [False, True], ids=["bare", "guarded"])
def test_a_hundred_requests(benchmark: BenchmarkFixture, is_guarded: bool) -> None:
    guard = RequestGuard(
        bare, Admission.usual(), FailedAuthentications(RateLimits()), ClientAddresses()
    )

    benchmark(times(guard if is_guarded else bare))


@pytest.mark.benchmark
def test_admitting_an_operation(benchmark: BenchmarkFixture) -> None:
    endless = RateLimiter(RateLimits(rate_per_s=1e9, burst=10**9))
    admission = Admission(endless, LoadShedder(), Priorities.read())
    work = admission.classify({"Query.nextBestActions"})

    def admit() -> None:
        admission.arrive(caller_key(CALLER))
        with admission.enter(caller_key(CALLER), work, 20) as ticket:
            ticket.is_whole = True

    benchmark(admit)


def price(text: str) -> OperationCost:
    operation = Operation.choose(parse(text))
    root, _ = visit_operation(operation, SCHEMA)
    return CostModel(SCHEMA).price(root, operation.defaults)


@pytest.mark.benchmark
def test_pricing_a_known_operation(benchmark: BenchmarkFixture) -> None:
    known = price(OPERATION)

    assert benchmark(known, VARIABLES) == 1 + 5 * 2 + 1 + 20 * 3


@pytest.mark.benchmark
def test_pricing_a_new_operation(benchmark: BenchmarkFixture) -> None:
    benchmark(price, OPERATION)


@pytest.mark.benchmark
@pytest.mark.parametrize("layout", ["as registered", "seen before", "new"])
def test_finding_a_registered_document(benchmark: BenchmarkFixture, layout: str) -> None:
    registry = OperationRegistry()
    asyncio.run(registry.adopt([OPERATION]))
    check = RegistrationCheck(registry, OperationLimits(), size=1_000)
    numbers = count()

    def find() -> None:
        spaces = " " * (next(numbers) % 900) if layout == "new" else ""
        text = OPERATION if layout == "as registered" else f"{OPERATION}\n# {spaces}laid out anew"
        check.check(text, nullcontext)

    if layout == "new":
        benchmark.pedantic(find, rounds=800)  # type: ignore[no-untyped-call]
    else:
        benchmark(find)


@pytest.mark.benchmark
def test_measuring_variables(benchmark: BenchmarkFixture) -> None:
    benchmark(check_variables, VARIABLES, OperationLimits())


@pytest.mark.benchmark
def test_measuring_a_text(benchmark: BenchmarkFixture) -> None:
    benchmark(check_text, OPERATION, OperationLimits())


@pytest.mark.benchmark
def test_refusing_a_document_that_grows_exponentially(benchmark: BenchmarkFixture) -> None:
    def refused() -> Any:
        with pytest.raises(LimitExceeded):
            collect_facts(
                parse_document(DOUBLING, OperationLimits()), None, SCHEMA, OperationLimits()
            )

    benchmark(refused)
