"""The explorer: its page and files, its examples, and for whom it makes tokens."""

import json
import re
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from graphql import parse, validate
from graphql.execution.values import get_variable_values

from gateway.access.authentication.api_keys import ApiKeyCache
from gateway.access.authentication.authenticator import Authenticator
from gateway.access.authentication.caller_tokens import CallerTokens
from gateway.access.authentication.verification_keys import VerificationKey, VerificationKeys
from gateway.app import read_subgraphs
from gateway.explorer.page_files import MEDIA_TYPES, PAGE, PageFiles, hash_content
from gateway.explorer.token_endpoint import LIFETIME_S, TokenEndpoint
from gateway.settings import GatewaySettings
from gateway.supergraph import compose
from infra.explorer_examples import EXAMPLES, FOLDER
from infra.instance import EmbeddedInstance
from services.chassis.bodies import BodyLimits
from services.chassis.server import ProcessApp, process_app
from services.chassis.settings import InvalidSettings
from services.contracts.enums import OWN_CUSTOMER_ONLY, Role
from tests.unit.gateway.small_graph import KEY, ROLES, InProcess, endpoint

ROOT = Path(__file__).parents[3]
EDITOR = PAGE.parent / "editor"
LOOPBACK = ("127.0.0.0/8", "::1/128")
HOST = "localhost:8000"
FROM_PAGE = {"Host": HOST, "Origin": f"http://{HOST}", "Sec-Fetch-Site": "same-origin"}
VISITOR = {"role": "visitor", "customer": {"type": "anonymous_id", "value": "visitor-1"}}

AUTHENTICATOR = Authenticator(
    CallerTokens(VerificationKeys(VerificationKey.of(KEY.public_key())), ROLES.resolve_grant),
    ApiKeyCache("", ROLES.resolve_grant),
)


@asynccontextmanager
async def no_lifespan(app: ProcessApp) -> AsyncIterator[None]:
    yield


def explorer(
    peer: str = "127.0.0.1",
    networks: tuple[str, ...] = LOOPBACK,
) -> httpx.AsyncClient:
    """A browser at an address, before a gateway that shows the explorer."""
    app, page = process_app(GatewaySettings(), no_lifespan), PageFiles()
    limits = BodyLimits(64 * 1024, "max_body_bytes", within_s=30)
    tokens = TokenEndpoint(KEY, networks, limits)
    app.mount_direct("/graphql", page.before(endpoint(InProcess(), is_open=True)))
    app.router.routes[:0] = [*page.routes(), *tokens.routes()]
    transport = httpx.ASGITransport(app=app, client=(peer, 50_000))
    return httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}")


# --- the page and its files -------------------------------------------------------------------


async def test_a_browser_sees_the_page_and_a_program_the_graph() -> None:
    async with explorer() as client:
        page = await client.get("/graphql", headers={"Accept": "text/html,*/*;q=0.8"})
        graph = await client.get("/graphql", headers={"Accept": "application/json"})

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<title>Raak" in page.text
    assert graph.headers["content-type"].startswith("application/json")


async def test_the_page_may_run_our_scripts_only_and_none_that_stands_in_it() -> None:
    async with explorer() as client:
        page = await client.get("/graphql", headers={"Accept": "text/html"})

    policy = dict(
        part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert re.findall(r"<script(?![^>]* src=)|<style| style=| on\w+=|https?:", page.text) == []


async def test_each_file_of_the_page_may_be_kept_for_good_since_its_address_has_its_hash() -> None:
    async with explorer() as client:
        page = await client.get("/graphql", headers={"Accept": "text/html"})
        addresses = re.findall(r'(?:src|href)="(graphql/[^"]+)"', page.text)
        files = [await client.get(f"/{address}") for address in addresses]

    assert {address.partition("?")[0] for address in addresses} == {
        f"graphql/{name}" for name in MEDIA_TYPES
    }
    for address, file in zip(addresses, files, strict=True):
        assert file.status_code == 200
        assert file.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert file.headers["content-encoding"] == "gzip"
        assert address.endswith(f"?v={hash_content(file.content)}")


@pytest.mark.parametrize("query", ["", "?v=0123456789abcdef"])
async def test_a_file_that_is_asked_for_without_its_hash_is_not_kept(query: str) -> None:
    async with explorer() as client:
        file = await client.get(f"/graphql/explorer.js{query}")

    assert file.status_code == 200
    assert "cache-control" not in file.headers


def test_the_editor_is_the_one_that_was_built() -> None:
    written, _, name = (PAGE / "editor.js.sha256").read_text().partition("  ")

    assert name.strip() == "editor.js"
    assert sha256((PAGE / "editor.js").read_bytes()).hexdigest() == written


def test_the_editor_is_built_from_pinned_packages_whose_licences_are_beside_it() -> None:
    package = json.loads((EDITOR / "package.json").read_text())
    pinned = package["dependencies"] | package["devDependencies"]
    text = (PAGE / "editor.js.licenses.txt").read_text()
    licences = re.findall(r"^(\S+) (\d+\.\d+\.\d+) \(([^)]+)\)$", text, re.MULTILINE)

    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in pinned.values())
    assert len(licences) > 15
    assert {terms for _, _, terms in licences} == {"MIT"}
    assert {name: version for name, version, _ in licences}.items() <= pinned.items()
    assert not (EDITOR / "package-lock.json").exists(), "it would record where packages came from"


