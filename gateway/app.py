"""The gateway, put together: this file reads as its table of contents."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any

import aiohttp
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from gateway.access.guard import Addresses, Guard
from gateway.access.rates import CallerLimits, FailedAuthentications
from gateway.access.roles import OURS, Roles, text_of
from gateway.access.shedding import Admission, Load, Priorities
from gateway.access.trusted import Registry
from gateway.front_door import FrontDoor
from gateway.graph import Graph
from gateway.graphql_http.endpoint import GraphQLOverHttp
from gateway.graphql_http.persisted_operations import PersistedOperations
from gateway.live.live_updates import LiveUpdates
from gateway.live.subgraph import NAME as LIVE
from gateway.reload import (
    SUBGRAPHS,
    Composed,
    Served,
    Source,
    SubgraphUnknown,
    given,
    read_subgraphs,
    subgraph_folder,
    supergraph_file,
)
from gateway.security_headers import add_security_headers
from gateway.settings import GatewaySettings
from gateway.subgraph_health import SubgraphHealth
from gateway.supergraph import HttpTransport, ResilientTransport, Supergraph, Transport
from gateway.supergraph.transport.connection_pool import KEEP_ALIVE_S
from gateway.surfaces.segment import ProfileClient, SegmentApi, SenderAuthenticator
from services.chassis import telemetry
from services.chassis.background_health import BackgroundHealth
from services.chassis.server import ProcessApp, process_app, supervise

log = logging.getLogger(__name__)

__all__ = ["SubgraphUnknown", "create", "read_subgraphs"]


def create(
    settings: GatewaySettings | None = None, sdls: Mapping[str, str] | None = None
) -> ASGIApp:
    """The application; raises RaakError when the schemas or settings do not allow one."""
    settings = settings or GatewaySettings()
    source = source_of(settings, sdls)
    composed = Composed.of(source)
    _addresses(composed.supergraph, settings)
    door = FrontDoor.of(settings, composed.roles)
    _tell_of_proxies(settings)
    admission = Admission(CallerLimits(settings.rates), Load(settings.tuning), Priorities.read())

    @asynccontextmanager
    async def lifespan(app: ProcessApp) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(door.audit.writing())
            http = await stack.enter_async_context(_http(settings))
            session = await stack.enter_async_context(_session())
            transport, health = (
                ResilientTransport(http, within_s=http.within_s),
                SubgraphHealth(session),
            )
            live = LiveUpdates(settings.live_settings, settings.nats_url, lambda: served())

            def guarded(supergraph: Supergraph, roles: Roles) -> Graph:
                http.add_urls(_addresses(supergraph, settings))
                health.watch(_watched(supergraph, settings))
                everywhere = live.add_subgraph(transport)
                return _graph(settings, supergraph, everywhere, door, roles, admission)

            every_s = settings.schemas_every_ms / 1000
            progress = BackgroundHealth(
                standstill_s=inf
            )  # it answers most things while others are away
            planning = _planning(door.registry)
            served = Served(source, composed, guarded, planning, door.grant_by, every_s=every_s)
            door.registry.compile_with(lambda text, name: served().read(text, name))
            operations = _operations(settings, door.registry)
            over_http = GraphQLOverHttp(
                served, door.callers, operations, settings.endpoint_settings
            )
            endpoint, sockets = live.create_endpoints(
                "/graphql", over_http, door.callers, operations
            )
            app.mount_direct("/graphql", endpoint)
            app.router.routes[:0] = [
                sockets,
                *_segment(settings, session, door, admission).routes(),
                Route("/health/ready", _ready(health, transport, served, door, progress)),
            ]
            work = {"subgraph watch": health.run, "schema watch": served.run, **door.work()}
            work |= {"load": admission.load.run, "live feed": live.feed.run}
            await stack.enter_async_context(supervise(work, progress))
            yield {"drain": partial(live.connections.drain, settings.drain_s)}

    app = process_app(settings, lifespan)
    guard = Guard(
        app,
        admission,
        FailedAuthentications(settings.rates),
        Addresses(settings.trusted_proxies),
    )
    return add_security_headers(guard, settings.cors_origins, settings.https_only_s)


def _tell_of_proxies(settings: GatewaySettings) -> None:
    if settings.mode == "production" and not settings.trusted_proxies:
        log.warning(
            "RAAK_GATEWAY_TRUSTED_PROXIES is not set: behind a proxy everybody comes from its "
            "address, and shares the limits of one: its bad credentials, its requests without a "
            "token, its events under way. Name the proxy's networks, or ignore this where clients "
            "connect to the gateway themselves."
        )


def source_of(settings: GatewaySettings, sdls: Mapping[str, str] | None = None) -> Source:
    """Where the settings have the graph and its roles come from, unless its SDL is given."""
    read_roles = partial(text_of, settings.roles_file or OURS)
    return replace(_schemas(settings, sdls), read_roles=read_roles)


def _schemas(settings: GatewaySettings, sdls: Mapping[str, str] | None) -> Source:
    if sdls is not None:
        return given(sdls)
    if settings.supergraph_file is not None:
        return supergraph_file(settings.supergraph_file)
    return subgraph_folder(settings.schemas_dir or SUBGRAPHS)


def _addresses(supergraph: Supergraph, settings: GatewaySettings) -> dict[str, str]:
    """Where each subgraph answers; the settings know it better than a supergraph that was read."""
    ours = {name: f"{url}/graphql" for name, url in _watched(supergraph, settings).items()}
    addresses = {**supergraph.urls, **ours}
    elsewhere = supergraph.subgraphs.keys() - {LIVE}
    if unknown := sorted(elsewhere - addresses.keys()):
        raise SubgraphUnknown(
            f"There are schemas of services that are not known: {', '.join(unknown)}.",
            hint=f"Name each schema after its service: {', '.join(settings.urls)}.",
        )
    return {name: addresses[name] for name in elsewhere}


def _watched(supergraph: Supergraph, settings: GatewaySettings) -> dict[str, str]:
    """Our own services among the subgraphs."""
    return {n: url.rstrip("/") for n, url in settings.urls.items() if n in supergraph.subgraphs}


def _http(settings: GatewaySettings) -> HttpTransport:
    return HttpTransport(
        {},
        within_s=settings.subgraph_deadline_ms / 1000,
        within_s_by_subgraph=settings.deadlines_s,
        traceparent=telemetry.traceparent,
    )


def _session() -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=0, limit_per_host=100, keepalive_timeout=KEEP_ALIVE_S)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


def _graph(
    settings: GatewaySettings,
    supergraph: Supergraph,
    transport: Transport,
    door: FrontDoor,
    roles: Roles,
    admission: Admission,
) -> Graph:
    return Graph(
        supergraph=supergraph,
        transport=transport,
        service_tokens=door.service_tokens,
        roles=roles,
        limits=settings.limits,
        registry=door.registry,
        is_open=settings.mode == "development",
        trusted_only=settings.answers_registered_only,
        kept=settings.plans,
        within_s=settings.request_deadline_ms / 1000,
        changes_within_s=settings.mutation_deadline_ms / 1000,
        weights=settings.weights,
        admission=admission,
        audit=door.audit,
        labels=frozenset(settings.override_labels),
    )


def _planning(registry: Registry) -> Callable[[Graph], Awaitable[None]]:
    async def plan_registered(graph: Graph) -> None:
        registry.compile_with(graph.read)
        await registry.compile_all()

    return plan_registered


def _operations(settings: GatewaySettings, registry: Registry) -> PersistedOperations:
    return PersistedOperations(registry, 0 if settings.answers_registered_only else settings.apq)


def _segment(
    settings: GatewaySettings,
    session: aiohttp.ClientSession,
    door: FrontDoor,
    admission: Admission,
) -> SegmentApi:
    within_s = settings.collect_deadline_ms / 1000
    profile = ProfileClient(session, settings.profile_url, door.service_tokens, within_s)
    limits = settings.body_limits("max_collect_bytes")
    senders = SenderAuthenticator(settings.write_keys, door.api_keys)
    return SegmentApi(senders, profile, door.audit, limits, admission)


def _ready(
    health: SubgraphHealth,
    transport: ResilientTransport,
    served: Served,
    door: FrontDoor,
    progress: BackgroundHealth,
) -> Callable[[Request], Awaitable[Response]]:
    async def ready(request: Request) -> Response:
        reasons = [*door.not_ready(), *health.not_ready()]
        if stands_still := progress.find_standstill():
            reasons.append(stands_still)
        body: dict[str, Any] = {
            "status": "not ready" if reasons else "ready",
            "subgraphs": {name: one.status for name, one in health.statuses.items()},
            "clocks": health.clock_differences(),
            "breakers": transport.circuit_states(),
            "graph": {
                "digest": served.digest,
                "refused": served.refused,
                "because": served.because,
            },
        }
        if reasons:
            body["reason"] = " ".join(reasons)
        return JSONResponse(body, 503 if reasons else 200)

    return ready
