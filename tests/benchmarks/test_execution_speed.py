"""Of a subgraph's answer, reading what resolvers returned may not cost more than they do.

Measured: a hundred executions of one parsed document over Strawberry's schema, each a customer's
five offers of eight fields, with graphql-core's executor and with ours, in one run.
Target: ours takes at most half of graphql-core's median.
Run: pytest -m benchmark --benchmark-compare-fail=median:20%
"""

from typing import Any

import pytest
from graphql import execute, parse
from graphql.execution import Executor
from pytest_benchmark.fixture import BenchmarkFixture

from services.chassis.execution import CompiledOperation, PlainFieldExecutor
from tests.benchmarks.peers.subgraphs import schema

EXECUTIONS = 100
DOCUMENT = parse(
    "query ($of: [_Any!]!) { _entities(representations: $of) { ... on Customer"
    " { offers { id action title body channel rank propensity score } } } }"
)
DECISION = schema("decision")._schema
WAYS: dict[str, tuple[type[Executor[Any]], dict[str, Any]]] = {
    "graphql-core": (Executor, {}),
    "ours": (PlainFieldExecutor, {"compiled": CompiledOperation()}),
}


@pytest.mark.benchmark
@pytest.mark.parametrize("way", WAYS)
def test_executing_a_document(benchmark: BenchmarkFixture, way: str) -> None:
    executor, known = WAYS[way]

    def executed() -> Any:
        """The last of a hundred equal results."""
        result: Any = None
        for _ in range(EXECUTIONS):
            asked = {"of": [{"__typename": "Customer", "id": "c1"}]}
            result = execute(
                DECISION, DOCUMENT, variable_values=asked, executor_class=executor, **known
            )
        return result

    result = benchmark(executed)

    assert not result.errors
    assert [len(offer) for offer in result.data["_entities"][0]["offers"]] == [8] * 5
