"""The gateway may cost 0.5 ms of CPU for an answer of 5 offers with 8 fields each.

Measured: parsing, validating and planning two new operations of the real graph, each apart;
finding a known plan again; and executing a plan over a transport that answers at once with bytes
made before. What is kept of all this is measured in `test_memory.py`.
Targets: planning under 2 ms (parsing and validating are graphql-core's), a known plan under 20 µs,
an execution under 0.2 ms, so that the rest is left to HTTP.
Run: pytest -m benchmark --benchmark-compare-fail=median:20%
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from graphql import parse, validate
from pytest_benchmark.fixture import BenchmarkFixture

from gateway.supergraph import SubgraphResponse, Supergraph, compose, execute, plan, plan_document

LINK = """
extend schema @link(url: "https://specs.apollo.dev/federation/v2.11", import: ["@key"])
"""
SDLS = {
    "profile": LINK
    + """
type Query { customer(id: ID!): Customer }
type Customer @key(fields: "id") { id: ID! name: String! city: String segments: [String!]! }
""",
    "decision": LINK
    + """
type Customer @key(fields: "id") { id: ID! offers(channel: Channel!, limit: Int = 3): [Offer!] }
type Offer {
  id: ID! title: String! reason: String! propensity: Float! score: Float! value: Money!
  validUntil: String image: String
}
type Money { cents: Int! currency: String! }
enum Channel { WEB APP CALL_CENTRE }
""",
}
OPERATION = """
query Offers($id: ID!, $channel: Channel!) {
  customer(id: $id) {
    name city segments
    offers(channel: $channel, limit: 5) {
      id title reason propensity score value { cents currency } validUntil image
    }
  }
}
"""
REAL = {
    "offers": """
query Offers($customer: CustomerRef!, $channel: Channel!) {
  nextBestActions(customer: $customer, channel: $channel, placement: "home", limit: 5) {
    id decidedAt degraded
    propositions { id rank reason propensity score value { cents currency } content trackingCode }
  }
}
""",
    "customer": """
query Desk($ref: CustomerRef!, $channel: Channel!) {
  customer(ref: $ref) {
    id traits { name value } segments { segment { key } } consents { purpose }
    journeys(active: true) { id journey }
    touchpoints(first: 10) { edges { node { channel } } }
    nextBestActions(channel: $channel, placement: "agent", limit: 3) {
      id propositions { id rank reason propensity action { key } }
    }
  }
}
""",
}
"""Five offers of eight fields, which one service answers, and a desk, which all four answer."""
SUBGRAPHS = Path(__file__).parents[2] / "gateway" / "subgraphs"
VARIABLES = {"id": "42", "channel": "WEB"}
OFFERS = [
    {
        "id": f"offer-{n}",
        "title": f"Offer number {n}",
        "reason": "Looked at mortgages three times this week",
        "propensity": 0.0123 * n,
        "score": 12.5 / (n + 1),
        "value": {"cents": 1_999 + n, "currency": "EUR"},
        "validUntil": "2026-12-31T23:59:59Z",
        "image": None,
    }
    for n in range(5)
]
CUSTOMER = {"name": "Ada", "city": "Delft", "segments": ["loyal"], "raak_id": "42"}
ANSWERS = {
    "profile": SubgraphResponse(200, orjson.dumps({"data": {"customer": CUSTOMER}})),
    "decision": SubgraphResponse(200, orjson.dumps({"data": {"_entities": [{"offers": OFFERS}]}})),
}


class Canned:
    """A transport that knows the answers."""

    async def fetch(
        self, subgraph: str, body: bytes, headers: Mapping[str, str], *, is_idempotent: bool
    ) -> SubgraphResponse:
        return ANSWERS[subgraph]

    def stream(self, subgraph: str, body: bytes, headers: Mapping[str, str]) -> Any:
        raise AssertionError("nobody subscribes here")


def real_graph() -> Supergraph:
    """The graph of the four services."""
    return compose({path.stem: path.read_text() for path in SUBGRAPHS.glob("*.graphql")})


@pytest.mark.benchmark
def test_composing(benchmark: BenchmarkFixture) -> None:
    supergraph = benchmark(compose, SDLS)

    assert "type Offer" in supergraph.sdl


@pytest.mark.benchmark
@pytest.mark.parametrize("name", REAL)
def test_parsing_an_operation_of_the_real_graph(benchmark: BenchmarkFixture, name: str) -> None:
    assert benchmark(parse, REAL[name]).definitions


@pytest.mark.benchmark
@pytest.mark.parametrize("name", REAL)
def test_validating_an_operation_of_the_real_graph(benchmark: BenchmarkFixture, name: str) -> None:
    assert benchmark(validate, real_graph().schema, parse(REAL[name])) == []


@pytest.mark.benchmark
@pytest.mark.parametrize(("name", "services"), [("offers", 1), ("customer", 4)])
def test_planning_a_valid_operation_of_the_real_graph(
    benchmark: BenchmarkFixture, name: str, services: int
) -> None:
    supergraph, document = real_graph(), parse(REAL[name])

    planned = benchmark(plan, supergraph, document)

    assert len(planned.variant({}).stages[0].fetches) == services


@pytest.mark.benchmark
def test_executing_five_offers_of_eight_fields(benchmark: BenchmarkFixture) -> None:
    planned = plan_document(compose(SDLS), OPERATION)
    transport = Canned()
    loop = asyncio.new_event_loop()

    async def hundred_times() -> bytes:
        for _ in range(100):
            answer = await execute(planned, VARIABLES, transport)
            written = orjson.dumps(answer)
        return written

    written = benchmark(lambda: loop.run_until_complete(hundred_times()))
    loop.close()

    assert orjson.loads(written)["data"]["customer"]["offers"] == OFFERS
