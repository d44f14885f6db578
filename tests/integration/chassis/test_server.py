"""A process: its health, its metrics, its errors, its beginning and its end."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from services.chassis import background_health, server
from services.chassis.background_health import BackgroundHealth
from services.chassis.database import Database
from services.chassis.graphql import Schema
from services.chassis.server import supervise
from tests.conftest import free_port
from tests.integration.chassis import sample_service as oven
from tests.integration.chassis.outages import Restartable
from tests.waiting import until, until_blocked

PROJECT = Path(__file__).parents[3]


@asynccontextmanager
async def client_of(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application that has started."""
    async with app.router.lifespan_context(app), unstarted(app) as client:
        yield client


def unstarted(app: FastAPI) -> httpx.AsyncClient:
    """A client of an application that has not."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://oven")


@pytest.fixture
async def client(
    database_url: str, nats_url: str, key_files: tuple[Path, Path]
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a running oven."""
    app = oven.create(database_url=database_url, nats_url=nats_url, verify_key_file=key_files[1])
    async with client_of(app) as client:
        yield client


async def test_a_process_is_live_before_it_is_ready() -> None:
    async with unstarted(oven.create()) as client:
        live, ready = await client.get("/health/live"), await client.get("/health/ready")

    assert live.json() == {"status": "live"}
    assert ready.status_code == 503
    assert ready.json() == {"status": "not ready", "reason": "Still starting."}


async def test_a_process_that_has_started_is_ready(client: httpx.AsyncClient) -> None:
    ready = await client.get("/health/ready")

    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})


async def test_without_postgresql_a_process_lives_and_is_not_ready_until_it_is_back(
    postgres: Restartable, nats_url: str, key_files: tuple[Path, Path]
) -> None:
    app = oven.create(
        database_url=f"{postgres.url}/postgres", nats_url=nats_url, verify_key_file=key_files[1]
    )
    async with client_of(app) as client:
        await postgres.stop()

        ready, live = await client.get("/health/ready"), await client.get("/health/live")
        assert (ready.status_code, live.status_code) == (503, 200)
        assert ready.json()["reason"] == "PostgreSQL does not answer."

        await postgres.start()

        async def is_ready() -> bool:
            return (await client.get("/health/ready")).status_code == 200

        await until(is_ready)


async def test_work_that_fails_again_and_again_is_told_of_until_it_gets_on(
    database_url: str,
    nats_url: str,
    key_files: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "RESTART_S", 0.01)
    monkeypatch.setattr(background_health, "QUIET_S", 0.2)
    mended = asyncio.Event()

    async def bake() -> None:
        if not mended.is_set():
            raise ValueError("secret")
        await asyncio.Event().wait()

    async def compose(base: server.Foundation) -> server.Service:
        return replace(await oven.compose(base), background={"baking": bake})

    settings = oven.OvenSettings(
        database_url=database_url, nats_url=nats_url, verify_key_file=key_files[1]
    )
    app = server.service_app(settings, Schema(query=oven.Query), compose)
    async with client_of(app) as client:

        async def stands_still() -> bool:
            return (await client.get("/health/ready")).status_code == 503

        await until(stands_still)
        reason = (await client.get("/health/ready")).json()["reason"]
        failures = (await client.get("/metrics")).text
        mended.set()

        async def gets_on() -> bool:
            return not await stands_still()

        await until(gets_on)

    assert reason.startswith("The background work 'baking' has made no progress for ")
    assert reason.endswith("(ValueError).")
    [number] = re.findall(r'^raak_background_failures\{work="baking"\} (.+)$', failures, re.M)
    assert float(number) >= background_health.FAILURES_IN_A_ROW


async def test_a_nats_that_stays_away_is_told_of_until_it_is_back(
    database_url: str,
    nats: Restartable,
    key_files: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "BackgroundHealth", partial(BackgroundHealth, standstill_s=0.5))
    monkeypatch.setattr(background_health, "QUIET_S", 0.2)
    app = oven.create(database_url=database_url, nats_url=nats.url, verify_key_file=key_files[1])
    async with client_of(app) as client:

        async def has_status(status: int) -> bool:
            return (await client.get("/health/ready")).status_code == status

        await nats.stop()
        await until(lambda: has_status(503))
        reason = (await client.get("/health/ready")).json()["reason"]
        await nats.start()
        await until(lambda: has_status(200))

    assert reason.startswith("The background work 'bus upkeep' has made no progress for ")


async def test_our_errors_are_told_with_their_status_and_when_to_try_again(
    client: httpx.AsyncClient,
) -> None:
    cold = await client.get("/cold")

    assert cold.status_code == 503
    assert cold.headers["retry-after"] == "1"
    assert cold.json()["error"] == {
        "code": "OVEN_COLD",
        "problem": "The oven is cold.",
        "hint": "Heat it.",
    }


