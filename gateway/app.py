"""The gateway, put together: this file reads as its table of contents."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from gateway.access.roles import Roles
from gateway.access.tokens import ServiceTokens
from gateway.browsers import for_browsers
from gateway.front_door import FrontDoor
from gateway.graph import Graph
from gateway.graphql_http.documents import Documents
from gateway.graphql_http.endpoint import GraphQLOverHttp
from gateway.settings import GatewaySettings
from gateway.subgraph_health import Watch
from gateway.supergraph import HttpTransport, Supergraph, Transport, compose
from gateway.supergraph.wire import KEEP_ALIVE_S
from gateway.surfaces.segment import Profile, Segment, WriteKeys
from services.chassis.errors import RaakError
from services.chassis.server import Process, process_app, supervised

SUBGRAPHS = Path(__file__).with_name("subgraphs")


class SubgraphUnknown(RaakError):
    """A committed schema has no service behind it, or there is no committed schema."""

    code = "SUBGRAPH_UNKNOWN"
    status = 500


def read_subgraphs(folder: Path = SUBGRAPHS) -> dict[str, str]:
    """The committed schemas, by service; raises SubgraphUnknown if there are none."""
    sdls = {path.stem: path.read_text() for path in sorted(folder.glob("*.graphql"))}
    if not sdls:
        raise SubgraphUnknown(
            f"There is no schema in {folder}.", hint="Write the services' schemas: `make schema`."
        )
    return sdls


def create(
    settings: GatewaySettings | None = None, sdls: Mapping[str, str] | None = None
) -> ASGIApp:
    """The application; raises RaakError when the schemas or settings do not allow one."""
    settings = settings or GatewaySettings()
    sdls = sdls or read_subgraphs()
    supergraph = compose(sdls)
    urls = _urls(sdls, settings)
    roles = Roles.read()
    door = FrontDoor.of(settings, roles)

    @asynccontextmanager
    async def lifespan(app: Process) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            transport = await stack.enter_async_context(_transport(settings, urls))
            session = await stack.enter_async_context(_session())
            graph = _graph(settings, supergraph, transport, door, roles)
            watch = Watch(session, urls)
            app.reach("/graphql", _endpoint(settings, graph, door))
            app.router.routes[:0] = [
                *_segment(settings, session, door.service_tokens).routes(),
                Route("/health/ready", _ready(watch, door)),
            ]
            await stack.enter_async_context(
                supervised({"subgraph watch": watch.run, **door.work()})
            )
            yield

    app = process_app(settings, lifespan)
    return for_browsers(app, settings.cors_origins, settings.https_only_s)


def _urls(sdls: Mapping[str, str], settings: GatewaySettings) -> dict[str, str]:
    unknown = sorted(sdls.keys() - settings.urls.keys())
    if unknown:
        raise SubgraphUnknown(
            f"There are schemas of services that are not known: {', '.join(unknown)}.",
            hint=f"Name each schema after its service: {', '.join(settings.urls)}.",
        )
    return {name: settings.urls[name].rstrip("/") for name in sdls}


def _transport(settings: GatewaySettings, urls: Mapping[str, str]) -> HttpTransport:
    endpoints = {name: f"{url}/graphql" for name, url in urls.items()}
    return HttpTransport(endpoints, within_s=settings.subgraph_deadline_ms / 1000)


def _session() -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=0, limit_per_host=100, keepalive_timeout=KEEP_ALIVE_S)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


def _graph(
    settings: GatewaySettings,
    supergraph: Supergraph,
    transport: Transport,
    door: FrontDoor,
    roles: Roles,
) -> Graph:
    graph = Graph(
        supergraph=supergraph,
        transport=transport,
        service_tokens=door.service_tokens,
        roles=roles,
        limits=settings.limits,
        registry=door.registry,
        is_open=settings.mode == "development",
        trusted_only=settings.answers_registered_only,
        kept=settings.plans,
    )
    door.registry.compile_with(graph.read)
    return graph


def _endpoint(settings: GatewaySettings, graph: Graph, door: FrontDoor) -> GraphQLOverHttp:
    learns = 0 if settings.answers_registered_only else settings.apq
    documents = Documents(door.registry, learns)
    return GraphQLOverHttp(lambda: graph, door.callers, documents, settings.rules)


def _segment(
    settings: GatewaySettings, session: aiohttp.ClientSession, tokens: ServiceTokens
) -> Segment:
    within_s = settings.collect_deadline_ms / 1000
    profile = Profile(session, settings.profile_url, tokens, within_s)
    limits = settings.body_limits("max_collect_bytes")
    return Segment(WriteKeys(settings.write_keys), profile, limits)


def _ready(watch: Watch, door: FrontDoor) -> Callable[[Request], Awaitable[Response]]:
    async def ready(request: Request) -> Response:
        reasons = door.not_ready()
        if awaited := watch.awaited():
            reasons.append(f"Not ready yet since the start: {', '.join(awaited)}.")
        body = {
            "status": "not ready" if reasons else "ready",
            "subgraphs": {name: seen.status for name, seen in watch.seen.items()},
        }
        if reasons:
            body["reason"] = " ".join(reasons)
        return JSONResponse(body, 503 if reasons else 200)

    return ready
