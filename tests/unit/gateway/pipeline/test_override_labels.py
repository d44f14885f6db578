"""A field that moves from one service to another moves for as many requests as its label says."""

from dataclasses import replace

import orjson
import pytest

from gateway.pipeline.request import GraphQLRequest
from gateway.settings import GatewaySettings
from gateway.supergraph import SubgraphResponse, compose
from services.chassis.principal import Principal
from services.contracts.enums import Role
from tests.unit.gateway.small_graph import InProcess, graph

AGENT = Principal(Role.AGENT, "tester", policies=frozenset({"staff"}))
LINK = '@link(url: "https://specs.apollo.dev/federation/v2.7", import: ["@override"])'


def moving(label: str) -> dict[str, str]:
    return {
        "old": f"extend schema {LINK} type Query {{ segments: [String!]! }}",
        "new": f"extend schema {LINK} "
        f'type Query {{ segments: [String!]! @override(from: "old", label: "{label}") }}',
    }


class WhoAnswers(InProcess):
    """Services that say who they are."""

    async def fetch(
        self, subgraph: str, body: bytes, headers: object, *, is_idempotent: bool
    ) -> SubgraphResponse:
        return SubgraphResponse(200, orjson.dumps({"data": {"segments": [subgraph]}}))


async def find_service(label: str, *, on: frozenset[str] = frozenset(), drawn: float = 0.0) -> str:
    """The service that answers."""
    supergraph = compose(moving(label))
    served = replace(graph(WhoAnswers()), supergraph=supergraph, labels=on, draw=lambda: drawn)
    question = GraphQLRequest("{ segments }")
    answer = await served.answer(served.prepare(question, AGENT), question, AGENT)
    (name,) = answer["data"]["segments"]
    return str(name)


@pytest.mark.parametrize(("drawn", "service"), [(0.0, "new"), (0.19, "new"), (0.2, "old")])
async def test_a_share_of_the_requests_goes_to_the_new_service(drawn: float, service: str) -> None:
    assert await find_service("percent(20)", drawn=drawn) == service


async def test_a_label_is_switched_on_by_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAAK_GATEWAY_OVERRIDE_LABELS", "new-segments, other")
    on = frozenset(GatewaySettings().override_labels)

    assert await find_service("new-segments") == "old"
    assert await find_service("new-segments", on=on) == "new"