def test_the_wheel_has_the_files_of_the_page() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())

    assert project["tool"]["setuptools"]["package-data"]["gateway.explorer.page"] == ["*"]
    assert {*MEDIA_TYPES, "index.html", "editor.js.licenses.txt"} <= {
        p.name for p in PAGE.iterdir()
    }


# --- its operations and roles -----------------------------------------------------------------


def test_the_page_reads_the_schema_by_a_valid_operation() -> None:
    script = (PAGE / "explorer.js").read_text()
    constants = dict(re.findall(r'const ([A-Z_]+) = ["`](.*?)["`];', script, re.DOTALL))

    def fill(text: str) -> str:
        return re.sub(r"\$\{(\w+)\}", lambda match: fill(constants[match[1]]), text)

    assert validate(compose(read_subgraphs()).schema, parse(fill(constants["SCHEMA"]))) == []


def test_every_operation_of_the_examples_is_in_the_menu_with_variables_that_fit() -> None:
    schema = compose(read_subgraphs()).schema

    assert set(EXAMPLES) == {path.stem for path in FOLDER.glob("*.graphql")}
    for name, example in EXAMPLES.items():
        document = parse((FOLDER / f"{name}.graphql").read_text())
        [operation] = document.definitions
        assert validate(schema, document) == []
        values: Any = get_variable_values(
            schema,
            operation.variable_definitions,  # type: ignore[attr-defined]
            dict(example.variables),
        )
        assert not isinstance(values, list), f"{name}: {values}"


def test_the_page_offers_every_role_and_asks_whom_those_of_one_customer_speak_for() -> None:
    offered = re.findall(r"<option>(\w+)</option>", (PAGE / "index.html").read_text())
    of_one = re.search(r"ROLES_OF_ONE_CUSTOMER = (\[.*\]);", (PAGE / "explorer.js").read_text())

    assert sorted(offered) == sorted(Role)
    assert of_one is not None
    assert set(json.loads(of_one[1])) == set(OWN_CUSTOMER_ONLY)


# --- tokens -----------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "localhost"])
async def test_the_explorer_on_this_machine_gets_a_token_that_the_gateway_accepts(
    host: str,
) -> None:
    headers = FROM_PAGE | {"Host": host, "Origin": f"http://{host}"}
    async with explorer() as client:
        response = await client.post("/graphql/token", json=VISITOR, headers=headers)

    answer = response.json()
    assert response.status_code == 200
    assert set(answer) == {"token", "expiresAt"}
    caller = await AUTHENTICATOR.authenticate({"authorization": f"Bearer {answer['token']}"})
    assert caller is not None
    assert (caller.role, caller.customer_ref) == (Role.VISITOR, VISITOR["customer"])
    claims = jwt.decode(answer["token"], options={"verify_signature": False})
    expires_at = datetime.fromisoformat(answer["expiresAt"]).timestamp()
    assert int(expires_at) == claims["exp"] == claims["iat"] + LIFETIME_S


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        pytest.param({"Origin": "https://evil.example"}, "not the explorer", id="another-site"),
        pytest.param({"Origin": "http://localhost:3000"}, "not the explorer", id="another-port"),
        pytest.param({"Origin": ""}, "not the explorer", id="no-page-at-all"),
        pytest.param({"Origin": "null"}, "not the explorer", id="a-sandboxed-frame"),
        pytest.param({"Sec-Fetch-Site": "same-site"}, "not the explorer", id="a-sibling"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, "not the explorer", id="a-stranger"),
        pytest.param(
            {"Host": "evil.example:8000", "Origin": "http://evil.example:8000"},
            "may point anywhere",
            id="dns-rebinding",
        ),
        pytest.param(
            {"Host": "localhost.evil.example", "Origin": "http://localhost.evil.example"},
            "may point anywhere",
            id="a-name-that-begins-as-ours",
        ),
        pytest.param(
            {"Host": "localhost:80@evil", "Origin": "http://localhost:80@evil"},
            "may point anywhere",
            id="no-port",
        ),
        pytest.param({"X-Forwarded-For": "127.0.0.1"}, "through a proxy", id="a-proxy"),
        pytest.param({"Forwarded": "for=127.0.0.1"}, "through a proxy", id="another-proxy"),
    ],
)
async def test_no_other_page_gets_a_token(headers: dict[str, str], problem: str) -> None:
    async with explorer() as client:
        response = await client.post(
            "/graphql/token", json={"role": "admin"}, headers=FROM_PAGE | headers
        )

    assert response.status_code == 403
    assert response.json()["error"]["code"] == "TOKEN_NOT_OFFERED"
    assert problem in response.json()["error"]["problem"]


