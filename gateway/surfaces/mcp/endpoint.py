"""The endpoint `/mcp` (Streamable HTTP), as an ASGI application."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from gateway.access.authentication.authenticator import Authenticator
from gateway.access.limits.rate_limits import caller_key
from gateway.pipeline.authorize import token_missing
from gateway.pipeline.pipeline import RequestPipeline
from gateway.surfaces.json_api import format_refusal
from gateway.surfaces.mcp.caller_tools import CallerTools
from gateway.surfaces.mcp.resource_metadata import ResourceMetadata
from gateway.surfaces.mcp.tools import ToolCache
from services.chassis.bodies import BodyLimits, read_body, read_headers
from services.chassis.errors import RaakError

PATH = "/mcp"
SERVER = "gateway.surfaces.mcp.server"
"""Imported at the first message: the SDK takes 0.3 s and 17 MB."""


class OriginNotAllowed(RaakError, code="ORIGIN_NOT_ALLOWED", status=403):
    """A page sends a message to the assistants' endpoint, and pages of its origin may not."""


@dataclass(frozen=True, slots=True)
class McpEndpoint:
    """Answers an authenticated caller's messages, one a request. `graph` gives the graph as it is
    now.
    """

    graph: Callable[[], RequestPipeline]
    authenticator: Authenticator
    limits: BodyLimits
    allows_origin: Callable[[str], bool]
    metadata: ResourceMetadata | None = None
    """Where callers sign in, if they are told."""
    cache: ToolCache = field(default_factory=ToolCache)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one message. There is no stream of the server's own, and no session to end."""
        if scope["method"] != "POST":
            await Response(status_code=405, headers={"Allow": "POST"})(scope, receive, send)
            return
        try:
            tools = await self._authenticate(scope)
            body = await read_body(receive, read_headers(scope), self.limits)
        except RaakError as refusal:
            await self._refuse(refusal)(scope, receive, send)
            return
        server = await asyncio.to_thread(import_module, SERVER)
        await server.serve_http(tools, scope, _replay(body, receive), send)

    def _refuse(self, refusal: RaakError) -> Response:
        response = format_refusal(refusal)
        if self.metadata and refusal.status == 401:
            response.headers["WWW-Authenticate"] = self.metadata.challenge
        return response

    async def _authenticate(self, scope: Scope) -> CallerTools:
        headers = read_headers(scope)
        origin = headers.get("origin")
        if origin is not None and not self.allows_origin(origin):
            raise OriginNotAllowed(
                f"Pages of {origin[:100]!r} may not speak with assistants' tools.",
                hint="Operators: name the origin in RAAK_GATEWAY_CORS_ORIGINS.",
            )
        caller = await self.authenticator.authenticate(headers)
        if caller is None:
            raise token_missing()
        graph = self.graph()
        graph.admission.arrive(caller_key(caller))
        return CallerTools(graph, self.cache.tools(graph), caller)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Receives a body that has been read, and then whatever comes after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
