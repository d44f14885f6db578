"""The gateway's executor against real services: strawberry behind uvicorn, over real sockets."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from graphql import execute_sync, parse
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from strawberry.asgi import GraphQL

from gateway.supergraph import HttpTransport, PlanCache, compose, execute
from tests.unit.gateway.supergraph import shop

SUPERGRAPH = compose(shop.SDLS)
CACHE = PlanCache(SUPERGRAPH)
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


@pytest.fixture(autouse=True, scope="module")
def quiet_services() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class Service:
    """A service that can be told to dawdle or to babble, and remembers the last headers."""

    def __init__(self, graph: ASGIApp) -> None:
        self._graph = graph
        self.delay_s = 0.0
        self.babble: bytes | None = None
        self.headers: dict[str, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.headers = dict(Request(scope).headers)
            await asyncio.sleep(self.delay_s)
            if self.babble is not None:
                await Response(self.babble)(scope, receive, send)
                return
        await self._graph(scope, receive, send)


class Shop:
    """All three services, listening."""

    def __init__(self) -> None:
        self.services = {name: Service(GraphQL(schema)) for name, schema in shop.SCHEMAS.items()}
        self.urls: dict[str, str] = {}
        self._servers: dict[str, tuple[uvicorn.Server, asyncio.Task[None]]] = {}

    async def start(self) -> None:
        for name, service in self.services.items():
            listener = socket.create_server(("127.0.0.1", 0))
            config = uvicorn.Config(service, lifespan="off", log_config=None, ws="none")
            server = uvicorn.Server(config)
            task = asyncio.create_task(server.serve(sockets=[listener]))
            self._servers[name] = server, task
            self.urls[name] = f"http://127.0.0.1:{listener.getsockname()[1]}/graphql"
        while not all(server.started for server, _ in self._servers.values()):
            await asyncio.sleep(0.01)

    async def kill(self, name: str) -> None:
        server, task = self._servers.pop(name)
        server.should_exit = server.force_exit = True
        await task

    async def stop(self) -> None:
        for name in list(self._servers):
            await self.kill(name)


@asynccontextmanager
async def open_shop() -> AsyncIterator[Shop]:
    opened = Shop()
    await opened.start()
    try:
        yield opened
    finally:
        await opened.stop()


async def ask(
    opened: Shop, text: str, variables: dict[str, Any] | None = None, **options: Any
) -> dict[str, Any]:
    async with HttpTransport(opened.urls, **options) as transport:
        return await execute(CACHE.plan(text), variables, transport)


async def test_a_story_over_three_services_equals_the_monoliths() -> None:
    expected = execute_sync(
        shop.monolith(SUPERGRAPH.sdl),
        parse(STORY),
        root_value=shop.MONOLITH_ROOT,
        variable_values={"limit": 2},
    )

    async with open_shop() as opened:
        answer = await ask(opened, STORY, {"limit": 2})

    assert answer == {"data": expected.data}


async def test_a_killed_service_leaves_the_others_answering() -> None:
    async with open_shop() as opened, HttpTransport(opened.urls) as transport:
        planned = CACHE.plan("{ customers { name offers { title } } version }")
        whole = await execute(planned, None, transport)
        await opened.kill("offers")
        partial = await execute(planned, None, transport)

    assert "errors" not in whole
    assert [c["name"] for c in partial["data"]["customers"]] == ["Ada", None, "Cleo"]
    assert [c["offers"] for c in partial["data"]["customers"]] == [None] * 3
    assert partial["data"]["version"] == "1"
    assert {e["extensions"]["code"] for e in partial["errors"]} == {"SUBGRAPH_UNAVAILABLE"}
    assert "127.0.0.1" not in str(partial)


async def test_a_slow_service_meets_its_deadline() -> None:
    async with open_shop() as opened:
        opened.services["offers"].delay_s = 2.0
        answer = await ask(
            opened,
            "{ customers { id offers { title } } }",
            within_s_by_subgraph={"offers": 0.1},
        )

    assert answer["data"]["customers"][0] == {"id": "1", "offers": None}
    assert {e["extensions"]["code"] for e in answer["errors"]} == {"SUBGRAPH_TIMEOUT"}


@pytest.mark.parametrize("babble", [b"", b"<html>", b"[]", b'{"data": []}', b"\xff\xfe", b'{"da'])
async def test_a_babbling_service_is_not_believed(babble: bytes) -> None:
    async with open_shop() as opened:
        opened.services["offers"].babble = babble
        answer = await ask(opened, "{ customers { id offers { title } } }")

    assert answer["data"]["customers"][0] == {"id": "1", "offers": None}
    assert {e["extensions"]["code"] for e in answer["errors"]} == {"SUBGRAPH_INVALID_RESPONSE"}


async def test_an_answer_without_end_is_cut_off() -> None:
    async with open_shop() as opened:
        opened.services["offers"].babble = b"x" * 100_000
        answer = await ask(
            opened, "{ customers { id offers { title } } }", max_response_bytes=10_000
        )

    assert {e["extensions"]["code"] for e in answer["errors"]} == {"SUBGRAPH_INVALID_RESPONSE"}


async def test_each_service_gets_its_own_headers_and_the_trace() -> None:
    planned = CACHE.plan("{ customers { offers { title } } }")
    tracer = TracerProvider().get_tracer("test")

    async with open_shop() as opened, HttpTransport(opened.urls) as transport:
        with tracer.start_as_current_span("request") as span:
            await execute(
                planned,
                None,
                transport,
                headers=lambda name: {"Authorization": f"Bearer for {name}"},
            )
            trace_id = trace.format_trace_id(span.get_span_context().trace_id)

    for name in ("customers", "offers"):
        headers = opened.services[name].headers
        assert headers["authorization"] == f"Bearer for {name}"
        assert trace_id in headers["traceparent"]
    assert opened.services["reviews"].headers == {}
