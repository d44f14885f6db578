"""What each limit answers: every refusal is provoked, and compared with the table of the docs."""

import re
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import orjson
import pytest
from starlette.applications import Starlette

from gateway.access.audit.audit_log import AuditLog
from gateway.access.authentication.attempts import FailedAuthentications
from gateway.access.authentication.request_guard import ClientAddresses, RequestGuard
from gateway.access.authentication.service_tokens import ServiceTokens
from gateway.access.authorization.roles import Roles
from gateway.access.limits.load_shedding import (
    Admission,
    LoadShedder,
    Priorities,
    WorkClass,
    Workload,
)
from gateway.access.limits.load_shedding.load_shedder import SHARES
from gateway.access.limits.rate_limits import RateLimiter, caller_key
from gateway.access.limits.registered_operations import OperationRegistry
from gateway.app import read_subgraphs
from gateway.graphql_http.endpoint import GraphQLOverHttp
from gateway.graphql_http.persisted_operations import PersistedOperations
from gateway.pipeline import prepare
from gateway.pipeline.pipeline import RequestPipeline
from gateway.settings import GatewaySettings
from gateway.supergraph import SubgraphResponse, compose
from gateway.surfaces import operations
from gateway.surfaces.json_api import JsonEndpoint
from gateway.surfaces.segment import SegmentApi
from infra.demo import queries as asking_of_the_demo
from services.chassis.graphql_http.media_types import MODERN
from services.chassis.principal import NotAuthenticated, Principal
from services.contracts.enums import Role
from tests.unit.gateway.small_graph import KEY

ROOT = Path(__file__).parents[5]
DOCS = ROOT / "docs" / "gateway.md"
SETTINGS = GatewaySettings()
ROLES = Roles.read()
PRIORITIES = Priorities.read()
SUPERGRAPH = compose(read_subgraphs())
ELSEWHERE = {
    "max_connections_per_caller",
    "max_operations_per_connection",
    "max_unread_bytes",
    "max_waiting_activities",
}
"""What ends websockets and event streams: tests/unit/gateway/live."""
ADMIN = Principal(Role.ADMIN, "tester", (), *ROLES.resolve_grant(Role.ADMIN, None))

GOOD = "Bearer good"
WRITE_KEY = f"Basic {b64encode(b'key:').decode()}"

Row = tuple[str, str, str, str, str]


class Failing:
    """A transport whose services have 102 complaints about everything."""

    async def fetch(
        self, subgraph: str, body: bytes, headers: Any, *, is_idempotent: bool
    ) -> SubgraphResponse:
        errors = [{"message": f"complaint {n}"} for n in range(102)]
        return SubgraphResponse(200, orjson.dumps({"data": None, "errors": errors}))

    def stream(self, subgraph: str, body: bytes, headers: Any) -> Any:
        raise AssertionError("nobody subscribes")


