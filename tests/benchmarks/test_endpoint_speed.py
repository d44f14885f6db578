"""HTTP may cost the gateway 0.1 ms a request at most, of the 0.5 ms it has.

Measured: a hundred requests through the application over ASGI, from the scope a server makes to the
bytes of the answer, before a graph whose answer is constant: headers, token, JSON, form, metrics,
what browsers are told. Not measured: the server, which takes 30 µs, and the graph.
Target: median under 10 ms for the hundred, by POST, and by hash and GET.
Run: pytest -m benchmark --benchmark-compare-fail=median:20%
"""

import asyncio
from collections.abc import Iterator
from contextlib import asynccontextmanager
from dataclasses import fields
from functools import cached_property
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from starlette.types import ASGIApp

from gateway.access.limits.registered_operations import OperationRegistry, hash_document
from gateway.graphql_http.persisted_operations import PersistedOperations
from gateway.pipeline.pipeline import JSON, RequestPipeline
from gateway.pipeline.prepare import PreparedOperation
from gateway.pipeline.request import GraphQLRequest
from gateway.security_headers import add_security_headers
from gateway.settings import GatewaySettings
from gateway.supergraph import EntityIdsHandler
from services.chassis.principal import Principal
from services.chassis.server import ProcessApp, process_app
from services.contracts.enums import Role
from tests.unit.gateway.small_graph import AGENT, InProcess, endpoint, graph

QUERY = "query A($r: CustomerRef!) { customer(ref: $r) { name events nextBestActions } }"
VARIABLES = {"r": {"id": "1"}}
OFFER = {"id": "o1", "title": "Jazz weeks", "score": 0.5, "image": None, "validUntil": "2026-12-01"}
ANSWER = {"data": {"customer": {"name": "Ann", "offers": [OFFER] * 5}}}
REQUESTS = 100
HEADERS = [
    (b"host", b"127.0.0.1:8000"),
    (b"accept", b"application/graphql-response+json"),
    (b"content-type", b"application/json"),
    (b"user-agent", b"bench"),
    (b"authorization", AGENT["Authorization"].encode()),
]


class Constant(RequestPipeline):
    """Plans one operation once, and answers it at once."""

    @cached_property
    def prepared(self) -> PreparedOperation:
        return super().prepare(GraphQLRequest(QUERY), Principal(Role.AGENT, "bench"))

    def prepare(self, request: GraphQLRequest, caller: Principal | None) -> PreparedOperation:
        return self.prepared

    async def answer(
        self,
        prepared: PreparedOperation,
        request: GraphQLRequest,
        caller: Principal | None,
        on_entity_ids: EntityIdsHandler | None = None,
    ) -> JSON:
        return ANSWER


@pytest.fixture
def app() -> ASGIApp:
    """The gateway's application before such a graph."""

    @asynccontextmanager
    async def lifespan(app: ProcessApp) -> Any:
        yield

    small = graph(InProcess())
    constant = Constant(**{part.name: getattr(small, part.name) for part in fields(small)})
    registry = OperationRegistry()
    asyncio.run(registry.adopt([QUERY]))
    process = process_app(GatewaySettings(), lifespan)
    answering = endpoint(
        InProcess(), operations=PersistedOperations(registry), served=lambda: constant
    )
    process.mount_direct("/graphql", answering)
    return add_security_headers(process, (), 0)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """A loop that is closed in the end."""
    with asyncio.Runner() as runner:
        yield runner


async def request(app: ASGIApp, method: str, query_string: bytes, body: bytes) -> bytes:
    """The body of the last of a hundred equal answers."""
    said = b""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        nonlocal said
        said = message.get("body", b"")

    for _ in range(REQUESTS):
        scope = {
            "type": "http",
            "method": method,
            "path": "/graphql",
            "query_string": query_string,
            "headers": HEADERS,
        }
        await app(scope, receive, send)
    return said


BODY = orjson.dumps({"query": QUERY, "variables": VARIABLES})
ADDRESS = f"documentId={hash_document(QUERY)}&variables={quote(orjson.dumps(VARIABLES))}".encode()


@pytest.mark.benchmark
@pytest.mark.parametrize(
    "request_parts", [("POST", b"", BODY), ("GET", ADDRESS, b"")], ids=["post", "hash"]
)
def test_answering_over_http(
    benchmark: BenchmarkFixture,
    app: ASGIApp,
    runner: asyncio.Runner,
    request_parts: tuple[str, bytes, bytes],
) -> None:
    said = benchmark(lambda: runner.run(request(app, *request_parts)))

    assert orjson.loads(said) == ANSWER