async def test_a_bug_is_masked_and_logged_without_its_text(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    bug = await client.get("/bug/ann")

    assert bug.status_code == 500
    assert bug.json()["error"]["code"] == "INTERNAL"
    assert "secret" not in bug.text
    assert "secret" not in str([record.__dict__ for record in caplog.records])
    assert any(
        "ValueError at" in str(record.__dict__.get("fields", "")) for record in caplog.records
    )


async def test_metrics_count_requests_by_route_and_never_by_what_was_typed(
    client: httpx.AsyncClient,
) -> None:
    for path in ("/cold", "/bug/ann@example.com", "/health/live", "/nothing/bob@example.com"):
        await client.get(path)

    metrics = (await client.get("/metrics")).text

    assert 'raak_http_request_seconds_count{path="/cold",status="503"} ' in metrics
    assert 'raak_http_request_seconds_count{path="/bug/{name}",status="500"} ' in metrics
    assert 'raak_http_request_seconds_count{path="unknown",status="404"} ' in metrics
    assert "example.com" not in metrics


async def test_work_that_fails_is_started_again(caplog: pytest.LogCaptureFixture) -> None:
    tries: list[int] = []
    done = asyncio.Event()

    async def moody() -> None:
        tries.append(1)
        if len(tries) < 2:
            raise ValueError("secret")
        done.set()
        await asyncio.Event().wait()

    async with supervise({"moody": moody}), asyncio.timeout(30):
        await done.wait()

    assert len(tries) == 2
    assert "secret" not in str([record.__dict__ for record in caplog.records])


@asynccontextmanager
async def process(**settings: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """An oven in a process of its own, which ends with the block at the latest."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.integration.chassis.sample_service",
        cwd=PROJECT,
        env={**os.environ, **{f"RAAK_OVEN_{k.upper()}": v for k, v in settings.items()}},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


async def test_a_request_under_way_at_the_end_is_still_answered(
    database: Database, database_url: str, nats_url: str, key_files: tuple[Path, Path]
) -> None:
    port = str(free_port())
    settings = {"database_url": database_url, "nats_url": nats_url, "port": port}
    async with (
        process(verify_key_file=str(key_files[1]), **settings) as child,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):

        async def is_ready() -> bool:
            try:
                return (await client.get("/health/ready")).status_code == 200
            except httpx.TransportError:
                return False

        await until(is_ready)
        async with database.transaction() as connection, httpx.AsyncClient() as late:

            async def listens_no_more() -> bool:
                with suppress(httpx.TransportError):
                    await late.get(f"http://127.0.0.1:{port}/health/live")
                    return False
                return True

            await connection.execute("LOCK TABLE told")
            under_way = asyncio.create_task(client.get("/slow"))
            await until_blocked(database)
            child.send_signal(signal.SIGTERM)
            await until(listens_no_more)
        assert (await under_way).json() == {"bread": "done"}
        async with asyncio.timeout(30):
            await child.wait()
        assert child.returncode in (0, -signal.SIGTERM)


async def test_a_process_that_leaves_answers_on_and_says_that_others_should_be_asked(
    database_url: str, nats_url: str, key_files: tuple[Path, Path]
) -> None:
    port = str(free_port())
    settings = {"database_url": database_url, "nats_url": nats_url, "port": port, "leave_s": "300"}
    async with (
        process(verify_key_file=str(key_files[1]), **settings) as child,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):

        async def is_ready() -> bool:
            with suppress(httpx.TransportError):
                return (await client.get("/health/ready")).status_code == 200
            return False

        async def is_leaving() -> bool:
            return not await is_ready()

        await until(is_ready)
        child.send_signal(signal.SIGTERM)
        await until(is_leaving)

        assert (await client.get("/health/ready")).json()["reason"] == server.LEAVING
        async with httpx.AsyncClient() as new:  # on a connection of its own
            assert (await new.get(f"http://127.0.0.1:{port}/health/live")).status_code == 200


async def test_a_process_that_cannot_start_says_why_in_one_line() -> None:
    async with process(port=str(free_port())) as child, asyncio.timeout(30):
        _, output = await child.communicate()

    lines = [json.loads(line) for line in output.decode().splitlines()]
    [why] = [line["message"] for line in lines if line["level"] == "CRITICAL"]
    assert why.startswith("RAAK_VERIFY_KEY_FILE is '', which is no file. Name the file")
    assert "Traceback" not in output.decode()
    assert child.returncode not in (0, None)
