"""A process as an ASGI application: health, metrics, background work, graceful shutdown."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache, partial
from time import monotonic, perf_counter
from typing import Any, TypeVar

import asyncpg
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    Gauge,
    Histogram,
    generate_latest,
    start_http_server,
)
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.chassis import outbox, telemetry
from services.chassis.background_health import BackgroundHealth
from services.chassis.backlog import Backlog, Count
from services.chassis.bus import Bus, BusUnavailable, open_bus
from services.chassis.clock import Clock, utc_now
from services.chassis.consumer import Consumer, Subscriptions, clean_inbox
from services.chassis.database import OUTAGE_ERRORS, Database, open_database, reason
from services.chassis.errors import RaakError
from services.chassis.graphql import Schema, SubgraphEndpoint
from services.chassis.http_server import run_server
from services.chassis.outbox import Relay
from services.chassis.principal import Principal, ServiceTokenVerifier
from services.chassis.resync import Resync, ResyncSource
from services.chassis.settings import InvalidSettings, ProcessSettings, ServiceSettings
from services.contracts.base import Event

log = logging.getLogger(__name__)

Work = Callable[[], Awaitable[None]]

LEAVING = "The process was told to stop, and answers what still comes."

RESTART_S = 1.0
"""Pause after a failure."""

REQUESTS = Histogram(
    "raak_http_request_seconds",
    "Time to answer HTTP requests",
    ["path", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.1, 0.25, 1, 5),
)


FASTAPI_TELEMETRY_OFF: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
"""It would start by itself with a trace provider, and record paths and exceptions unmasked."""


SettingsT = TypeVar("SettingsT", bound=ProcessSettings)


class MissingSetting(RaakError, code="MISSING_SETTING"):
    """A process cannot start without a setting."""


class UnusablePort(RaakError, code="UNUSABLE_PORT", status=500):
    """A process cannot listen where its settings want it."""


@dataclass(frozen=True, slots=True)
class Foundation:
    """What the chassis has opened for a service before it is composed."""

    database: Database
    bus: Bus
    verifier: ServiceTokenVerifier
    clock: Clock


@dataclass(frozen=True, slots=True)
class Service:
    """A composed service: what the chassis needs to run it."""

    context: Callable[[Principal], Any]
    """Makes the GraphQL context of one request."""
    publishes: Sequence[type[Event]]
    subscriptions: Subscriptions
    background: Mapping[str, Work] = field(default_factory=dict)
    """Background work by name; started again if it fails."""
    router: APIRouter | None = None
    counts: Mapping[Gauge, Count] = field(default_factory=dict)
    """What else waits in it, by the metrics that say so."""
    resync_sources: Mapping[str, ResyncSource] = field(default_factory=dict)
    """What a resync publishes, in this order: state first."""
    not_ready: Callable[[], str | None] = lambda: None
    """Why the service cannot answer yet, beyond its database; None when it can."""


class ProcessApp(FastAPI):
    """An application that bypasses FastAPI's stack (13 µs a request) for some endpoints."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._direct: dict[str, ASGIApp] = {}

    def mount_direct(self, path: str, endpoint: ASGIApp) -> None:
        """Route HTTP requests for exactly this path straight to an endpoint."""
        self._direct[path] = RequestObserver(endpoint, path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._direct.get(scope["path"]) if scope["type"] == "http" else None
        if endpoint is not None:
            await endpoint(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def service_app(
    settings: ServiceSettings,
    schema: Schema,
    compose: Callable[[Foundation], Awaitable[Service]],
    clock: Clock = utc_now,
) -> ProcessApp:
    """The application of one service: `/graphql`, its own routes, health and metrics."""

    @asynccontextmanager
    async def lifespan(app: ProcessApp) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            foundation = await _open_foundation(settings, stack, clock)
            service = await compose(foundation)
            await foundation.bus.ensure_streams([*service.publishes, *service.subscriptions])
            app.mount_direct(
                "/graphql", SubgraphEndpoint(schema, service.context, foundation.verifier.principal)
            )
            if service.router is not None:
                app.include_router(service.router)
            health = BackgroundHealth()
            app.state.not_ready = _not_ready(settings, foundation, service, health)
            work = _work(settings, foundation, service, health)
            await stack.enter_async_context(supervise(work, health))
            yield

    return process_app(settings, lifespan)


async def _open_foundation(
    settings: ServiceSettings, stack: AsyncExitStack, clock: Clock
) -> Foundation:
    if settings.verify_key_file is None or not settings.verify_key_file.is_file():
        raise MissingSetting(
            f"RAAK_VERIFY_KEY_FILE is {str(settings.verify_key_file or '')!r}, which is no file.",
            hint="Name the file with the public key of the gateway's tokens (`raak keys init`).",
        )
    verifier = ServiceTokenVerifier(settings.verify_key_file, settings.process)
    database = await stack.enter_async_context(
        open_database(
            settings.database,
            connections=settings.database_connections,
            silence_s=settings.database_silence_s,
            variable=settings.database_variable,
        )
    )
    bus = await stack.enter_async_context(open_bus(settings.nats_url, process=settings.process))
    return Foundation(database, bus, verifier, clock)


def _work(
    settings: ServiceSettings, base: Foundation, service: Service, health: BackgroundHealth
) -> dict[str, Work]:
    consumers = [
        Consumer(settings.process, event, handler, base.database, base.bus, base.clock, health)
        for event, handler in service.subscriptions.items()
    ]
    names = [consumer.name for consumer in consumers]
    resync = Resync(base.database, service.resync_sources, outbox.publish, base.clock)
    retention = timedelta(hours=settings.outbox_kept_hours)
    return {
        "bus upkeep": base.bus.run,
        "outbox relay": Relay(
            base.database, base.bus, service.publishes, resync.renew, retention
        ).run,
        "resync": resync.run,
        "backlog": Backlog(settings.process, base.database, base.bus, service.counts).run,
        **{consumer.name: consumer.run for consumer in consumers},
        "inbox upkeep": lambda: clean_inbox(base.database, names, base.clock),
        **service.background,
    }


def _not_ready(
    settings: ServiceSettings, base: Foundation, service: Service, health: BackgroundHealth
) -> Callable[[], Awaitable[str | None]]:
    async def not_ready() -> str | None:
        try:
            async with asyncio.timeout(2), base.database.connection() as connection:
                waiting_s = await outbox.measure_age(connection)
        except (RaakError, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return "PostgreSQL does not answer."
        if refusal := base.database.refusal:
            return f"PostgreSQL answers, but does not work ({refusal})."
        if waiting_s > settings.outbox_patience_s:
            return f"The oldest event has waited {waiting_s:.0f} s to reach NATS."
        return service.not_ready() or health.find_standstill()

    return not_ready


@asynccontextmanager
async def supervise(
    work: Mapping[str, Work], health: BackgroundHealth | None = None
) -> AsyncIterator[None]:
    """Run pieces of work beside the block; one that fails is logged and started again."""
    health = health or BackgroundHealth()
    tasks = [
        asyncio.create_task(_keep_going(name, run, health), name=name) for name, run in work.items()
    ]
    try:
        yield
    finally:
        await _end(set(tasks))


async def _end(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel until all have ended: asyncio.wait_for (3.11) and nats-py swallow one now and then."""
    while tasks:
        for task in tasks:
            task.cancel()
        _, tasks = await asyncio.wait(tasks, timeout=0.5)


async def _keep_going(name: str, run: Work, health: BackgroundHealth) -> None:
    loop = asyncio.get_running_loop()
    while True:
        started = monotonic()
        recovery = loop.call_later(health.recovery_time_s(name), health.recover, name)
        try:
            await run()
        except (*OUTAGE_ERRORS, BusUnavailable) as error:
            kind, is_outage = reason(error), True
            fields = {"work": name, "because": kind}
            log.warning("background work waits", extra={"fields": fields})
        except Exception as error:  # whatever it was, the work must go on
            kind, is_outage = type(error).__name__, False
            fields = {"work": name, "because": telemetry.describe(error)}
            log.error("background work failed", extra={"fields": fields})
        else:
            health.recover(name)
            return
        finally:
            recovery.cancel()
        health.fail(name, kind, monotonic() - started, is_outage=is_outage)
        await asyncio.sleep(RESTART_S)


def process_app(
    settings: ProcessSettings,
    lifespan: Callable[[ProcessApp], Any],
) -> ProcessApp:
    """An application with health and metrics; its errors are JSON, bugs are masked."""
    app = ProcessApp(
        title=f"Raak {settings.process}",
        lifespan=_log_startup_failure(_with_telemetry(settings, lifespan)),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        telemetry=FASTAPI_TELEMETRY_OFF,
    )
    app.state.not_ready = _starting
    app.state.is_leaving = False
    app.add_exception_handler(RaakError, _answer_refusal)
    app.add_exception_handler(Exception, _answer_masked)
    app.add_middleware(RequestObserver)
    app.add_api_route("/health/live", _answer_live)
    app.add_api_route("/health/ready", _answer_ready)
    if settings.metrics_port is None and settings.mode == "development":
        app.add_api_route("/metrics", _answer_metrics)
    return app


def _with_telemetry(
    settings: ProcessSettings, lifespan: Callable[[ProcessApp], Any]
) -> Callable[[ProcessApp], Any]:
    """The same lifespan, with /metrics on a port of its own if the settings name one; at its end
    what collectors have yet to get is sent.
    """

    @asynccontextmanager
    async def observed(app: ProcessApp) -> AsyncIterator[Any]:
        with _serve_metrics(settings):
            async with lifespan(app) as state:
                yield {**(state or {}), "leave": partial(_leave, app, settings.leave_s)}
        await asyncio.to_thread(telemetry.end)

    return observed


async def _leave(app: ProcessApp, seconds: int) -> None:
    """Answer on for so long, but say that others should be asked."""
    app.state.is_leaving = True
    await asyncio.sleep(seconds)


@contextmanager
def _serve_metrics(settings: ProcessSettings) -> Iterator[None]:
    if settings.metrics_port is None:
        yield
        return
    try:
        server, thread = start_http_server(settings.metrics_port, settings.host)
    except OSError as error:
        raise UnusablePort(
            f"RAAK_METRICS_PORT {settings.metrics_port} cannot be listened on "
            f"({type(error).__name__}).",
            hint="Give each process on one machine a port of its own.",
        ) from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _log_startup_failure(lifespan: Callable[[ProcessApp], Any]) -> Callable[[ProcessApp], Any]:
    """The same lifespan; if it fails, the log says why in one line."""

    @asynccontextmanager
    async def logged(app: ProcessApp) -> AsyncIterator[Any]:
        try:
            async with lifespan(app) as state:
                yield state
        except RaakError as error:
            log.critical(str(error))
            raise
        except Exception as error:
            log.critical("failed", extra={"fields": {"because": telemetry.describe(error)}})
            raise

    return logged


async def _starting() -> str | None:
    return "Still starting."


async def _answer_live() -> dict[str, str]:
    return {"status": "live"}


async def _answer_ready(request: Request) -> JSONResponse:
    reason = LEAVING if request.app.state.is_leaving else await request.app.state.not_ready()
    if reason is None:
        return JSONResponse({"status": "ready"})
    return JSONResponse({"status": "not ready", "reason": reason}, status_code=503)


async def _answer_metrics() -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def _answer_refusal(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RaakError)
    headers = {"Retry-After": "1"} if error.status == 503 else None
    return JSONResponse({"success": False, "error": error.as_json()}, error.status, headers)


async def _answer_masked(request: Request, error: Exception) -> JSONResponse:
    log.error("a request failed", extra={"fields": {"because": telemetry.describe(error)}})
    masked = {
        "code": "INTERNAL",
        "problem": "Something went wrong here; it has been logged.",
        "hint": "Try again; if it lasts, tell the operator the time.",
    }
    return JSONResponse({"success": False, "error": masked}, 500)


class RequestObserver:
    """ASGI middleware: times requests and traces them, by `path` or the path of their route."""

    def __init__(self, app: ASGIApp, path: str | None = None) -> None:
        self._app = app
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        started = perf_counter()

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if telemetry.tracing():
                await self._traced(scope, receive, watch)
            else:
                await self._app(scope, receive, watch)
        finally:
            _seconds(self._path_of(scope), status).observe(perf_counter() - started)

    async def _traced(self, scope: Scope, receive: Receive, send: Send) -> None:
        traceparent = Headers(scope=scope).get("traceparent")
        with telemetry.span(scope["method"], trace.SpanKind.SERVER, traceparent) as span:
            try:
                await self._app(scope, receive, send)
            finally:
                span.update_name(f"{scope['method']} {self._path_of(scope)}")

    def _path_of(self, scope: Scope) -> str:
        """The path as the route was written, not as it was called: that may name a person."""
        if self._path is not None:
            return self._path
        route = scope.get("route")
        if route is not None:
            return str(route.path)
        is_named = scope.get("endpoint") and not scope["path_params"]
        return str(scope["path"]) if is_named else "unknown"


@lru_cache(maxsize=1_024)
def _seconds(path: str, status: int) -> Histogram:
    """The histogram with its labels bound: binding them costs more than counting."""
    return REQUESTS.labels(path, status)


def collect_garbage_rarely() -> None:
    """Leave out of every collection what was imported: walking its 300,000 objects again stops all
    for 0.4 s. And begin one after 10,000 new objects, not 700, which are the requests of a moment:
    walking what is still needed costs 6% of a gateway.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


def read_settings(kind: type[SettingsT]) -> SettingsT:
    """The settings of this process; where they cannot be used it says why, and exits with 1."""
    try:
        return kind()
    except InvalidSettings as error:
        raise SystemExit(str(error)) from None


def serve(create: Callable[[], ASGIApp], settings: ProcessSettings, **options: Any) -> None:
    """Run a process until a signal stops it, draining requests. `options` are uvicorn's own.

    If it cannot start, it logs the reason in one line and exits with status 1.
    """
    telemetry.setup(settings)
    try:
        settings.check_mode()
        app = create()
    except RaakError as error:
        log.critical(str(error))
        raise SystemExit(1) from None
    collect_garbage_rarely()
    run_server(app, settings, **options)