class House:
    """The gateway with its default settings and one caller; time stands still."""

    def __init__(self) -> None:
        self.callers = RateLimiter(SETTINGS.rates, lambda: 0.0)
        self.load = LoadShedder(SETTINGS.tuning, random=lambda: 0.0)
        admission = Admission(self.callers, self.load, PRIORITIES)
        self.graph = RequestPipeline(
            supergraph=SUPERGRAPH,
            transport=Failing(),
            service_tokens=ServiceTokens(KEY),
            roles=ROLES,
            limits=SETTINGS.limits,
            registry=OperationRegistry(),
            is_open=False,
            admission=admission,
        )
        endpoint = GraphQLOverHttp(
            lambda: self.graph,
            self,  # type: ignore[arg-type]
            PersistedOperations(OperationRegistry()),
            SETTINGS.endpoint_settings,
        )
        collect = SETTINGS.body_limits("max_collect_bytes")
        anybody = SimpleNamespace(authenticate=lambda key: ADMIN)
        segment = SegmentApi(anybody, None, None, collect, admission, False)  # type: ignore[arg-type]
        publication = JsonEndpoint(
            operations.PATH,
            operations.SCOPE,
            operations.OperationsApi(lambda: self.graph, None).publish,  # type: ignore[arg-type]
            SimpleNamespace(authenticate=_know_key),  # type: ignore[arg-type]
            AuditLog(lambda lines: None, "secret"),
            admission,
            SETTINGS.body_limits("max_publish_bytes"),
        )
        app = Starlette(routes=[*segment.routes(), publication.route()])

        async def routed(scope: Any, receive: Any, send: Any) -> None:
            await (endpoint if scope["path"] == "/graphql" else app)(scope, receive, send)

        failures = FailedAuthentications(SETTINGS.rates, lambda: 0.0)
        self._app = RequestGuard(routed, admission, failures, ClientAddresses())

    async def authenticate(self, headers: dict[str, str]) -> Principal:
        """The caller, as `Callers` would tell."""
        if headers.get("authorization") != GOOD:
            raise NotAuthenticated("Unknown.", hint="Be known.")
        return ADMIN

    async def post(self, content: Any, token: str = GOOD, path: str = "/graphql") -> httpx.Response:
        transport = httpx.ASGITransport(app=self._app)
        headers = {
            "Authorization": token,
            "Content-Type": "application/json",
            "Accept": MODERN,
        }
        body = content if isinstance(content, bytes) else orjson.dumps(content)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return await client.post(path, content=body, headers=headers)

    async def ask(self, query: str, **variables: Any) -> httpx.Response:
        return await self.post({"query": query, "variables": variables})


async def _know_key(headers: dict[str, str]) -> Principal:
    return replace(ADMIN, subject="key:ci")


async def too_often(house: House) -> httpx.Response:
    for _ in range(SETTINGS.burst):
        house.callers.arrive(caller_key(ADMIN))
    return await house.ask("{ segments { key } }")


async def too_many_at_once(house: House) -> httpx.Response:
    for _ in range(SETTINGS.max_concurrent):
        house.callers.enter(caller_key(ADMIN))
    return await house.ask("{ segments { key } }")


async def guessing(house: House) -> httpx.Response:
    for n in range(SETTINGS.max_failed_authentications):
        assert (await house.post({}, token=f"Bearer guess-{n}")).status_code == 401
    return await house.post({}, token="Bearer another")


async def too_busy(house: House) -> httpx.Response:
    house.graph.operations.get("{ segments { key } }", None)
    report = Workload(WorkClass.REPORTING, "slow")
    while house.load.total.has_room(SHARES[report.kind]):
        house.load.enter(report)
    return await house.ask("{ segments { key } }")


def asking(query: str, **variables: Any) -> Callable[[House], Awaitable[httpx.Response]]:
    return lambda house: house.ask(query, **variables)


def posting(content: Any, *to: str) -> Callable[[House], Awaitable[httpx.Response]]:
    return lambda house: house.post(content, *to)


