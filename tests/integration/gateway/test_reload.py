"""The schemas change under load, several times; no request fails, and what is new is answered."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from gateway.graph import Graph
from gateway.reload import Composed, Served, subgraph_folder
from gateway.supergraph import Supergraph
from tests.integration.gateway.serving import serving
from tests.unit.gateway.small_graph import AGENT, SDLS, InProcess, endpoint, graph

WITHOUT_SEGMENTS = SDLS["profile"].replace("segments: [String!]!", "")
BROKEN = SDLS["profile"].replace("segments: [String!]!", "segments: [Missing!]!")
ALWAYS = '{ customer(ref: {id: "1"}) { name nextBestActions } }'
SOMETIMES = "{ segments }"


async def nothing(_: Graph) -> None:
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


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.01)


async def test_no_request_fails_while_the_schemas_change_again_and_again(tmp_path: Path) -> None:
    for name, sdl in SDLS.items():
        (tmp_path / f"{name}.graphql").write_text(sdl)
    first = graph(InProcess())

    def guarded(supergraph: Supergraph) -> Graph:
        return replace(first, supergraph=supergraph)

    source = subgraph_folder(tmp_path)
    served = Served(source, Composed.of(source), guarded, nothing, every_s=0.02)
    async with (
        serving(endpoint(InProcess(), served=served)) as gateway,
        httpx.AsyncClient(base_url=gateway.url, headers=AGENT, trust_env=False) as client,
    ):
        load = Load(client)
        async with asyncio.TaskGroup() as together:
            watching = together.create_task(served.run())
            clients = [together.create_task(load.go_on()) for _ in range(8)]
            asked_meanwhile = []
            for sdl, is_there in [
                (WITHOUT_SEGMENTS, False),
                (SDLS["profile"], True),
                (BROKEN, True),
                (WITHOUT_SEGMENTS, False),
                (SDLS["profile"], True),
            ]:
                before, asked = served(), load.answers.total()
                (tmp_path / "profile.graphql").write_text(sdl)
                if sdl is BROKEN:
                    await until(lambda: served.refused is not None)
                else:
                    await until(lambda before=before: served() is not before)  # type: ignore[misc]
                answer = await load.ask(SOMETIMES)
                assert ("data" in answer) == is_there
                asked_meanwhile.append(load.answers.total() - asked)
            load.is_over = True
            await asyncio.wait(clients)
            watching.cancel()

    whole = {"data": {"customer": {"name": "Ann", "nextBestActions": ["jazz weeks"]}}}
    assert set(load.answers) == {str(whole)}
    assert load.answers.total() > 200
    assert all(asked_meanwhile), "requests were answered during every change"
