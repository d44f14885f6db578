"""Another graph takes the place of the one that is served, or does not, and says why."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.access.authorization.roles import Roles, read_roles_text
from gateway.current_graph import CurrentGraph
from gateway.pipeline.pipeline import RequestPipeline
from gateway.pipeline.request import GraphQLRequest
from gateway.reload import GraphReloader
from gateway.schema_source import (
    CompositionResult,
    SchemaSource,
    SourceTexts,
    SubgraphUnknown,
    digest_of,
    fixed_sdl,
    subgraph_folder,
    supergraph_file,
)
from gateway.supergraph import Supergraph, compose
from gateway.supergraph.composition.compose import compose_sdl
from services.chassis.errors import RaakError
from services.chassis.principal import Principal
from services.contracts.enums import Role
from tests.unit.gateway.small_graph import ROLES_YAML, SDLS, InProcess, graph
from tests.waiting import until

AGENT = Principal(Role.AGENT, "tester", policies=frozenset({"staff"}))
WITHOUT_SEGMENTS = SDLS["profile"].replace("segments: [String!]!", "")
BROKEN = SDLS["profile"].replace("segments: [String!]!", "segments: [Missing!]!")


def guarded(supergraph: Supergraph, roles: Roles) -> RequestPipeline:
    return replace(graph(InProcess()), supergraph=supergraph, roles=roles)


async def nothing(_: RequestPipeline) -> None:
    return None


class House:
    """A graph that is served from texts which may change."""

    def __init__(self, *, every_s: float = 0.0) -> None:
        self.texts: dict[str, str] = dict(SDLS)
        self.roles = ROLES_YAML
        self.planned: list[RequestPipeline] = []
        self.granted: list[Roles] = []
        self.made = 0
        source = SchemaSource(lambda: dict(self.texts), self._compose, lambda: self.roles)
        self.graph = CurrentGraph()
        self.reloader = GraphReloader(
            source,
            CompositionResult.of(source),
            self.graph,
            self._build,
            self._plan,
            self.granted.append,
            every_s=every_s,
        )

    def _compose(self, texts: Mapping[str, str]) -> Supergraph:
        self.made += 1
        return compose(texts)

    def _build(self, supergraph: Supergraph, roles: Roles) -> RequestPipeline:
        if "nobodys" in supergraph.subgraphs:
            raise SubgraphUnknown("Nobody knows it.", hint="Tell.")
        return guarded(supergraph, roles)

    async def _plan(self, graph: RequestPipeline) -> None:
        self.planned.append(graph)

    @property
    def digest(self) -> str:
        """Of what there is to be served."""
        return SourceTexts(self.texts, self.roles).digest

    async def change(self, roles: str | None = None, **texts: str) -> None:
        """Write schemas and roles, and look until they are believed."""
        self.texts |= texts
        self.roles = roles or self.roles
        await self.reloader.look()
        await self.reloader.look()

    def has(self, field: str) -> bool:
        return field in self.graph().supergraph.schema.query_type.fields  # type: ignore[union-attr]


async def test_what_has_changed_is_current() -> None:
    house = House()
    before = house.reloader.digest

    await house.change(profile=WITHOUT_SEGMENTS)

    assert not house.has("segments")
    assert house.reloader.digest == house.digest != before
    assert house.planned == [house.graph()]


async def test_what_has_not_changed_is_not_composed_again() -> None:
    house = House()
    first = house.graph()

    for _ in range(5):
        await house.reloader.look()

    assert house.graph() is first
    assert house.made == 1


async def test_a_change_is_believed_when_it_was_seen_twice() -> None:
    house = House()
    house.texts["profile"] = WITHOUT_SEGMENTS
    await house.reloader.look()
    was_there = house.has("segments")

    await house.reloader.look()

    assert (was_there, house.has("segments")) == (True, False)


async def test_what_does_not_compose_is_told_with_all_its_problems_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    house = House()
    before = house.graph()

    await house.change(profile=BROKEN)
    await house.reloader.look()
    await house.reloader.look()

    assert house.graph() is before
    assert house.reloader.refused == house.digest
    assert "Missing" in (house.reloader.reason or "")
    (told,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "Missing" in told.fields["reason"]  # type: ignore[attr-defined]


async def test_after_a_refusal_the_next_change_is_current() -> None:
    house = House()
    await house.change(profile=BROKEN)

    await house.change(profile=WITHOUT_SEGMENTS)

    assert not house.has("segments")
    assert house.reloader.refused is None


async def test_going_back_to_what_is_served_ends_a_refusal() -> None:
    house = House()
    await house.change(profile=BROKEN)

    await house.change(profile=SDLS["profile"])

    assert (house.reloader.refused, house.reloader.reason) == (None, None)
    assert house.made == 2


@pytest.mark.parametrize("sdl", ["", "type", "type Query { a: Int", "\x00", "{" * 5_000])
async def test_nonsense_changes_nothing(sdl: str) -> None:
    house = House()
    before = house.graph()

    await house.change(profile=sdl)

    assert house.graph() is before
    assert house.reloader.refused


async def test_a_graph_with_a_service_nobody_knows_changes_nothing() -> None:
    house = House()
    before = house.graph()

    await house.change(nobodys="type Query { nobody: Int }")

    assert house.graph() is before
    assert house.reloader.refused


async def test_operations_in_use_are_planned_before_they_are_asked_of_a_new_graph() -> None:
    house = House()
    asked = [("{ segments }", None), ('{ nextBestActions(customer: {id: "1"}) }', None)]
    for text, name in asked:
        house.graph().prepare(GraphQLRequest(text, name), AGENT)

    await house.change(profile=WITHOUT_SEGMENTS + "type More { a: Int }")

    assert house.graph().operations.keys() == asked[1:], "the other one is no longer valid"


async def test_a_request_ends_on_the_graph_it_began_on() -> None:
    house = House()
    first = house.graph()
    asked = GraphQLRequest("{ segments }")
    prepared = first.prepare(asked, AGENT)

    await house.change(profile=WITHOUT_SEGMENTS)

    assert await first.answer(prepared, asked, AGENT) == {"data": {"segments": ["loyal"]}}


# --- roles --------------------------------------------------------------------------------------

SEGMENTS = "    segments: business\n"
WITHOUT_A_LINE = ROLES_YAML.replace(SEGMENTS, "")
MORE = ROLES_YAML.replace(SEGMENTS, "    segments: all\n")
LESS = ROLES_YAML.replace(SEGMENTS, "    segments: [admin]\n")


async def is_denied(house: House) -> bool:
    asked = GraphQLRequest("{ segments }")
    prepared = house.graph().prepare(asked, AGENT)
    answer = await house.graph().answer(prepared, asked, AGENT)
    codes = {error["extensions"]["code"] for error in answer.get("errors", ())}
    return codes == {"UNAUTHORIZED_FIELD_OR_TYPE"}


async def test_a_field_may_be_read_as_soon_as_the_roles_name_it() -> None:
    house = House()
    await house.change(roles=WITHOUT_A_LINE)
    was_denied = await is_denied(house)

    await house.change(roles=ROLES_YAML)

    assert (was_denied, await is_denied(house)) == (True, False)


async def test_a_field_that_is_taken_away_is_denied_and_the_door_is_told() -> None:
    house = House()

    await house.change(roles=LESS)

    assert await is_denied(house)
    assert [roles is house.graph().roles for roles in house.granted] == [True]


@pytest.mark.parametrize(
    ("roles", "said"),
    [
        (LESS.replace("admin", "owner"), "owner"),
        ("{", "cannot be read"),
        ("[" * 5_000, "more than 50 levels deep"),
        ("\0", "cannot be read"),
    ],
)
async def test_faulty_roles_change_nothing_and_it_is_told_why(roles: str, said: str) -> None:
    house = House()
    before = house.graph()

    await house.change(roles=roles, profile=WITHOUT_SEGMENTS)

    assert house.graph() is before
    assert not house.granted
    assert house.reloader.refused == house.digest
    assert said in (house.reloader.reason or "")


async def test_roles_that_cannot_be_read_change_nothing(tmp_path: Path) -> None:
    file = tmp_path / "roles.yaml"
    file.write_text(ROLES_YAML)
    source = replace(fixed_sdl(SDLS), read_roles=lambda: read_roles_text(file))
    current = CurrentGraph()
    reloader = GraphReloader(source, CompositionResult.of(source), current, guarded, nothing)
    file.unlink()

    await reloader.look(at_once=True)

    assert "roles.yaml' can't be read (FileNotFoundError)" in (reloader.reason or "")
    assert current().roles.may_read(Role.AGENT, "Query.segments")


# --- looking ------------------------------------------------------------------------------------


@pytest.fixture
def watched(tmp_path: Path) -> Path:
    """A folder of schemas."""
    for name, sdl in SDLS.items():
        (tmp_path / f"{name}.graphql").write_text(sdl)
    return tmp_path


async def test_a_folder_is_watched(watched: Path) -> None:
    source = subgraph_folder(watched)
    current = CurrentGraph()
    reloader = GraphReloader(
        source, CompositionResult.of(source), current, guarded, nothing, every_s=0.01
    )
    before = reloader.digest
    watching = asyncio.create_task(reloader.run())

    (watched / "profile.graphql").write_text(WITHOUT_SEGMENTS)
    await until(lambda: reloader.digest != before)
    (watched / "profile.graphql").write_bytes(b"\xff")
    await until(lambda: reloader.refused is not None)
    (watched / "profile.graphql").write_text(SDLS["profile"])
    await until(lambda: reloader.digest == before)

    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching


async def test_sighup_has_it_look_at_once() -> None:
    house = House(every_s=0)
    watching = asyncio.create_task(house.reloader.run())
    unheard = signal.getsignal(signal.SIGHUP)
    await until(lambda: signal.getsignal(signal.SIGHUP) is not unheard)
    house.texts["profile"] = WITHOUT_SEGMENTS

    os.kill(os.getpid(), signal.SIGHUP)

    await until(lambda: not house.has("segments"))
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching


# --- where it comes from ------------------------------------------------------------------------


def test_a_supergraph_composed_elsewhere_is_read(tmp_path: Path) -> None:
    file = tmp_path / "supergraph.graphql"
    file.write_text(compose_sdl(SDLS, {name: f"http://{name}/graphql" for name in SDLS}))

    composed = CompositionResult.of(supergraph_file(file))

    assert set(composed.supergraph.subgraphs) == set(SDLS)


@pytest.mark.parametrize("content", [None, b"\xff", b"type Query { a: Int }"])
def test_a_file_that_is_no_supergraph_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "supergraph.graphql"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(RaakError, match=r"supergraph|can.t be read"):
        CompositionResult.of(supergraph_file(file))


def test_digests_differ_where_texts_or_names_do() -> None:
    texts = [{"a": "b"}, {"a": "c"}, {"b": "b"}, {"a": "b", "c": ""}, {"ab": ""}, {"": "ab"}]

    assert len({digest_of(text) for text in texts}) == len(texts)
    assert digest_of({"a": "1", "b": "2"}) == digest_of({"b": "2", "a": "1"})


def test_what_is_given_never_changes() -> None:
    source = fixed_sdl(SDLS)

    assert source.read() == source.read() == SDLS


# --- subscriptions ------------------------------------------------------------------------------


async def events(queue: asyncio.Queue[int]) -> AsyncGenerator[dict[str, Any], None]:
    while True:
        yield {"data": await queue.get()}


async def test_a_subscription_goes_on_while_its_field_is_there() -> None:
    house = House()
    queue: asyncio.Queue[int] = asyncio.Queue()
    answers = house.graph.guard_subscription(frozenset({"Query.segments"}), events(queue))
    waiting = asyncio.ensure_future(anext(answers))

    await house.change(decision=SDLS["decision"] + "type More { a: Int }")
    await queue.put(1)

    assert await waiting == {"data": 1}
    await answers.aclose()


async def test_a_subscription_whose_field_is_gone_ends_with_an_error() -> None:
    house = House()
    queue: asyncio.Queue[int] = asyncio.Queue()
    answers = house.graph.guard_subscription(frozenset({"Query.segments"}), events(queue))
    waiting = asyncio.ensure_future(anext(answers))
    await asyncio.sleep(0)

    await house.change(profile=WITHOUT_SEGMENTS)

    last = await waiting
    assert last["errors"][0]["extensions"]["code"] == "SUBSCRIPTION_ENDED"
    assert "Query.segments" in last["errors"][0]["message"]
    assert [answer async for answer in answers] == []


@pytest.mark.parametrize(("roles", "goes_on"), [(LESS, False), (MORE, True)])
async def test_a_subscription_ends_when_roles_take_something_away(
    roles: str, goes_on: bool
) -> None:
    house = House()
    queue: asyncio.Queue[int] = asyncio.Queue()
    answers = house.graph.guard_subscription(frozenset({"Query.customer"}), events(queue))
    waiting = asyncio.ensure_future(anext(answers))
    await asyncio.sleep(0)

    await house.change(roles=roles)
    await queue.put(1)

    answer = await waiting
    assert (answer == {"data": 1}) == goes_on
    if not goes_on:
        assert answer["errors"][0]["extensions"]["code"] == "SUBSCRIPTION_ENDED"
        again = house.graph.guard_subscription(frozenset({"Query.customer"}), events(queue))
        assert await anext(again) == {"data": 1}
    await answers.aclose()


async def test_a_subscription_that_ends_by_itself_just_ends() -> None:
    async def two() -> AsyncGenerator[dict[str, Any], None]:
        yield {"data": 1}
        yield {"data": 2}

    guard = House().graph.guard_subscription
    found = [answer async for answer in guard(frozenset({"Query.segments"}), two())]

    assert found == [{"data": 1}, {"data": 2}]
