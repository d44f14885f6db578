"""A real gateway before a slow service, each a process of its own: `python overload.py stub 9001`.

The service works on four requests at once, 40 ms each: a hundred a second, however many come.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from gateway.app import create
from gateway.settings import GatewaySettings
from services.chassis.server import serve

WORKERS, WORK_S = 4, 0.04
CAPACITY = WORKERS / WORK_S
SDL = """
extend schema @link(url: "https://specs.apollo.dev/federation/v2.11", import: ["@key"])
type Query { segments: String, nextBestActions: String }
type Mutation { track: String }
"""
SHEDDING: dict[str, dict[str, Any]] = {
    "on": {},
    "off": {"max_in_flight": 10**9, "queueing_target_ms": 10**9},
}
"""Settings: where no queue is ever too long, the limit grows with what is under way. From where it
begins it may do so a little late, so one request in a hundred is refused all the same.
"""
ANSWER = orjson.dumps({"data": {"segments": "a", "nextBestActions": "b", "track": "c"}})


def stub() -> ASGIApp:
    """The slow service."""
    free = asyncio.Semaphore(WORKERS)

    async def graphql(request: Request) -> Response:
        await request.body()
        async with free:
            await asyncio.sleep(WORK_S)
        return Response(ANSWER, media_type="application/json")

    async def ready(request: Request) -> Response:
        return Response()

    return Starlette(
        routes=[Route("/graphql", graphql, methods=["POST"]), Route("/health/ready", ready)]
    )


def gateway(port: int, stub_url: str, signing_key: str, shedding: str) -> None:
    """Serve the gateway before it; `shedding` is `on` or `off`."""
    settings = GatewaySettings(
        port=port,
        profile_url=stub_url,
        signing_key_file=Path(signing_key),
        caller_key_file=Path(signing_key).with_name("verify.pem"),
        audit_file=Path(os.devnull),
        log_level="ERROR",
        **SHEDDING[shedding],
    )
    serve(lambda: create(settings, {"profile": SDL}), settings)


def main(what: str, port: str, *rest: str) -> None:
    """Serve the stub, or the gateway before it, until the process is ended."""
    if what == "stub":
        uvicorn.run(stub(), port=int(port), log_level="critical")
    else:
        gateway(int(port), *rest)


if __name__ == "__main__":
    main(*sys.argv[1:])
