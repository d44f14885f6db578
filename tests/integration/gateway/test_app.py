"""The whole gateway before real services: two of them, over the network, one of which dies."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway import subgraph_health
from gateway.access.authentication.caller_tokens import issue_token
from gateway.access.authentication.service_tokens import load_private_key
from gateway.app import SubgraphUnknown, create, read_subgraphs
from gateway.settings import GatewaySettings
from gateway.supergraph import CompositionError
from infra.instance import make_keys
from services.chassis.principal import Principal, UnusableKey
from services.chassis.server import MissingSetting
from services.contracts.enums import Role
from tests.integration.gateway.serving import (
    Server,
    counted,
    serving,
    serving_all,
    small_services,
)
from tests.unit.gateway.small_graph import ANN, ROLES_YAML, SDLS
from tests.waiting import until

QUERY = '{ customer(ref: {id: "1"}) { name nextBestActions } segments }'
WHOLE = {"customer": {"name": "Ann", "nextBestActions": ["jazz weeks"]}, "segments": ["loyal"]}


@dataclass
class House:
    """A gateway with its services, and a client that may be told whose token to send."""

    services: dict[str, Server]
    callers: list[Principal]
    client: httpx.AsyncClient
    signing_key: Path

    def headers(
        self, role: Role = Role.AGENT, customer: dict[str, str] | None = None
    ) -> dict[str, str]:
        """What a caller of this role sends, who may speak for one customer."""
        key = load_private_key(self.signing_key.read_text())
        return {"Authorization": f"Bearer {issue_token(key, role, 'tester', customer=customer)}"}

    async def ask(
        self, query: str, role: Role = Role.AGENT, customer: dict[str, str] | None = None
    ) -> dict[str, Any]:
        response = await self.client.post(
            "/graphql", json={"query": query}, headers=self.headers(role, customer)
        )
        answer: dict[str, Any] = response.json()
        return answer

    async def health(self) -> tuple[int, dict[str, Any]]:
        response = await self.client.get("/health/ready")
        return response.status_code, response.json()

    async def until_ready(self) -> None:
        """Return when the gateway says that it can serve."""

        async def is_ready() -> bool:
            return (await self.health())[0] == 200

        await until(is_ready)

    async def wait_for_status(self, name: str, status: str) -> None:
        """Return when the gateway has seen a service in this state."""

        async def has_status() -> bool:
            return bool((await self.health())[1]["subgraphs"][name] == status)

        await until(has_status)


@pytest.fixture(scope="module")
async def database_url(
    database_url_for: Callable[[str], AbstractAsyncContextManager[str]],
) -> AsyncIterator[str]:
    async with database_url_for("gateway") as url:
        yield url


@pytest.fixture
async def house(
    key_files: tuple[Path, Path],
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[House]:
    monkeypatch.setattr(subgraph_health, "CHECK_EVERY_S", 0.05)
    signing, verify = key_files
    roles = tmp_path / "roles.yaml"
    roles.write_text(ROLES_YAML)
    callers: list[Principal] = []
    async with AsyncExitStack() as stack:
        services = await stack.enter_async_context(serving_all(small_services(verify, callers)))
        settings = GatewaySettings(
            profile_url=services["profile"].url,
            decision_url=services["decision"].url + "/",
            signing_key_file=signing,
            caller_key_file=verify,
            token_signing_key_file=make_keys(tmp_path).tokens,
            database_url=database_url,
            cors_origins=("https://shop.example",),
            roles_file=roles,
            max_batch=2,
            gzip_from_bytes=20,
            apq=10,
            explorer_token_networks=("127.0.0.0/8",),
        )
        gateway = await stack.enter_async_context(serving(create(settings, SDLS)))
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=30)
        )
        yield House(services, callers, client, signing)


async def test_an_answer_is_put_together_from_all_services(house: House) -> None:
    assert await house.ask(QUERY) == {"data": WHOLE}


async def test_every_service_hears_who_really_asks(house: House) -> None:
    query = '{ customer(ref: {identity: {type: "email", value: "ann@example.com"}}) { name } }'

    await house.ask(query, Role.APP, ANN)

    assert [(c.role, c.subject, c.customer_ref) for c in house.callers] == [
        (Role.APP, "tester", ANN)
    ]


async def test_a_service_answers_nobody_but_the_gateway(house: House) -> None:
    for headers in ({}, house.headers(Role.ADMIN)):
        async with httpx.AsyncClient(trust_env=False) as client:
            url = f"{house.services['profile'].url}/graphql"
            response = await client.post(url, json={"query": "{ segments }"}, headers=headers)
        assert response.status_code == 401


@pytest.mark.parametrize(
    ("dead", "data"),
    [
        ("decision", {"customer": {"name": "Ann", "nextBestActions": None}, "segments": ["loyal"]}),
        ("profile", None),
    ],
)
async def test_a_service_that_dies_costs_its_own_fields_and_comes_back(
    house: House, dead: str, data: dict[str, Any] | None
) -> None:
    assert await house.ask(QUERY) == {"data": WHOLE}
    await house.wait_for_status(dead, "ready")
    await house.services[dead].stop()

    answer = await house.ask(QUERY)

    assert answer["data"] == data
    assert {error["extensions"]["service"] for error in answer["errors"]} == {dead}
    assert all(e["extensions"]["code"] == "SUBGRAPH_UNAVAILABLE" for e in answer["errors"])
    await house.services[dead].start()
    assert await house.ask(QUERY) == {"data": WHOLE}


async def test_the_gateway_is_ready_once_all_services_have_been_and_stays_so(house: House) -> None:
    for name in house.services:
        await house.wait_for_status(name, "ready")
    await house.until_ready()
    ready = await house.health()

    await house.services["decision"].stop()
    await house.wait_for_status("decision", "unreachable")

    status, body = ready
    assert (status, body["status"]) == (200, "ready")
    assert body["subgraphs"] == {"profile": "ready", "decision": "ready"}
    status, body = await house.health()
    assert (status, body["status"]) == (200, "ready")
    assert body["subgraphs"] == {"profile": "ready", "decision": "unreachable"}


async def test_the_gateway_is_not_ready_while_no_service_is(house: House) -> None:
    await house.until_ready()
    for name, service in house.services.items():
        await service.stop()
        await house.wait_for_status(name, "unreachable")

    status, body = await house.health()

    assert (status, body["reason"]) == (503, "No service is ready.")
    await house.services["profile"].start()
    await house.until_ready()


async def test_the_gateway_is_not_ready_before_every_service_was(
    key_files: tuple[Path, Path],
) -> None:
    nobody = "http://127.0.0.1:9"
    settings = GatewaySettings(
        profile_url=nobody, decision_url=nobody, signing_key_file=key_files[0]
    )

    async with (
        serving(create(settings, SDLS)) as gateway,
        httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=30) as client,
    ):
        live, ready = await client.get("/health/live"), await client.get("/health/ready")

    assert live.status_code == 200
    assert ready.status_code == 503
    assert "profile, decision" in ready.json()["reason"]


async def test_a_page_of_an_allowed_origin_may_call_and_no_other(house: House) -> None:
    asked = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }

    ours = await house.client.options(
        "/graphql", headers={"Origin": "https://shop.example", **asked}
    )
    other = await house.client.options(
        "/graphql", headers={"Origin": "https://evil.example", **asked}
    )

    assert ours.headers["access-control-allow-origin"] == "https://shop.example"
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize("path", ["/graphql", "/v1/track", "/health/live", "/metrics", "/nowhere"])
async def test_every_answer_says_what_browsers_may_not_do_with_it(house: House, path: str) -> None:
    headers = (await house.client.get(path)).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"


async def test_the_entrance_says_where_everything_is_and_shows_a_browser_the_explorer(
    house: House,
) -> None:
    said = (await house.client.get("/")).json()
    shown = await house.client.get("/", headers={"Accept": "text/html"})

    assert (said["graph"], said["health"]) == ("/graphql", "/health/ready")
    assert shown.headers["location"] == "/graphql"


async def test_in_development_the_explorer_may_make_a_token_and_a_page_beside_it_may_not(
    house: House,
) -> None:
    origin = str(house.client.base_url).rstrip("/")

    ours = await house.client.post(
        "/graphql/token", json={"role": "agent"}, headers={"Origin": origin}
    )
    other = await house.client.post(
        "/graphql/token", json={"role": "agent"}, headers={"Origin": "http://localhost:3000"}
    )

    headers = {"Authorization": f"Bearer {ours.json()['token']}"}
    answer = await house.client.post("/graphql", json={"query": "{ segments }"}, headers=headers)
    assert answer.json() == {"data": {"segments": ["loyal"]}}
    assert ours.headers["cache-control"] == "no-store"
    assert other.status_code == 403
    assert "token" not in other.json()


async def test_the_endpoint_keeps_to_its_settings(house: House) -> None:
    headers = house.headers()
    query = {"query": "{ segments }"}

    batch = await house.client.post("/graphql", json=[query] * 2, headers=headers)
    asked = await house.client.get("/graphql", params=query, headers=headers)
    again = headers | {"If-None-Match": asked.headers["etag"]}
    kept = await house.client.get("/graphql", params=query, headers=again)
    by_hash = await house.client.post("/graphql", json={"documentId": "0" * 64}, headers=headers)

    assert [answer["data"] for answer in batch.json()] == [{"segments": ["loyal"]}] * 2
    assert batch.headers["content-encoding"] == "gzip"
    assert kept.status_code == 304
    assert by_hash.json()["errors"][0]["extensions"]["code"] == "PERSISTED_QUERY_NOT_FOUND"


async def test_requests_are_counted(house: House) -> None:
    names = [
        'raak_graphql_requests_total{code="OK",type="query"}',
        'raak_graphql_seconds_count{type="query"}',
    ]
    before = [await counted(house.client, name) for name in names]

    for _ in range(3):
        await house.ask("{ segments }")

    after = [await counted(house.client, name) for name in names]
    assert [now - then for now, then in zip(after, before, strict=True)] == [3, 3]


# --- what keeps it from starting --------------------------------------------------------------


def test_without_a_signing_key_it_says_which_setting_is_missing() -> None:
    with pytest.raises(MissingSetting, match="RAAK_GATEWAY_SIGNING_KEY_FILE"):
        create(GatewaySettings(signing_key_file=None), SDLS)


def test_a_key_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnusableKey, match="cannot be read"):
        create(GatewaySettings(signing_key_file=tmp_path / "none.pem"), SDLS)


def test_what_signs_inside_signs_no_callers_tokens(key_files: tuple[Path, Path]) -> None:
    one = key_files[0]

    with pytest.raises(UnusableKey, match=r"TOKEN_SIGNING_KEY_FILE.*internal tokens"):
        create(GatewaySettings(signing_key_file=one, token_signing_key_file=one), SDLS)


async def test_a_token_signed_with_the_key_that_signs_inside_is_refused(
    key_files: tuple[Path, Path],
) -> None:
    signing = load_private_key(key_files[0].read_text())
    headers = {"Authorization": f"Bearer {issue_token(signing, Role.ADMIN, 'mallory')}"}
    settings = GatewaySettings(signing_key_file=key_files[0])

    async with (
        serving(create(settings, SDLS)) as gateway,
        httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=30) as client,
    ):
        answer = await client.post("/graphql", json={"query": "{ __typename }"}, headers=headers)

    assert answer.status_code == 401
    assert "a key that is not known here" in answer.text


def test_a_schema_without_a_service_is_refused(key_files: tuple[Path, Path]) -> None:
    with pytest.raises(SubgraphUnknown, match="weather"):
        create(GatewaySettings(signing_key_file=key_files[0]), {"weather": "type Query { a: Int }"})


def test_schemas_that_do_not_compose_are_refused_with_the_reason(
    key_files: tuple[Path, Path],
) -> None:
    broken = SDLS | {"journey": "type Query { a: Missing }"}

    with pytest.raises(CompositionError, match="Missing"):
        create(GatewaySettings(signing_key_file=key_files[0]), broken)


def test_a_folder_without_schemas_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SubgraphUnknown, match="make generate"):
        read_subgraphs(tmp_path)
