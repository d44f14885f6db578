"""Whoever reads or changes a customer through the graph is written down, whatever becomes of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import pytest

from gateway.access.audit import audit_log
from gateway.access.audit.audit_log import AuditLog, AuditLogUnavailable
from gateway.access.limits.registered_operations import hash_document
from gateway.pipeline.pipeline import RequestPipeline
from gateway.pipeline.request import GraphQLRequest
from services.chassis.principal import LOOKUP_POLICY, Forbidden, Principal
from services.contracts.enums import Role
from tests.unit.gateway.small_graph import ANN, InProcess, graph

AGENT = Principal(Role.AGENT, "desk 7", policies=frozenset({LOOKUP_POLICY}))
VISITOR = Principal(Role.VISITOR, "ann@example.com", tuple(sorted(ANN.items())))
CARD = """query Card {
  customer(ref: {identity: {type: "email", value: "ann@example.com"}}) { nextBestActions }
}"""
MINE = "query Mine($ref: CustomerRef!) { customer(ref: $ref) { nextBestActions } }"
TRACK = "mutation Track($input: TrackInput!) { track(input: $input) }"
LOOKED: dict[str, Any] = {"input": {"customer": {"identity": ANN}, "event": "looked"}}


@dataclass
class House:
    """A graph whose audit log can be read."""

    graph: RequestPipeline
    transport: InProcess
    log: AuditLog
    written: list[dict[str, Any]] = field(default_factory=list)

    async def ask(self, text: str, caller: Principal = AGENT, **variables: Any) -> dict[str, Any]:
        asked = GraphQLRequest(text, None, variables)
        answer: dict[str, Any] = await self.graph.answer(
            self.graph.prepare(asked, caller), asked, caller
        )
        return answer


@asynccontextmanager
async def house() -> AsyncIterator[House]:
    """What is written can be read when the block has ended."""
    written: list[dict[str, Any]] = []

    def write(lines: bytes) -> None:
        written.extend(orjson.loads(line) for line in lines.splitlines())

    log, transport = AuditLog(write, "secret"), InProcess()
    async with log.writing():
        audited = replace(graph(transport, is_open=True), audit=log)
        yield House(audited, transport, log, written)


async def test_a_read_names_the_customer_by_the_id_in_the_answer() -> None:
    async with house() as stage:
        answer = await stage.ask(CARD)

    assert "id" not in answer["data"]["customer"]
    [record] = stage.written
    assert record["customers"] == ["1"]
    assert record["identities_count"] == 1
    assert "example.com" not in str(record)
    assert (record["operation"], record["hash"]) == ("Card", hash_document(CARD))
    assert record["fields"] == {"customer": ["nextBestActions"]}
    assert record["caller"] == {"role": "agent", "subject": "desk 7"}


async def test_a_change_names_whom_it_was_meant_for() -> None:
    async with house() as stage:
        await stage.ask(TRACK, **LOOKED)

    [record] = stage.written
    assert (record["kind"], record["denied"]) == ("mutation", False)
    assert record["identities_count"] == 1
    assert record["identities"][0].startswith("email:")


async def test_what_touches_no_customer_is_not_written_down() -> None:
    async with house() as stage:
        await stage.ask("{ segments }")
        await stage.ask("{ __typename }")

    assert stage.written == []


async def test_a_refused_look_at_somebody_else_is_written_down() -> None:
    async with house() as stage:
        with pytest.raises(Forbidden):
            await stage.ask(MINE, VISITOR, ref={"identity": ANN | {"value": "bob@example.com"}})

    [record] = stage.written
    assert record["denied"]
    assert record["identities_count"] == 1
    assert "example.com" not in str(record)


async def test_a_change_that_was_cut_off_is_written_down() -> None:
    has_arrived = asyncio.Event()

    class Slow(InProcess):
        async def fetch(self, *arguments: Any, **how: Any) -> Any:
            has_arrived.set()
            await asyncio.Event().wait()

    async with house() as stage:
        slow = House(replace(stage.graph, transport=Slow()), stage.transport, stage.log)
        asking = asyncio.create_task(slow.ask(TRACK, **LOOKED))
        await has_arrived.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    [record] = stage.written
    assert record["errors"] == ["CancelledError"]


async def test_nothing_is_changed_while_it_cannot_be_written_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audit_log, "ROOM_WITHIN_S", 0.02)
    full = AuditLog(lambda lines: None, "secret", waiting=1)
    transport = InProcess()
    stage = House(replace(graph(transport, is_open=True), audit=full), transport, full)
    await stage.ask(CARD)  # takes the only place; nobody writes
    asked = list(transport.asked)

    with pytest.raises(AuditLogUnavailable):
        await stage.ask(TRACK, **LOOKED)
    await stage.ask(CARD)  # reads go on

    assert transport.asked == [*asked, *asked]


YAML = "key: loyal\nname: Loyal\n"


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("mutation P($y: String!) { publishSegment(yaml: $y) }", {"y": YAML}),
        ('mutation P { publishSegment(yaml: "key: loyal\\nname: Loyal\\n") }', {}),
    ],
)
async def test_what_was_published_is_written_down_with_who_did_it(
    text: str, variables: dict[str, Any]
) -> None:
    async with house() as stage:
        await stage.ask(text, Principal(Role.MARKETER, "ann"), **variables)

    [record] = stage.written
    assert record["caller"] == {"role": "marketer", "subject": "ann"}
    assert record["published"] == [
        {"field": "publishSegment", "sha256": hash_document(YAML), "keys": ["loyal"]}
    ]


async def test_the_condition_of_a_list_is_written_down_though_it_finds_nobody() -> None:
    asks = "query A($where: String) { action(key: 7, where: $where) }"
    async with house() as stage:
        await stage.ask(asks, where='traits.email == "ann@example.com"')
        await stage.ask(asks)

    [record] = stage.written
    [condition] = record["where"]
    assert condition.startswith("traits.email == text:")
    assert "ann@" not in str(record)


async def test_variables_that_are_wrong_describe_nothing_and_are_written_down_as_refused() -> None:
    async with house() as stage:
        await stage.ask("mutation P($y: String!) { publishSegment(yaml: $y) }", y=7)

    [record] = stage.written
    assert "published" not in record
    assert record["errors"] == ["BAD_USER_INPUT"]
