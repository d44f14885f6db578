"""The schemas change under load, several times; no request fails, and what is new is answered."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.access.authentication.caller_tokens import issue_token
from gateway.access.authentication.service_tokens import load_private_key
from gateway.access.authorization.roles import Roles
from gateway.app import create
from gateway.current_graph import CurrentGraph
from gateway.pipeline.pipeline import RequestPipeline
from gateway.reload import GraphReloader
from gateway.schema_source import CompositionResult, SubgraphUnknown, subgraph_folder
from gateway.settings import GatewaySettings
from gateway.supergraph import Supergraph
from gateway.supergraph.composition.compose import compose_sdl
from services.contracts.enums import Role
from tests.integration.gateway.serving import counted, serving
from tests.unit.gateway.small_graph import AGENT, ROLES_YAML, SDLS, InProcess, endpoint, graph
from tests.waiting import until

ASKS_A_SCOPE = 'segments: [String!] @requiresScopes(scopes: [["new"]])'
WITHOUT_SEGMENTS = SDLS["profile"].replace("segments: [String!]!", "")
BROKEN = SDLS["profile"].replace("segments: [String!]!", "segments: [Missing!]!")
ALWAYS = '{ customer(ref: {id: "1"}) { name nextBestActions } }'
SOMETIMES = "{ segments }"
REFUSED = 'raak_graph_reloads_total{outcome="refused"}'


async def nothing(_: RequestPipeline) -> None:
    return None


class Load:
    """Clients who ask the same all the time."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self.answers: Counter[str] = Counter()
        self.is_over = False

    async def ask(self, query: str) -> dict[str, Any]:
        response = await self._client.post("/graphql", json={"query": query})
        assert response.status_code == 200
        answer: dict[str, Any] = response.json()
        return answer

    async def go_on(self) -> None:
        while not self.is_over:
            self.answers[str(await self.ask(ALWAYS))] += 1


async def test_no_request_fails_while_the_schemas_change_again_and_again(tmp_path: Path) -> None:
    for name, sdl in SDLS.items():
        (tmp_path / f"{name}.graphql").write_text(sdl)
    first = graph(InProcess())

    def guarded(supergraph: Supergraph, _: Roles) -> RequestPipeline:
        return replace(first, supergraph=supergraph)

    source = subgraph_folder(tmp_path)
    current = CurrentGraph()
    reloader = GraphReloader(
        source, CompositionResult.of(source), current, guarded, nothing, every_s=0.02
    )
    async with (
        serving(endpoint(InProcess(), served=current)) as gateway,
        httpx.AsyncClient(
            base_url=gateway.url, headers=AGENT, trust_env=False, timeout=30
        ) as client,
    ):
        load = Load(client)
        async with asyncio.TaskGroup() as together:
            watching = together.create_task(reloader.run())
            clients = [together.create_task(load.go_on()) for _ in range(8)]
            asked_meanwhile = []
            for sdl, is_there in [
                (WITHOUT_SEGMENTS, False),
                (SDLS["profile"], True),
                (BROKEN, True),
                (WITHOUT_SEGMENTS, False),
                (SDLS["profile"], True),
            ]:
                before, asked = current(), load.answers.total()
                (tmp_path / "profile.graphql").write_text(sdl)
                if sdl is BROKEN:
                    await until(lambda: reloader.refused is not None)
                else:
                    await until(lambda before=before: current() is not before)  # type: ignore[misc]
                answer = await load.ask(SOMETIMES)
                assert ("data" in answer) == is_there
                asked_meanwhile.append(load.answers.total() - asked)
            await until(lambda: load.answers.total() > 100, within_s=300)
            load.is_over = True
            await asyncio.wait(clients)
            watching.cancel()

    whole = {"data": {"customer": {"name": "Ann", "nextBestActions": ["jazz weeks"]}}}
    assert set(load.answers) == {str(whole)}
    assert all(asked_meanwhile), "requests were answered during every change"


@asynccontextmanager
async def gateway_on(settings: GatewaySettings) -> AsyncIterator[httpx.AsyncClient]:
    """A whole gateway that has neither services nor a database; it can tell its schema."""
    async with (
        serving(create(settings)) as gateway,
        httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=30) as client,
    ):
        yield client


async def graph_of(client: httpx.AsyncClient) -> dict[str, Any]:
    """The graph that is served, as `/health/ready` tells it."""
    told: dict[str, Any] = (await client.get("/health/ready")).json()["graph"]
    return told


async def until_refused(client: httpx.AsyncClient) -> dict[str, Any]:
    """Ask for the graph until it says that another one was refused."""

    async def is_refused() -> bool:
        return bool((await graph_of(client))["refused"])

    await until(is_refused)
    return await graph_of(client)


async def root_fields(client: httpx.AsyncClient) -> set[str]:
    query = "{ __schema { queryType { fields { name } } } }"
    response = await client.post("/graphql", json={"query": query})
    return {field["name"] for field in response.json()["data"]["__schema"]["queryType"]["fields"]}