TRACES = "trace { stage failed { condition } }"
PROVOKED: dict[str, Callable[[House], Awaitable[httpx.Response]]] = {
    "max_body_bytes": posting(b" " * (1024 * 1024 + 1)),
    "max_batch": posting([{"query": "{ segments { key } }"}]),
    "max_collect_bytes": posting(b" " * (500 * 1024 + 1), WRITE_KEY, "/v1/track"),
    "max_publish_bytes": posting(b" " * (4 * 1024 * 1024 + 1), GOOD, "/operations"),
    "max_query_chars": asking("{ segments { key } }".ljust(20_001)),
    "max_tokens": asking("{ segments {" + " key" * 1_996 + " } }"),
    "max_nesting": asking("{a" * 51 + "}" * 51),
    "max_depth": asking("{a" * 12 + "{a}" + "}" * 12),
    "max_aliases": asking("{ segments {" + "".join(f" a{n}: key" for n in range(31)) + " } }"),
    "max_directives": asking("{ segments { key" + " @skip(if: false)" * 51 + " } }"),
    "max_root_fields": asking("{" + "".join(f" a{n}: segments {{key}}" for n in range(11)) + "}"),
    "max_fragments": asking(
        "{ segments { key } }" + "".join(f" fragment F{n} on Segment {{ key }}" for n in range(51))
    ),
    "max_repeats": asking("{ segments {" + " key" * 31 + " } }"),
    "max_selections": asking(
        "{ segments {" + "".join(f" g{n} {{ ...F }}" for n in range(10)) + " } }"
        " fragment F on Segment {" + "".join(f" f{n}" for n in range(98)) + " }"
    ),
    "max_page_size": asking("{ customers(first: 101) { edges { cursor } } }"),
    "max_list_items": asking("{ actionResults(by: [" + "DAY " * 1_001 + "]) { action } }"),
    "max_variable_values": asking(
        "{ segments { key } }", a={str(n): n for n in range(10_000)}
    ),
    "max_cost": asking(
        "query($n: Int!) { customers(first: $n) { edges { node { decisions { edges { node {"
        f" {TRACES} }} }} }} }} }} }} }}",
        n=100,
    ),
    "max_errors": asking("{ segments { key } }"),
    "rate_per_s": too_often,
    "max_concurrent": too_many_at_once,
    "max_failed_authentications": guessing,
    "max_in_flight": too_busy,
}  # fmt: skip


def table() -> dict[str, Row]:
    """The table of the docs by setting: setting, default, status, code, message."""
    text = DOCS.read_text()
    begin, end = "<!-- limits: begin -->", "<!-- limits: end -->"
    lines = text[text.index(begin) : text.index(end)].splitlines()
    rows = [tuple(c.strip().strip("`") for c in line.strip("|").split("|")) for line in lines[3:]]
    return {row[0]: row for row in rows if len(row) == 5}


def error_in(response: httpx.Response) -> tuple[str, str]:
    """Code and message of the last error: what is left out is told at the end."""
    answer = response.json()
    if "errors" in answer:
        error = answer["errors"][-1]
        return error["extensions"]["code"], error["message"]
    return answer["error"]["code"], answer["error"]["problem"]


@pytest.mark.parametrize("setting", PROVOKED)
async def test_every_limit_answers_as_the_docs_say(setting: str) -> None:
    response = await PROVOKED[setting](House())

    code, message = error_in(response)
    default = f"{getattr(SETTINGS, setting):,}"
    assert table()[setting] == (setting, default, str(response.status_code), code, message)
    assert ("retry-after" in response.headers) == (response.status_code in (429, 503))


def test_every_setting_of_a_limit_is_provoked_and_told() -> None:
    limits = {name for name in GatewaySettings.model_fields if name.startswith("max_")}

    assert limits - ELSEWHERE <= PROVOKED.keys()
    assert table().keys() == PROVOKED.keys()


BY_TEXT = [
    "max_query_chars",
    "max_tokens",
    "max_nesting",
    "max_depth",
    "max_aliases",
    "max_directives",
    "max_root_fields",
    "max_fragments",
    "max_repeats",
    "max_selections",
    "max_page_size",
    "max_list_items",
]


@pytest.mark.parametrize("setting", BY_TEXT)
async def test_a_text_that_is_too_large_is_not_planned(
    setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: list[object] = []
    monkeypatch.setattr(prepare, "plan_document", lambda *_, **__: planned.append(setting))

    await PROVOKED[setting](House())

    assert planned == []


def documents() -> dict[str, str]:
    """What the README shows and the demo asks."""
    shown = re.findall(r"```graphql\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    asked = {name: text for name, text in vars(asking_of_the_demo).items() if name.isupper()}
    queries = {name: text for name, text in asked.items() if isinstance(text, str) and "{" in text}
    return {f"README {n}": text for n, text in enumerate(shown)} | queries


@pytest.mark.parametrize("name", documents())
def test_what_the_readme_shows_and_the_demo_asks_is_far_within_the_limits(name: str) -> None:
    prepared = House().graph.operations.get(documents()[name], None)

    assert prepared.cost({}) * 20 < SETTINGS.max_cost
