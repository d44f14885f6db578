"""`raak mcp`: an assistant on this machine speaks with a gateway by standard input and output."""

import asyncio
import logging
from dataclasses import dataclass

import httpx2
from mcp import types as protocol
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.stdio import stdio_server

from gateway.surfaces.mcp.endpoint import PATH
from gateway.surfaces.mcp.server import JSON, create_server
from infra.graph_client import GatewayUnreachable

TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class RemoteBackend:
    """Answers by the tools of a gateway."""

    client: Client

    async def list_tools(self) -> protocol.ListToolsResult:
        return await self.client.list_tools()

    async def call_tool(self, name: str, arguments: JSON) -> protocol.CallToolResult:
        return await self.client.call_tool(name, arguments)

    async def list_resources(self) -> protocol.ListResourcesResult:
        return await self.client.list_resources()

    async def read_resource(self, uri: str) -> protocol.ReadResourceResult:
        return await self.client.read_resource(uri)


def relay(url: str, token: str) -> None:
    """Serve standard input and output until it ends; raises GatewayUnreachable.

    Standard output belongs to the protocol, so everything else goes to standard error.
    """
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(_relay(f"{url.rstrip('/')}{PATH}", token))


async def _relay(address: str, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(headers=headers, timeout=TIMEOUT_S, trust_env=False) as http:
        await _check(http, address)
        async with Client(streamable_http_client(address, http_client=http)) as client:
            server = create_server(RemoteBackend(client))
            async with stdio_server() as (incoming, outgoing):
                await server.run(incoming, outgoing, server.create_initialization_options())


async def _check(http: httpx2.AsyncClient, address: str) -> None:
    """Ask once, since an assistant shows little of what a server could not begin with."""
    ping = {"jsonrpc": "2.0", "id": 0, "method": "ping"}
    accept = {"Accept": "application/json, text/event-stream"}
    try:
        response = await http.post(address, json=ping, headers=accept)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise GatewayUnreachable(
            f"No gateway answers at {address} ({type(error).__name__}).",
            hint="Is Raak up? Start it with `raak up`, or give --url.",
        ) from None
    if response.is_success:
        return
    try:
        refusal = response.json()["error"]
        problem, hint = str(refusal["problem"]), str(refusal["hint"])
    except (ValueError, LookupError, TypeError):
        problem, hint = (
            f"{address} answers {response.status_code}.",
            "Give --url a gateway's address.",
        )
    raise GatewayUnreachable(problem, hint=hint)
