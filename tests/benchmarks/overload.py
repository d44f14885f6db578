"""A real gateway before a slow service, each a process of its own: `python overload.py stub 9001`.

The service works on four requests at once, 40 ms each: a hundred a second, however many come.
"""

import asyncio
import sys
from pathlib import Path

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway import app as gateway_app
from gateway.access.shedding import Load, Tuning
from gateway.settings import GatewaySettings

WORKERS, WORK_S = 4, 0.04
CAPACITY = WORKERS / WORK_S
SDL = """
extend schema @link(url: "https://specs.apollo.dev/federation/v2.11", import: ["@key"])
type Query { segments: String, nextBestActions: String }
type Mutation { track: String }
"""
ANSWER = orjson.dumps({"data": {"segments": "a", "nextBestActions": "b", "track": "c"}})


def stub() -> Starlette:
    """The slow service."""
    free = asyncio.Semaphore(WORKERS)

    async def graphql(request: Request) -> Response:
        await request.body()
        async with free:
            await asyncio.sleep(WORK_S)
        return Response(ANSWER, media_type="application/json")

    return Starlette(routes=[Route("/graphql", graphql, methods=["POST"]), _ready()])


def _ready() -> Route:
    async def ready(request: Request) -> Response:
        return Response()

    return Route("/health/ready", ready)


def main(what: str, port: str, *rest: str) -> None:
    """Serve the stub, or the gateway before it, until the process is ended."""
    if what == "stub":
        app = stub()
    else:
        stub_url, signing, verify, shedding = rest
        if shedding == "off":
            endless = Tuning(max_in_flight=10**9, queueing_target_ms=10**9, start=10**9)
            setattr(gateway_app, "Load", lambda _: Load(endless))  # noqa: B010
        settings = GatewaySettings(
            profile_url=stub_url, signing_key_file=Path(signing), verify_key_file=Path(verify)
        )
        app = gateway_app.create(settings, {"profile": SDL})  # type: ignore[assignment]
    uvicorn.run(app, port=int(port), log_level="critical", proxy_headers=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
