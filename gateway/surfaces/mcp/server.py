"""The protocol: tools, their results and the offer card, as the SDK has them.

Importing it imports the SDK. The same server stands behind `/mcp`, and behind `raak mcp` on
standard input and output.
"""

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Protocol

from mcp import types as protocol
from mcp.server import Server, ServerRequestContext
from mcp.server.apps import APP_MIME_TYPE, EXTENSION_ID
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from starlette.types import Receive, Scope, Send

from gateway.surfaces.mcp.caller_tools import CallerTools
from gateway.surfaces.mcp.offer_card import OFFER_CARD
from gateway.surfaces.mcp.tools import Tool
from gateway.surfaces.mcp.untrusted_text import NOTICE, fence

JSON = dict[str, Any]
INSTRUCTIONS = (
    "Raak decides what a company should say next to one customer, and why. Every tool acts with "
    f"the rights of whoever you work for. {NOTICE}"
)


Context = ServerRequestContext[JSON]
Page = protocol.PaginatedRequestParams | None


class Backend(Protocol):
    """What answers an assistant."""

    async def list_tools(self) -> protocol.ListToolsResult: ...

    async def call_tool(self, name: str, arguments: JSON) -> protocol.CallToolResult: ...

    async def list_resources(self) -> protocol.ListResourcesResult: ...

    async def read_resource(self, uri: str) -> protocol.ReadResourceResult: ...


def create_server(backend: Backend) -> Server[JSON]:
    """A server that answers by a backend."""

    async def list_tools(context: Context, page: Page) -> protocol.ListToolsResult:
        return await backend.list_tools()

    async def call_tool(
        context: Context, call: protocol.CallToolRequestParams
    ) -> protocol.CallToolResult:
        return await backend.call_tool(call.name, call.arguments or {})

    async def list_resources(context: Context, page: Page) -> protocol.ListResourcesResult:
        return await backend.list_resources()

    async def read_resource(
        context: Context, read: protocol.ReadResourceRequestParams
    ) -> protocol.ReadResourceResult:
        return await backend.read_resource(read.uri)

    server: Server[JSON] = Server(
        "raak",
        version=version("raak"),
        title="Raak",
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_read_resource=read_resource,
    )
    server.extensions = {EXTENSION_ID: {}}
    return server


async def serve_http(tools: CallerTools, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one message of a caller. Nothing of it is remembered for the next."""
    server = create_server(GatewayBackend(tools))
    sessions = StreamableHTTPSessionManager(server, json_response=True, stateless=True)
    async with sessions.run():
        await sessions.handle_request(scope, receive, send)


@dataclass(frozen=True, slots=True)
class GatewayBackend:
    """Answers by the tools of one caller."""

    tools: CallerTools

    async def list_tools(self) -> protocol.ListToolsResult:
        described = [describe_tool(tool) for tool in self.tools.visible()]
        return protocol.ListToolsResult(tools=described, cache_scope="private")

    async def call_tool(self, name: str, arguments: JSON) -> protocol.CallToolResult:
        tool = self.tools.find(name)
        if tool is None:
            raise MCPError(protocol.INVALID_PARAMS, f"Unknown tool: {name[:100]}")
        return describe_result(await self.tools.call(tool, arguments))

    async def list_resources(self) -> protocol.ListResourcesResult:
        page = protocol.Resource(
            uri=OFFER_CARD.uri,
            name=OFFER_CARD.name,
            description=OFFER_CARD.description,
            mime_type=APP_MIME_TYPE,
        )
        return protocol.ListResourcesResult(resources=[page])

    async def read_resource(self, uri: str) -> protocol.ReadResourceResult:
        if uri != OFFER_CARD.uri:
            raise MCPError(protocol.INVALID_PARAMS, f"Unknown resource: {uri[:100]}")
        page = protocol.TextResourceContents(
            uri=uri,
            mime_type=APP_MIME_TYPE,
            text=OFFER_CARD.html,
            _meta={"ui": {"csp": {"connectDomains": [], "resourceDomains": []}}},
        )
        return protocol.ReadResourceResult(contents=[page])


def describe_tool(tool: Tool) -> protocol.Tool:
    """A change counts as destructive, as the protocol presumes: what was said cannot be unsaid."""
    return protocol.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=tool.arguments,
        annotations=protocol.ToolAnnotations(
            read_only_hint=tool.is_read_only,
            destructive_hint=not tool.is_read_only,
            idempotent_hint=tool.is_idempotent,
            open_world_hint=False,
        ),
        _meta={"ui": {"resourceUri": tool.app}} if tool.app else None,
    )


def describe_result(answer: JSON) -> protocol.CallToolResult:
    """An answer as text for the assistant, and as values for a page that shows them."""
    return protocol.CallToolResult(
        content=[protocol.TextContent(text=fence(answer))],
        structured_content={"notice": NOTICE, **answer},
        is_error=bool(answer.get("errors")),
    )
