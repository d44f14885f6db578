"""The gateway's executor against real services: strawberry behind uvicorn, over real sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from graphql import execute_sync, parse
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send
from strawberry.asgi import GraphQL

from gateway.supergraph import ExecutionOptions, HttpTransport, compose, execute, plan_document
from services.chassis import telemetry
from tests.integration.gateway.serving import Server, serving_all
from tests.unit.gateway.supergraph import shop

SUPERGRAPH = compose(shop.SDLS)
STORY = """
query Story($limit: Int!) {
  customers {
    name
    offers(limit: $limit) {
      title shipping
      items { __typename ... on Book { title pages reviews { stars author { name } } } }
    }
    reviews { body }
  }
  version
}
"""


class Service:
    """A service that can be told to dawdle, and remembers the last headers."""

    def __init__(self, graph: ASGIApp) -> None:
        self._graph = graph
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.headers: dict[str, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.headers = dict(Request(scope).headers)
            await self.may_answer.wait()
        await self._graph(scope, receive, send)


@dataclass
class Shop:
    """All three services, listening."""

    services: dict[str, Service]
    servers: dict[str, Server]

    def transport(self, **options: Any) -> HttpTransport:
        """The way to them."""
        urls = {name: f"{server.url}/graphql" for name, server in self.servers.items()}
        return HttpTransport(urls, traceparent=telemetry.traceparent, **options)


@asynccontextmanager
async def open_shop() -> AsyncIterator[Shop]:
    services = {name: Service(GraphQL(schema)) for name, schema in shop.SCHEMAS.items()}
    async with serving_all(services) as servers:
        yield Shop(services, servers)


async def test_a_story_over_three_services_equals_the_monoliths() -> None:
    expected = execute_sync(
        shop.monolith(SUPERGRAPH.sdl),
        parse(STORY),
        root_value=shop.MONOLITH_ROOT,
        variable_values={"limit": 2},
    )

    async with open_shop() as opened, opened.transport() as transport:
        answer = await execute(plan_document(SUPERGRAPH, STORY), {"limit": 2}, transport)

    assert answer == {"data": expected.data}


async def test_a_killed_service_leaves_the_others_answering() -> None:
    async with open_shop() as opened, opened.transport() as transport:
        planned = plan_document(SUPERGRAPH, "{ customers { name offers { title } } version }")
        whole = await execute(planned, None, transport)
        await opened.servers["offers"].stop()
        partial = await execute(planned, None, transport)

    assert "errors" not in whole
    assert [c["name"] for c in partial["data"]["customers"]] == ["Ada", None, "Cleo"]
    assert [c["offers"] for c in partial["data"]["customers"]] == [None] * 3
    assert partial["data"]["version"] == "1"
    assert {e["extensions"]["code"] for e in partial["errors"]} == {"SUBGRAPH_UNAVAILABLE"}
    assert "127.0.0.1" not in str(partial)


async def test_a_slow_service_meets_its_deadline() -> None:
    planned = plan_document(SUPERGRAPH, "{ customers { id offers { title } } }")
    deadlines = {"within_s_by_subgraph": {"offers": 0.1}}

    async with open_shop() as opened, opened.transport(**deadlines) as transport:
        opened.services["offers"].may_answer.clear()
        answer = await execute(planned, None, transport)
        opened.services["offers"].may_answer.set()

    assert answer["data"]["customers"][0] == {"id": "1", "offers": None}
    assert {e["extensions"]["code"] for e in answer["errors"]} == {"SUBGRAPH_TIMEOUT"}


async def test_each_service_gets_its_own_headers_and_the_trace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(telemetry._state, "tracing", True)
    planned = plan_document(SUPERGRAPH, "{ customers { offers { title } } }")
    tracer = TracerProvider().get_tracer("test")

    async with open_shop() as opened, opened.transport() as transport:
        with tracer.start_as_current_span("request") as span:
            await execute(
                planned,
                None,
                transport,
                ExecutionOptions(headers=lambda name: {"Authorization": f"Bearer for {name}"}),
            )
            trace_id = trace.format_trace_id(span.get_span_context().trace_id)

    for name in ("customers", "offers"):
        headers = opened.services[name].headers
        assert headers["authorization"] == f"Bearer for {name}"
        assert trace_id in headers["traceparent"]
    assert opened.services["reviews"].headers == {}
