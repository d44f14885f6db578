"""The gateway, put together: this file reads as its table of contents."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.access.callers import Callers
from gateway.access.roles import Roles
from gateway.access.tokens import (
    CallerTokens,
    ServiceTokens,
    UnusableKey,
    private_key,
    public_key,
)
from gateway.graph import Graph
from gateway.graphql_http import GraphQLOverHttp
from gateway.settings import GatewaySettings
from gateway.subgraph_health import Watch
from gateway.supergraph import AiohttpTransport, PlanCache, Supergraph, Transport, compose
from gateway.supergraph.plan import Lru
from gateway.supergraph.transport import KEEP_ALIVE_S
from gateway.surfaces.segment import Profile, Segment, WriteKeys
from services.chassis.errors import RaakError
from services.chassis.server import MissingSetting, process_app, supervised

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
) -> FastAPI:
    """The application; raises RaakError when the schemas or settings do not allow one."""
    settings = settings or GatewaySettings()
    sdls = sdls or read_subgraphs()
    supergraph = compose(sdls)
    urls = _urls(sdls, settings)
    service_tokens, callers = _keys(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            transport = await stack.enter_async_context(_transport(settings, urls))
            session = await stack.enter_async_context(_session())
            graph = _graph(settings, supergraph, transport, service_tokens)
            watch = Watch(session, urls)
            app.router.routes[:0] = [
                Route("/graphql", _endpoint(settings, graph, callers)),
                *_segment(settings, session, service_tokens).routes(),
                Route("/health/ready", _ready(watch)),
            ]
            await stack.enter_async_context(supervised({"subgraph watch": watch.run}))
            yield

    app = process_app(settings, lifespan)
    if settings.cors_origins:
        _let_pages_call(app, settings.cors_origins)
    return app


def _urls(sdls: Mapping[str, str], settings: GatewaySettings) -> dict[str, str]:
    unknown = sorted(sdls.keys() - settings.urls.keys())
    if unknown:
        raise SubgraphUnknown(
            f"There are schemas of services that are not known: {', '.join(unknown)}.",
            hint=f"Name each schema after its service: {', '.join(settings.urls)}.",
        )
    return {name: settings.urls[name].rstrip("/") for name in sdls}


def _keys(settings: GatewaySettings) -> tuple[ServiceTokens, Callers]:
    if settings.signing_key_file is None:
        raise MissingSetting(
            "RAAK_GATEWAY_SIGNING_KEY_FILE is not set.",
            hint="Name the file with the private key of the gateway (`raak keys init`).",
        )
    signing = private_key(_text(settings.signing_key_file))
    callers = (
        public_key(_text(settings.caller_key_file))
        if settings.caller_key_file
        else signing.public_key()
    )
    return ServiceTokens(signing), Callers(CallerTokens(callers))


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableKey(
            f"The key file {str(file)!r} cannot be read ({type(error).__name__}).",
            hint="Check the path and who may read it.",
        ) from None


def _transport(settings: GatewaySettings, urls: Mapping[str, str]) -> AiohttpTransport:
    endpoints = {name: f"{url}/graphql" for name, url in urls.items()}
    return AiohttpTransport(endpoints, within_s=settings.subgraph_deadline_ms / 1000)


def _session() -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=0, limit_per_host=100, keepalive_timeout=KEEP_ALIVE_S)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


def _graph(
    settings: GatewaySettings,
    supergraph: Supergraph,
    transport: Transport,
    service_tokens: ServiceTokens,
) -> Graph:
    return Graph(
        supergraph=supergraph,
        plans=PlanCache(supergraph, size=settings.plans, max_tokens=settings.max_tokens),
        prepared=Lru(settings.plans),
        transport=transport,
        service_tokens=service_tokens,
        roles=Roles.read(),
        limits=settings.limits,
        is_open=settings.mode == "development",
    )


def _endpoint(settings: GatewaySettings, graph: Graph, callers: Callers) -> GraphQLOverHttp:
    in_development = settings.mode == "development"
    return GraphQLOverHttp(graph, callers, settings.max_body_bytes, shows_explorer=in_development)


def _segment(
    settings: GatewaySettings, session: aiohttp.ClientSession, tokens: ServiceTokens
) -> Segment:
    within_s = settings.collect_deadline_ms / 1000
    profile = Profile(session, settings.profile_url, tokens, within_s)
    return Segment(WriteKeys(settings.write_keys), profile, settings.max_collect_bytes)


def _ready(watch: Watch) -> Callable[[Request], Awaitable[Response]]:
    async def ready(request: Request) -> Response:
        awaited = watch.awaited()
        body = {
            "status": "not ready" if awaited else "ready",
            "subgraphs": {name: seen.status for name, seen in watch.seen.items()},
        }
        if awaited:
            body["reason"] = f"Not ready yet since the start: {', '.join(awaited)}."
        return JSONResponse(body, 503 if awaited else 200)

    return ready


def _let_pages_call(app: FastAPI, origins: tuple[str, ...]) -> None:
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(origins),
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "Content-Type"],
        expose_headers=["Retry-After"],
        max_age=600,
    )
