"""A process as an ASGI application: health, metrics, background work, and a quiet end."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from time import monotonic, perf_counter
from typing import Any

import asyncpg
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from prometheus_client import CONTENT_TYPE_LATEST, Histogram, generate_latest
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.chassis import outbox, telemetry
from services.chassis.background_health import Progress
from services.chassis.bus import Bus, BusUnavailable, open_bus
from services.chassis.clock import Clock, utc_now
from services.chassis.consumer import Consumer, Subscriptions, keep_inbox_small
from services.chassis.database import AWAY, Database, open_database, reason
from services.chassis.errors import RaakError
from services.chassis.graphql import Schema, Subgraph
from services.chassis.http_server import listen
from services.chassis.outbox import Relay
from services.chassis.principal import Principal, Verifier
from services.chassis.resync import Resync, Source
from services.chassis.settings import ProcessSettings, ServiceSettings
from services.contracts.base import Event

log = logging.getLogger(__name__)

Work = Callable[[], Awaitable[None]]

RESTART_S = 1.0
"""How long work that has failed pauses."""

REQUESTS = Histogram(
    "raak_http_request_seconds",
    "Time to answer HTTP requests",
    ["path", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.1, 0.25, 1, 5),
)


NO_TELEMETRY_OF_FASTAPIS: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
"""It starts by itself with a trace provider, and tells paths and exceptions as they were typed."""


class MissingSetting(RaakError):
    """A process cannot start without a setting."""

    code = "MISSING_SETTING"


@dataclass(frozen=True, slots=True)
class Foundation:
    """What the chassis has opened for a service before it is composed."""

    database: Database
    bus: Bus
    verifier: Verifier
    clock: Clock


@dataclass(frozen=True, slots=True)
class Service:
    """A composed service: what the chassis needs to run it."""

    context: Callable[[Principal], Any]
    """Makes the GraphQL context of one request."""
    publishes: Sequence[type[Event]]
    subscriptions: Subscriptions
    background: Mapping[str, Work] = field(default_factory=dict)
    """Work that goes on while the process runs, by name; started again if it fails."""
    router: APIRouter | None = None
    told_again: Mapping[str, Source] = field(default_factory=dict)
    """What a resync tells, in this order: state first."""
    not_ready: Callable[[], str | None] = lambda: None
    """Why the service cannot answer yet, beyond its database; None when it can."""


class Process(FastAPI):
    """An application some of whose endpoints are reached directly.

    FastAPI's stack and router cost 13 µs a request, which they spend on nothing a GraphQL endpoint
    needs.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._direct: dict[str, ASGIApp] = {}

    def reach(self, path: str, endpoint: ASGIApp) -> None:
        """Let HTTP requests for exactly this path go straight to an endpoint."""
        self._direct[path] = Observed(endpoint, path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to its endpoint."""
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
) -> Process:
    """The application of one service: `/graphql`, its own routes, health and metrics."""

    @asynccontextmanager
    async def lifespan(app: Process) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            foundation = await _lay(settings, stack, clock)
            service = await compose(foundation)
            await foundation.bus.keep([*service.publishes, *service.subscriptions])
            app.reach("/graphql", Subgraph(schema, service.context, foundation.verifier.principal))
            if service.router is not None:
                app.include_router(service.router)
            progress = Progress()
            app.state.not_ready = _not_ready(settings, foundation, service, progress)
            work = _work(settings, foundation, service, progress)
            await stack.enter_async_context(supervised(work, progress))
            yield

    return process_app(settings, lifespan)


async def _lay(settings: ServiceSettings, stack: AsyncExitStack, clock: Clock) -> Foundation:
    if settings.verify_key_file is None or not settings.verify_key_file.is_file():
        raise MissingSetting(
            f"RAAK_VERIFY_KEY_FILE is {str(settings.verify_key_file or '')!r}, which is no file.",
            hint="Name the file with the public key of the gateway's tokens (`raak keys init`).",
        )
    verifier = Verifier(settings.verify_key_file, settings.process)
    database = await stack.enter_async_context(
        open_database(
            settings.database,
            connections=settings.database_connections,
            silence_s=settings.database_silence_s,
        )
    )
    bus = await stack.enter_async_context(open_bus(settings.nats_url, process=settings.process))
    return Foundation(database, bus, verifier, clock)


def _work(
    settings: ServiceSettings, base: Foundation, service: Service, progress: Progress
) -> dict[str, Work]:
    consumers = [
        Consumer(settings.process, event, handler, base.database, base.bus, base.clock, progress)
        for event, handler in service.subscriptions.items()
    ]
    names = [consumer.name for consumer in consumers]
    resync = Resync(base.database, service.told_again, outbox.publish, base.clock)
    kept = timedelta(hours=settings.outbox_kept_hours)
    return {
        "bus upkeep": base.bus.run,
        "outbox relay": Relay(base.database, base.bus, service.publishes, resync.renew, kept).run,
        "resync": resync.run,
        **{consumer.name: consumer.run for consumer in consumers},
        "inbox upkeep": lambda: keep_inbox_small(base.database, names, base.clock),
        **service.background,
    }


def _not_ready(
    settings: ServiceSettings, base: Foundation, service: Service, progress: Progress
) -> Callable[[], Awaitable[str | None]]:
    async def not_ready() -> str | None:
        try:
            async with asyncio.timeout(2), base.database.connection() as connection:
                waiting_s = await outbox.age(connection)
        except (RaakError, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return "PostgreSQL does not answer."
        if refusal := base.database.refusal:
            return f"PostgreSQL answers, but does not work ({refusal})."
        if waiting_s > settings.outbox_patience_s:
            return f"The oldest event has waited {waiting_s:.0f} s to reach NATS."
        return service.not_ready() or progress.standstill()

    return not_ready


@asynccontextmanager
async def supervised(
    work: Mapping[str, Work], progress: Progress | None = None
) -> AsyncIterator[None]:
    """Run pieces of work beside the block; one that fails is logged and started again."""
    progress = progress or Progress()
    tasks = [
        asyncio.create_task(_keep_going(name, run, progress), name=name)
        for name, run in work.items()
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


async def _keep_going(name: str, run: Work, progress: Progress) -> None:
    loop = asyncio.get_running_loop()
    while True:
        started = monotonic()
        recovery = loop.call_later(progress.quiet_s(name), progress.recover, name)
        try:
            await run()
        except (*AWAY, BusUnavailable) as error:
            kind, is_away = reason(error), True
            fields = {"work": name, "because": kind}
            log.warning("background work waits", extra={"fields": fields})
        except Exception as error:  # whatever it was, the work must go on
            kind, is_away = type(error).__name__, False
            fields = {"work": name, "because": telemetry.describe(error)}
            log.error("background work failed", extra={"fields": fields})
        else:
            progress.recover(name)
            return
        finally:
            recovery.cancel()
        progress.fail(name, kind, monotonic() - started, is_away=is_away)
        await asyncio.sleep(RESTART_S)


def process_app(
    settings: ProcessSettings,
    lifespan: Callable[[Process], Any],
) -> Process:
    """An application with health and metrics, whose errors are told as JSON and masked."""
    app = Process(
        title=f"Raak {settings.process}",
        lifespan=_told(lifespan),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        telemetry=NO_TELEMETRY_OF_FASTAPIS,
    )
    app.state.not_ready = _starting
    app.add_exception_handler(RaakError, _tell)
    app.add_exception_handler(Exception, _mask)
    app.add_middleware(Observed)
    app.add_api_route("/health/live", _live)
    app.add_api_route("/health/ready", _ready)
    app.add_api_route("/metrics", _metrics)
    return app


def _told(lifespan: Callable[[Process], Any]) -> Callable[[Process], Any]:
    """The same lifespan; if it fails, the log says why in one line."""

    @asynccontextmanager
    async def told(app: Process) -> AsyncIterator[Any]:
        try:
            async with lifespan(app) as state:
                yield state
        except RaakError as error:
            log.critical(str(error))
            raise
        except Exception as error:
            log.critical("failed", extra={"fields": {"because": telemetry.describe(error)}})
            raise

    return told


async def _starting() -> str | None:
    return "Still starting."


async def _live() -> dict[str, str]:
    return {"status": "live"}


async def _ready(request: Request) -> JSONResponse:
    reason = await request.app.state.not_ready()
    if reason is None:
        return JSONResponse({"status": "ready"})
    return JSONResponse({"status": "not ready", "reason": reason}, status_code=503)


async def _metrics() -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def _tell(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RaakError)
    headers = {"Retry-After": "1"} if error.status == 503 else None
    return JSONResponse({"success": False, "error": error.as_json()}, error.status, headers)


async def _mask(request: Request, error: Exception) -> JSONResponse:
    log.error("a request failed", extra={"fields": {"because": telemetry.describe(error)}})
    masked = {
        "code": "INTERNAL",
        "problem": "Something went wrong here; it has been logged.",
        "hint": "Try again; if it lasts, tell the operator the time.",
    }
    return JSONResponse({"success": False, "error": masked}, 500)


class Observed:
    """ASGI middleware: times every request, and makes it a span of the caller's trace.

    `path` is that of all requests; without it, that of the route each has taken.
    """

    def __init__(self, app: ASGIApp, path: str | None = None) -> None:
        self._app = app
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and look at the clock."""
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


def serve(create: Callable[[], ASGIApp], settings: ProcessSettings, **options: Any) -> None:
    """Run a process until it is told to stop; requests under way are finished first. `options` are
    uvicorn's own.

    A process that cannot start says why in one line, and ends with a status other than 0.
    """
    telemetry.setup(settings)
    try:
        settings.check_mode()
        app = create()
    except RaakError as error:
        log.critical(str(error))
        raise SystemExit(1) from None
    collect_garbage_rarely()
    listen(app, settings, **options)
