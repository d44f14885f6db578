"""Real servers in the test's own loop, as our processes run them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.chassis import http_server
from services.chassis.graphql import Schema, SubgraphEndpoint
from services.chassis.principal import Principal, ServiceTokenVerifier
from tests.conftest import free_port
from tests.unit.gateway.small_graph import SCHEMAS
from tests.waiting import until_started


class Prompt(http_server.Server):
    """Stops when it is told to, and not at the next tick."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.told_to_stop = asyncio.Event()

    async def main_loop(self) -> None:
        """Look around as uvicorn does, until then."""
        for counter in count():
            await self.on_tick(counter)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.told_to_stop.wait(), 0.1)
                return


class Server:
    """A server that can be stopped and started again on its port."""

    def __init__(self, app: Any) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._app = app
        self._server: Prompt | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen, if it does not yet."""
        if self._server is not None:
            return
        config = http_server.make_config(self._app, port=self.port, timeout_graceful_shutdown=1)
        self._server = Prompt(config)
        self._task = asyncio.create_task(self._server._serve())
        await until_started(self._server, self._task)

    def says_the_time(self) -> bool:
        """Whether responses have a date, as they do from the server's first tick on."""
        return self._server is not None and bool(self._server.server_state.default_headers)

    def count_requests(self) -> int:
        """How many requests are under way, of which the head has come at least."""
        assert self._server is not None
        cycles = [getattr(one, "cycle", None) for one in self._server.server_state.connections]
        return sum(cycle is not None and not cycle.response_complete for cycle in cycles)

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._server is not None and self._task is not None:
            self._server.told_to_stop.set()
            await self._task
            self._server = None


async def counted(client: httpx.AsyncClient, metric: str) -> float:
    """The value of a metric of the process (`name{label="value"}`): 0 before it is first counted.

    All gateways of a test session share them, so only what a test adds tells anything.
    """
    told = (await client.get("/metrics")).text
    values = (line.removeprefix(metric) for line in told.splitlines() if line.startswith(metric))
    return sum(map(float, values))


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[Server]:
    """A server as long as the block lasts."""
    async with serving_all({"app": app}) as servers:
        yield servers["app"]


@asynccontextmanager
async def serving_all(apps: Mapping[str, Any]) -> AsyncIterator[dict[str, Server]]:
    """Servers, by name, as long as the block lasts; they stop together, for it takes each a while.

    Those that have started are stopped, too, if another one does not start.
    """
    servers = {name: Server(app) for name, app in apps.items()}
    try:
        for server in servers.values():
            await server.start()
        yield servers
    finally:
        await asyncio.gather(*(server.stop() for server in servers.values()))


def small_services(verify_key: Path, callers: list[Principal]) -> dict[str, Starlette]:
    """The services of the small graph, as the chassis serves them; they note who asked."""
    return {name: _service(name, schema, verify_key, callers) for name, schema in SCHEMAS.items()}


def _service(name: str, schema: Schema, verify_key: Path, callers: list[Principal]) -> Starlette:
    def context(principal: Principal) -> dict[str, Any]:
        callers.append(principal)
        return {}

    async def ready(request: Request) -> Response:
        return Response()

    subgraph = SubgraphEndpoint(schema, context, ServiceTokenVerifier(verify_key, name).principal)
    return Starlette(routes=[Route("/graphql", subgraph), Route("/health/ready", ready)])
