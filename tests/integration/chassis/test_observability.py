"""What an operator sees of a process: what waits in it, its metrics on a port of their own, and
traces and metrics at a collector.
"""

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client import REGISTRY, Gauge
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.chassis import outbox
from services.chassis.backlog import Backlog
from services.chassis.bus import Bus
from services.chassis.consumer import Consumer
from services.chassis.database import Database
from services.chassis.server import UnusablePort, supervise
from tests.conftest import free_port
from tests.integration.chassis import sample_service as oven
from tests.integration.chassis.sample_events import Spoken, outgoing, spoken, write_down
from tests.integration.chassis.test_server import process, unstarted
from tests.integration.gateway.serving import serving
from tests.waiting import until

BREAD = Gauge("raak_test_bread", "Of a service's own")


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


async def test_what_waits_in_a_service_is_measured(database: Database, bus: Bus) -> None:
    await bus.ensure_streams([Spoken])

    async def count(connection: Any) -> int:
        return int(await connection.fetchval("SELECT 7"))

    backlog = Backlog("listener", database, bus, {BREAD: count})
    async with database.transaction() as connection:
        await outbox.publish(connection, [spoken("one"), spoken("two")])
    async with supervise({"c": Consumer("listener", Spoken, write_down, database, bus).run}):
        await bus.publish(outgoing([spoken("poison")]))

        async def is_dead() -> bool:
            return len(await bus.list_dead_letters()) == 1

        await until(is_dead)
        await backlog.measure()

        lag = 'raak_consumer_lag{consumer="listener-tests_spoken_v1"}'
        assert value("raak_outbox_backlog") == 2
        assert value("raak_consumer_lag", consumer="listener-tests_spoken_v1") == 0, lag
        assert value("raak_dead_letters", service="listener") == 1
        assert value("raak_test_bread") == 7

    # The consumer of NATS is still there, and nobody takes what comes now.
    await bus.publish(outgoing([spoken("three"), spoken("four"), spoken("five")]))
    await backlog.measure()
    assert value("raak_consumer_lag", consumer="listener-tests_spoken_v1") == 3


async def test_connections_are_counted_when_they_are_asked_for(
    database: Database, bus: Bus
) -> None:
    Backlog("listener", database, bus)._watch_pool()

    async with database.connection():
        assert value("raak_database_connections", state="in use") == 1
    assert value("raak_database_connections", state="in use") == 0
    assert value("raak_database_connections", state="most") == 8
    assert value("raak_database_waiting") == 0


@pytest.fixture
async def settings(database_url: str, nats_url: str, key_files: tuple[Path, Path]) -> Any:
    return {"database_url": database_url, "nats_url": nats_url, "verify_key_file": key_files[1]}


async def test_metrics_are_where_the_settings_say_and_nowhere_else(
    settings: dict[str, Any],
) -> None:
    port = free_port()
    app = oven.create(metrics_port=port, **settings)

    async with app.router.lifespan_context(app), unstarted(app) as client:
        assert (await client.get("/metrics")).status_code == 404
        async with httpx.AsyncClient(trust_env=False) as inner:
            metrics = await inner.get(f"http://127.0.0.1:{port}/metrics")
    assert "raak_outbox_backlog" in metrics.text


async def test_in_production_what_answers_clients_has_no_metrics(settings: dict[str, Any]) -> None:
    async with unstarted(oven.create(mode="production", **settings)) as client:
        assert (await client.get("/metrics")).status_code == 404
        assert (await client.get("/health/live")).status_code == 200


async def test_a_port_that_is_taken_is_named(settings: dict[str, Any]) -> None:
    async with serving(Starlette()) as other:
        app = oven.create(metrics_port=other.port, **settings)

        with pytest.raises(UnusablePort, match=f"RAAK_METRICS_PORT {other.port}"):
            async with app.router.lifespan_context(app):
                pass


class Collector:
    """Takes in what the standard has clients send, and says what came."""

    def __init__(self) -> None:
        self.spans: set[str] = set()
        self.metrics: dict[str, str] = {}
        """The name of who sent it, by the name of the metric."""

    async def take_traces(self, request: Request) -> Response:
        sent = ExportTraceServiceRequest.FromString(await request.body())
        for one in sent.resource_spans:
            self.spans |= {span.name for scope in one.scope_spans for span in scope.spans}
        return Response()

    async def take_metrics(self, request: Request) -> Response:
        sent = ExportMetricsServiceRequest.FromString(await request.body())
        for one in sent.resource_metrics:
            attributes = {a.key: a.value.string_value for a in one.resource.attributes}
            self.metrics |= {
                metric.name: attributes["service.name"]
                for scope in one.scope_metrics
                for metric in scope.metrics
            }
        return Response()

    def routes(self) -> list[Route]:
        return [
            Route("/v1/traces", self.take_traces, methods=["POST"]),
            Route("/v1/metrics", self.take_metrics, methods=["POST"]),
        ]


@pytest.fixture
def tuned(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "3600000")  # they come at the end


@pytest.mark.usefixtures("tuned")
async def test_a_collector_gets_traces_and_at_the_end_what_was_counted(
    settings: dict[str, Any],
) -> None:
    collector, port = Collector(), free_port()
    async with serving(Starlette(routes=collector.routes())) as server:
        variables = {name: str(value) for name, value in settings.items()}
        async with process(port=str(port), otlp_endpoint=server.url, **variables) as child:
            async with httpx.AsyncClient(trust_env=False) as client:

                async def is_traced() -> bool:
                    with suppress(httpx.TransportError):
                        await client.get(f"http://127.0.0.1:{port}/health/live")
                    return "GET /health/live" in collector.spans

                await until(is_traced)
            child.send_signal(signal.SIGTERM)
            await child.communicate()

    assert collector.metrics["raak_http_request_seconds"] == "raak-oven"
    assert "raak_outbox_backlog" in collector.metrics


def test_asyncpgs_pool_says_what_the_metrics_need() -> None:
    assert {"get_size", "get_idle_size", "get_max_size"} <= set(dir(asyncpg.Pool))
