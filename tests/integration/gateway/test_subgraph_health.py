"""Clocks that differ are named, with the seconds between them."""

from time import time

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.subgraph_health import SubgraphHealth
from tests.integration.gateway.serving import serving
from tests.waiting import until


async def ready(request: Request) -> Response:
    return Response()


@pytest.mark.parametrize(("ours_is", "told"), [(-95, "+95 s"), (95, "-95 s"), (0, None)])
async def test_a_service_whose_clock_differs_from_ours_is_named(
    ours_is: int, told: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    service = Starlette(routes=[Route("/health/ready", ready)])
    async with serving(service) as server, aiohttp.ClientSession() as session:
        await until(server.says_the_time)
        health = SubgraphHealth(session, clock=lambda: time() + ours_is)
        health.watch({"profile": server.url})

        for _ in range(2):
            await health._check("profile", server.url)

    warnings = [record.message for record in caplog.records if "clock" in record.message]
    assert health.statuses["profile"].status == "ready"
    if told is None:
        assert (health.clock_differences(), warnings) == ({}, [])
    else:
        seconds = int(health.clock_differences()["profile"].removesuffix(" s"))
        assert abs(seconds + ours_is) <= 3
        assert warnings == ["the clock of a service differs from ours"]