async def test_a_whole_gateway_serves_the_folder_it_is_told_to(
    tmp_path: Path, key_files: tuple[Path, Path]
) -> None:
    for name, sdl in SDLS.items():
        (tmp_path / f"{name}.graphql").write_text(sdl)
    settings = GatewaySettings(
        signing_key_file=key_files[0], schemas_dir=tmp_path, schemas_every_ms=20
    )

    async with gateway_on(settings) as client:
        before, fields_before = await graph_of(client), await root_fields(client)
        counted_before = await counted(client, REFUSED)
        (tmp_path / "profile.graphql").write_text(WITHOUT_SEGMENTS)

        async def has_changed() -> bool:
            return await graph_of(client) != before

        await until(has_changed)
        after = await graph_of(client)
        fields_after = await root_fields(client)
        (tmp_path / "profile.graphql").write_text(BROKEN)
        refused = await until_refused(client)
        counted_after = await counted(client, REFUSED)

    assert fields_before - fields_after == {"segments"}
    assert (before["refused"], after["refused"]) == (None, None)
    assert refused["digest"] == after["digest"]
    assert counted_after == counted_before + 1


async def test_a_whole_gateway_lets_tokens_have_what_changed_roles_grant(
    tmp_path: Path, key_files: tuple[Path, Path]
) -> None:
    schemas, roles = tmp_path / "schemas", tmp_path / "roles.yaml"
    schemas.mkdir()
    for name, sdl in SDLS.items():
        (schemas / f"{name}.graphql").write_text(sdl)
    roles.write_text(ROLES_YAML)
    settings = GatewaySettings(
        signing_key_file=key_files[0],
        caller_key_file=key_files[1],
        schemas_dir=schemas,
        roles_file=roles,
        schemas_every_ms=20,
    )
    token = issue_token(load_private_key(key_files[0].read_text()), Role.AGENT, "ann")
    marked = SDLS["profile"].replace("segments: [String!]!", ASKS_A_SCOPE)
    marked = marked.replace('"@key"', '"@key", "@requiresScopes"')

    async with gateway_on(settings) as client:
        client.headers["Authorization"] = f"Bearer {token}"
        (schemas / "profile.graphql").write_text(marked)
        await until_denied(client, is_denied=True)
        roles.write_text(ROLES_YAML.replace("agent: {scopes: []", "agent: {scopes: [new]"))
        await until_denied(client, is_denied=False)
        roles.write_text("nonsense")
        refused = await until_refused(client)
        await until_denied(client, is_denied=False)

    assert "The file of roles cannot be read" in refused["reason"]


async def until_denied(client: httpx.AsyncClient, *, is_denied: bool) -> None:
    """Ask for segments, which no service answers, until that is denied or not."""

    async def is_so() -> bool:
        answer = (await client.post("/graphql", json={"query": "{ segments }"})).json()
        code = answer["errors"][0]["extensions"]["code"]
        return bool((code == "UNAUTHORIZED_FIELD_OR_TYPE") == is_denied)

    await until(is_so)


async def test_a_whole_gateway_serves_a_supergraph_composed_elsewhere(
    tmp_path: Path, key_files: tuple[Path, Path]
) -> None:
    elsewhere = {"weather": "type Query { temperature: Int }"}
    file = tmp_path / "supergraph.graphql"
    file.write_text(compose_sdl(elsewhere, {"weather": "http://127.0.0.1:9/graphql"}))
    settings = GatewaySettings(signing_key_file=key_files[0], supergraph_file=file)

    async with gateway_on(settings) as client:
        assert await root_fields(client) == {"temperature"}
        assert (await client.get("/health/ready")).json()["subgraphs"] == {}


async def test_a_whole_gateway_tells_which_service_it_leaves_alone(
    tmp_path: Path, key_files: tuple[Path, Path]
) -> None:
    file, roles = tmp_path / "supergraph.graphql", tmp_path / "roles.yaml"
    elsewhere = {"weather": "type Query { temperature: Int }"}
    file.write_text(compose_sdl(elsewhere, {"weather": "http://127.0.0.1:9/graphql"}))
    roles.write_text(
        "roles: {agent: {scopes: [], policies: []}}\nfields: {Query: {temperature: [agent]}}\n"
    )
    settings = GatewaySettings(
        signing_key_file=key_files[0],
        caller_key_file=key_files[1],
        supergraph_file=file,
        roles_file=roles,
    )
    token = issue_token(load_private_key(key_files[0].read_text()), Role.AGENT, "tester")

    async with gateway_on(settings) as client:
        for _ in range(5):
            response = await client.post(
                "/graphql",
                json={"query": "{ temperature }"},
                headers={"Authorization": f"Bearer {token}"},
            )
        breakers = (await client.get("/health/ready")).json()["breakers"]
        metrics = (await client.get("/metrics")).text

    answer = response.json()
    assert answer["data"] == {"temperature": None}
    assert answer["errors"][0]["extensions"]["code"] == "SUBGRAPH_UNAVAILABLE"
    assert "try again in" in answer["errors"][0]["extensions"]["hint"]
    assert breakers == {"weather": "open"}
    assert 'raak_subgraph_breaker_open{subgraph="weather"} 1.0' in metrics


def test_a_supergraph_that_does_not_say_where_its_services_are_is_refused(
    tmp_path: Path, key_files: tuple[Path, Path]
) -> None:
    file = tmp_path / "supergraph.graphql"
    file.write_text(compose_sdl({"weather": "type Query { temperature: Int }"}))

    with pytest.raises(SubgraphUnknown, match="weather"):
        create(GatewaySettings(signing_key_file=key_files[0], supergraph_file=file))
