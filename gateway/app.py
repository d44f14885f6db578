"""The gateway, put together: this file reads as its table of contents."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from math import inf
from typing import Any

import aiohttp
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from gateway import store
from gateway.access.authentication.attempts import FailedAuthentications
from gateway.access.authentication.request_guard import ClientAddresses, RequestGuard
from gateway.access.authorization.roles import OURS, Roles, read_roles_text
from gateway.access.limits.load_shedding import Admission, LoadShedder, Priorities
from gateway.access.limits.rate_limits import RateLimiter
from gateway.access.limits.registered_operations import OperationRegistry, RegisteredOperation
from gateway.access_control import AccessControl
from gateway.current_graph import CurrentGraph
from gateway.explorer.page_files import PageFiles
from gateway.explorer.token_endpoint import LIFETIME_S, TokenEndpoint
from gateway.graphql_http.endpoint import GraphQLOverHttp
from gateway.graphql_http.persisted_operations import PersistedOperations
from gateway.live.live_updates import LiveUpdates
from gateway.live.subgraph import NAME as LIVE
from gateway.pipeline.pipeline import RequestPipeline
from gateway.reload import GraphReloader
from gateway.schema_source import (
    SUBGRAPHS,
    CompositionResult,
    SchemaSource,
    SubgraphUnknown,
    fixed_sdl,
    read_subgraphs,
    subgraph_folder,
    supergraph_file,
)
from gateway.security_headers import add_security_headers, allows_origin
from gateway.settings import GatewaySettings
from gateway.subgraph_health import SubgraphHealth
from gateway.supergraph import HttpTransport, ResilientTransport, Supergraph, Transport
from gateway.supergraph.transport.connection_pool import KEEP_ALIVE_S
from gateway.surfaces import operations, tokens
from gateway.surfaces.json_api import JsonEndpoint
from gateway.surfaces.mcp import endpoint as mcp_endpoint
from gateway.surfaces.mcp.resource_metadata import ResourceMetadata
from gateway.surfaces.segment import ProfileClient, SegmentApi, SenderAuthenticator
from services.chassis import telemetry
from services.chassis.background_health import BackgroundHealth
from services.chassis.database import open_database
from services.chassis.server import (
    LEAVING,
    MissingSetting,
    ProcessApp,
    Work,
    process_app,
    supervise,
)

log = logging.getLogger(__name__)

PUBLISH_PATIENCE_S = 3.0
"""How long publishing waits for the database to accept a connection."""

__all__ = ["SubgraphUnknown", "create", "read_subgraphs"]


def create(
    settings: GatewaySettings | None = None, sdls: Mapping[str, str] | None = None
) -> ASGIApp:
    """The application; raises RaakError when the schemas or settings do not allow one."""
    settings = settings or GatewaySettings()
    graph, source = CurrentGraph(), source_of(settings, sdls)
    composed = CompositionResult.of(source)
    _addresses(composed.supergraph, settings)
    metadata = _resource_metadata(settings)
    access = AccessControl.from_settings(settings, composed.roles, graph.plan)
    _warn_of_proxies(settings)
    load = LoadShedder(settings.tuning)
    admission = Admission(RateLimiter(settings.rates), load, Priorities.read())

    @asynccontextmanager
    async def lifespan(app: ProcessApp) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(access.audit.writing())
            http = await stack.enter_async_context(_http(settings))
            session = await stack.enter_async_context(_session())
            health = SubgraphHealth(session)
            resilient = ResilientTransport(http, within_s=http.within_s)
            live = LiveUpdates(settings.live_settings, settings.nats_url, graph)
            transport = live.add_subgraph(resilient)

            def build(supergraph: Supergraph, roles: Roles) -> RequestPipeline:
                http.add_urls(_addresses(supergraph, settings))
                health.watch(_watched(supergraph, settings))
                return _pipeline(settings, supergraph, roles, transport, graph, access, admission)

            reloader = GraphReloader(
                source,
                composed,
                graph,
                build,
                partial(_plan_registered, access.registry),
                access.grant_by,
                every_s=settings.schemas_every_ms / 1000,
            )
            persisted = _operations(settings, access.registry)
            over_http = GraphQLOverHttp(
                graph, access.authenticator, persisted, settings.endpoint_settings
            )
            endpoint, sockets = live.create_endpoints(
                "/graphql", over_http, access.authenticator, persisted
            )
            shows_explorer = settings.endpoint_settings.shows_explorer
            page = PageFiles() if shows_explorer else None
            app.mount_direct("/graphql", page.before(endpoint) if page else endpoint)
            if settings.mcp:
                app.mount_direct(mcp_endpoint.PATH, _mcp(settings, graph, access, metadata))
            progress = BackgroundHealth(
                standstill_s=inf
            )  # it answers most things while others are away
            app.router.routes[:0] = [
                sockets,
                *_segment(settings, session, access, admission).routes(),
                *_server_api(settings, graph, access, admission),
                Route("/health/ready", _ready(health, resilient, reloader, access, progress)),
                Route("/", _entrance(shows_explorer, settings.mcp)),
                *(metadata.routes() if metadata else ()),
                *(page.routes() if page else ()),
                *(_explorer_tokens(settings, access) if page else ()),
            ]
            work: dict[str, Work] = {
                "subgraph watch": health.run,
                "schema watch": reloader.run,
                "load": load.run,
            }
            work |= {"live feed": live.feed.run, **access.background_work()}
            await stack.enter_async_context(supervise(work, progress))
            yield {"drain": partial(live.connections.drain, settings.drain_s)}

    app = process_app(settings, lifespan)
    failures = FailedAuthentications(settings.rates)
    guard = RequestGuard(app, admission, failures, ClientAddresses(settings.trusted_proxies))
    return add_security_headers(
        guard,
        settings.cors_origins,
        settings.https_only_s,
        allows_local_pages=settings.mode == "development",
    )


def _warn_of_proxies(settings: GatewaySettings) -> None:
    if settings.mode == "production" and not settings.trusted_proxies:
        log.warning(
            "RAAK_GATEWAY_TRUSTED_PROXIES is not set: behind a proxy everybody comes from its "
            "address, and shares the limits of one: its bad credentials, its requests without a "
            "token, its events under way. Name the proxy's networks, or ignore this where clients "
            "connect to the gateway themselves."
        )


def source_of(settings: GatewaySettings, sdls: Mapping[str, str] | None = None) -> SchemaSource:
    """Where the graph and its roles come from by the settings, or of this SDL."""
    read_roles = partial(read_roles_text, settings.roles_file or OURS)
    return replace(_schemas(settings, sdls), read_roles=read_roles)


def _schemas(settings: GatewaySettings, sdls: Mapping[str, str] | None) -> SchemaSource:
    if sdls is not None:
        return fixed_sdl(sdls)
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


def _pipeline(
    settings: GatewaySettings,
    supergraph: Supergraph,
    roles: Roles,
    transport: Transport,
    graph: CurrentGraph,
    access: AccessControl,
    admission: Admission,
) -> RequestPipeline:
    return RequestPipeline(
        supergraph=supergraph,
        transport=transport,
        service_tokens=access.service_tokens,
        roles=roles,
        limits=settings.limits,
        registry=access.registry,
        is_open=settings.mode == "development",
        trusted_only=settings.answers_registered_only,
        cache_size=settings.plans,
        within_s=settings.request_deadline_ms / 1000,
        changes_within_s=settings.mutation_deadline_ms / 1000,
        weights=settings.weights,
        admission=admission,
        audit=access.audit,
        subscription_guard=graph.guard_subscription,
        labels=frozenset(settings.override_labels),
    )


async def _plan_registered(registry: OperationRegistry, pipeline: RequestPipeline) -> None:
    await registry.plan_all(pipeline.operations.get)


def _operations(settings: GatewaySettings, registry: OperationRegistry) -> PersistedOperations:
    return PersistedOperations(registry, 0 if settings.answers_registered_only else settings.apq)


def _segment(
    settings: GatewaySettings,
    session: aiohttp.ClientSession,
    access: AccessControl,
    admission: Admission,
) -> SegmentApi:
    within_s = settings.collect_deadline_ms / 1000
    profile = ProfileClient(session, settings.profile_url, access.service_tokens, within_s)
    limits = settings.body_limits("max_collect_bytes")
    senders = SenderAuthenticator(settings.write_keys, access.api_keys)
    is_production = settings.mode == "production"
    return SegmentApi(senders, profile, access.audit, limits, admission, is_production)


def _server_api(
    settings: GatewaySettings, graph: CurrentGraph, access: AccessControl, admission: Admission
) -> list[Route]:
    """What servers with an API key may call beside the graph."""

    async def store_operations(documents: Sequence[RegisteredOperation], at: datetime) -> int:
        async with (
            open_database(
                settings.database,
                connections=1,
                patience_s=PUBLISH_PATIENCE_S,
                silence_s=settings.database_silence_s,
            ) as database,
            database.transaction() as connection,
        ):
            return await store.publish(connection, documents, at)

    publish = operations.OperationsApi(graph, store_operations).publish
    issue = tokens.TokensApi(access.token_signing_key, settings.token_longest_life_s).issue
    common = (access.authenticator, access.audit, admission)
    endpoints = (
        JsonEndpoint(
            operations.PATH,
            operations.SCOPE,
            publish,
            *common,
            settings.body_limits("max_publish_bytes"),
        ),
        JsonEndpoint(
            tokens.PATH, tokens.SCOPE, issue, *common, settings.body_limits("max_body_bytes")
        ),
    )
    return [endpoint.route() for endpoint in endpoints]


def _mcp(
    settings: GatewaySettings,
    graph: CurrentGraph,
    access: AccessControl,
    metadata: ResourceMetadata | None,
) -> mcp_endpoint.McpEndpoint:
    """What assistants come to."""
    may_come = partial(
        allows_origin,
        settings.cors_origins,
        allows_local_pages=settings.mode == "development",
    )
    limits = settings.body_limits("max_body_bytes")
    return mcp_endpoint.McpEndpoint(graph, access.authenticator, limits, may_come, metadata)


def _resource_metadata(settings: GatewaySettings) -> ResourceMetadata | None:
    """Raises MissingSetting."""
    if not (settings.mcp and settings.mcp_url):
        return None
    if not settings.token_issuer.startswith(("https://", "http://")):
        raise MissingSetting(
            f"RAAK_GATEWAY_MCP_URL is set, and RAAK_GATEWAY_TOKEN_ISSUER is "
            f"{settings.token_issuer!r}, where nobody can sign in.",
            hint="Set RAAK_GATEWAY_TOKEN_ISSUER to the address of your identity provider.",
        )
    return ResourceMetadata(settings.mcp_url, settings.token_issuer)


def _explorer_tokens(settings: GatewaySettings, access: AccessControl) -> list[Route]:
    if access.token_signing_key is None:
        return []
    limits = settings.body_limits("max_body_bytes")
    networks = settings.explorer_token_networks
    lifetime_s = min(LIFETIME_S, settings.token_longest_life_s)
    return TokenEndpoint(access.token_signing_key, networks, limits, lifetime_s).routes()


def _entrance(shows_explorer: bool, serves_mcp: bool) -> Callable[[Request], Awaitable[Response]]:
    """What stands at `/`: where everything is; for a browser in development, the explorer."""

    async def entrance(request: Request) -> Response:
        if shows_explorer and "text/html" in request.headers.get("accept", ""):
            return RedirectResponse("/graphql")
        return JSONResponse(
            {
                "name": "Raak",
                "graph": "/graphql",
                "events": "/v1",
                "operations": operations.PATH,
                "tokens": tokens.PATH,
                **({"assistants": mcp_endpoint.PATH} if serves_mcp else {}),
                "health": "/health/ready",
            }
        )

    return entrance


def _ready(
    health: SubgraphHealth,
    transport: ResilientTransport,
    reloader: GraphReloader,
    access: AccessControl,
    progress: BackgroundHealth,
) -> Callable[[Request], Awaitable[Response]]:
    async def ready(request: Request) -> Response:
        reasons = [*access.not_ready(), *health.not_ready()]
        if request.app.state.is_leaving:
            reasons.insert(0, LEAVING)
        if stands_still := progress.find_standstill():
            reasons.append(stands_still)
        body: dict[str, Any] = {
            "status": "not ready" if reasons else "ready",
            "subgraphs": {name: each.status for name, each in health.statuses.items()},
            "clocks": health.clock_differences(),
            "breakers": transport.circuit_states(),
            "graph": {
                "digest": reloader.digest,
                "refused": reloader.refused,
                "reason": reloader.reason,
            },
        }
        if reasons:
            body["reason"] = " ".join(reasons)
        return JSONResponse(body, 503 if reasons else 200)

    return ready