@pytest.mark.parametrize(
    ("peer", "networks", "status"),
    [
        ("127.0.0.1", LOOPBACK, 200),
        ("::1", LOOPBACK, 200),
        ("::ffff:127.0.0.1", LOOPBACK, 200),
        ("10.0.0.7", LOOPBACK, 403),
        ("10.0.0.7", ("10.0.0.0/8",), 200),
        ("127.0.0.1", (), 403),
        ("", LOOPBACK, 403),
    ],
)
async def test_only_clients_of_the_networks_of_the_setting_get_a_token(
    peer: str, networks: tuple[str, ...], status: int
) -> None:
    async with explorer(peer, networks) as client:
        response = await client.post("/graphql/token", json={"role": "agent"}, headers=FROM_PAGE)

    assert response.status_code == status


def test_a_gateway_makes_tokens_for_nobody_until_a_network_is_named_as_raak_up_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(outer: dict[str, str]) -> tuple[str, ...]:
        with monkeypatch.context() as patch:
            for variable, value in instance.environment("gateway", outer).items():
                patch.setenv(variable, value)
            return GatewaySettings().explorer_token_networks

    instance = EmbeddedInstance(tmp_path, 23_000)
    name = "EXPLORER_TOKEN_NETWORKS"

    assert GatewaySettings().explorer_token_networks == ()
    assert read({}) == LOOPBACK
    assert read({f"RAAK_{name}": ""}) == ()
    assert read({f"RAAK_GATEWAY_{name}": "10.0.0.0/8"}) == ("10.0.0.0/8",)


@pytest.mark.parametrize("setting", ["explorer_token_networks", "trusted_proxies"])
def test_a_network_that_is_none_is_refused(setting: str) -> None:
    with pytest.raises(InvalidSettings, match=setting.upper()):
        GatewaySettings(**{setting: "localhost"})  # type: ignore[arg-type]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_a_body_that_a_browser_would_send_unasked_gets_no_token(content_type: str) -> None:
    async with explorer() as client:
        response = await client.post(
            "/graphql/token",
            content=b'{"role": "admin"}',
            headers=FROM_PAGE | {"Content-Type": content_type},
        )

    assert response.status_code == 415


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ([], "not an object"),
        ({}, "`role` is 'None'"),
        ({"role": "agnet"}, "`role` is 'agnet'"),
        ({"role": ["agent"]}, "is no role"),
        ({"role": "visitor"}, "must say which customer"),
        ({"role": "visitor", "customer": "ann"}, "`customer` is not"),
        ({"role": "visitor", "customer": {"type": "email", "value": ""}}, "`customer` is not"),
        ({"role": "visitor", "customer": {"type": "email"}}, "must say which customer"),
        ({"role": "visitor", "customer": {"type": "email", "value": "undefined"}}, "nobody"),
        ({"role": "agent", "customer": {"type": "email"}}, "no single customer"),
    ],
)
async def test_a_token_that_cannot_be_is_refused_with_what_is_wrong(
    body: Any, problem: str
) -> None:
    async with explorer() as client:
        response = await client.post("/graphql/token", json=body, headers=FROM_PAGE)

    assert response.status_code == 400
    assert response.json()["error"]["code"] == "INVALID_TOKEN_REQUEST"
    assert problem in response.json()["error"]["problem"]
