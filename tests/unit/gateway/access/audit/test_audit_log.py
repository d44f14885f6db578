"""The audit log says who read or changed which customer, and nothing of who the customer is."""

import asyncio
import hmac
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from graphql import build_schema, parse

from gateway.access.audit import audit_log
from gateway.access.audit import record as audit_record
from gateway.access.audit.audit_log import (
    AuditEntry,
    AuditLog,
    AuditLogUnavailable,
    UnusableAuditFile,
    file_sink,
)
from gateway.access.audit.record import AuditedOperation, Digests
from gateway.access.selections import visit_operation
from gateway.supergraph import Operation
from services.chassis.principal import Principal
from services.contracts.enums import Role
from tests.waiting import until

NOW = datetime(2026, 11, 22, 9, 30, 0, 120_000, tzinfo=UTC)
AGENT = Principal(Role.AGENT, "desk 7")
ANN = "0190d3a4-0000-7000-8000-000000000001"
EMAIL = {"identity": {"type": "email", "value": "Ann@Example.com "}}
READ = AuditedOperation("query", "Customer", "5f", {"customer": ["id"]})
CHANGE = AuditedOperation("mutation", "Consent", "6a", {"setConsent": ["id"]})


class Disk:
    """A sink that can be full; keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.is_full = False
        self.refused = 0

    def __call__(self, lines: bytes) -> None:
        if self.is_full:
            self.refused += 1
            raise OSError("No space left on device")
        self.written += lines

    @property
    def records(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.written.splitlines() if line]


def log_on(sink: Callable[[bytes], None], **how: Any) -> AuditLog:
    return AuditLog(sink, "secret", clock=lambda: NOW, **how)


async def recorded(*arguments: Any, **how: Any) -> list[dict[str, Any]]:
    """What is written of one request."""
    disk = Disk()
    log = log_on(disk)
    async with log.writing():
        log.record(*arguments, **how)
    return disk.records


def touched(text: str) -> AuditedOperation:
    operation = Operation.choose(parse(text))
    root, _ = visit_operation(operation, build_schema("type Query { any: Int }"))
    return AuditedOperation.by(operation.definition, root, "5f")


async def test_a_record_says_who_asked_what_of_whom() -> None:
    [record] = await recorded(AGENT, READ, customers={ANN})

    assert record == {
        "time": "2026-11-22T09:30:00.120000+00:00",
        "kind": "query",
        "operation": "Customer",
        "hash": "5f",
        "caller": {"role": "agent", "subject": "desk 7"},
        "fields": {"customer": ["id"]},
        "customers": [ANN],
        "customers_count": 1,
        "identities": [],
        "identities_count": 0,
        "denied": False,
        "errors": [],
    }


async def test_a_request_that_touches_no_customer_is_not_recorded() -> None:
    assert await recorded(AGENT, READ) == []
    assert await recorded(AGENT, READ, codes={"BAD_USER_INPUT"}) == []


async def test_a_change_is_recorded_though_it_names_nobody() -> None:
    [record] = await recorded(
        AGENT, AuditedOperation("mutation", "Outcome", "7b", {"recordOutcome": []})
    )

    assert (record["customers_count"], record["identities_count"]) == (0, 0)


async def test_a_denied_request_is_recorded_though_it_touched_nobody() -> None:
    [record] = await recorded(AGENT, READ, codes={"UNKNOWN", "FORBIDDEN"})

    assert record["denied"]
    assert record["errors"] == ["FORBIDDEN", "UNKNOWN"]


async def test_an_identity_is_told_by_a_digest_of_how_it_is_stored() -> None:
    same = {"identity": {"type": "email", "value": "ann@example.com"}}
    other = {"identity": {"type": "email", "value": "bob@example.com"}}

    [record] = await recorded(
        AGENT, READ, references=[EMAIL, same, other, {"id": ANN, "identity": None}]
    )

    assert record["customers"] == [ANN]
    assert record["identities_count"] == 2
    assert all(one.startswith("email:") and len(one) == 38 for one in record["identities"])


@pytest.mark.parametrize(
    ("caller", "named"),
    [
        (AGENT, [EMAIL]),
        (AGENT, [{"id": "ann@example.com"}]),
        (AGENT, [{"identity": {"type": "ann@example.com", "value": "x"}}]),
        (Principal(Role.VISITOR, "ann@example.com", (("id", ANN),)), [{"id": ANN}]),
        (Principal(Role.APP, "ann@example.com", (("id", ANN),)), [{"id": ANN}]),
    ],
)
async def test_no_identity_can_be_read_in_the_log(
    caller: Principal, named: list[dict[str, Any]]
) -> None:
    disk = Disk()
    log = log_on(disk)
    async with log.writing():
        log.record(caller, READ, references=named)

    assert disk.records
    assert b"ann" not in disk.written.lower()


@pytest.mark.parametrize("role", [Role.AGENT, Role.MARKETER, Role.ADMIN, Role.VISITOR])
async def test_staff_is_named_by_a_digest_where_that_is_set_and_keys_never_are(role: Role) -> None:
    disk = Disk()
    log = log_on(disk, digests_staff=True)
    async with log.writing():
        log.record(Principal(role, "ann"), CHANGE)
        log.record(Principal(role, "key:0123456789abcdef"), CHANGE)

    staff, key = (record["caller"]["subject"] for record in disk.records)
    assert staff == Digests(b"secret").of("subject", "ann")
    assert key == "key:0123456789abcdef"


async def test_of_many_customers_some_are_listed_and_all_are_counted() -> None:
    [record] = await recorded(AGENT, READ, customers={f"{n:03}" for n in range(200)})

    assert record["customers"] == [f"{n:03}" for n in range(audit_record.MAX_ITEMS)]
    assert record["customers_count"] == 200


def test_an_operation_is_known_by_the_fields_below_its_roots() -> None:
    operation = touched(
        """query Card($ref: CustomerRef!) {
          me: customer(ref: $ref) { ...Known ... on Customer { id } segments { key } }
          again: customer(ref: $ref) { id name: segments { name } }
          actions
        }
        fragment Known on Customer { id traits { name } }"""
    )

    assert (operation.kind, operation.name) == ("query", "Card")
    assert operation.fields == {
        "customer": ["id", "traits.name", "segments.key", "segments.name"],
        "actions": [],
    }


async def test_reads_without_room_are_dropped_and_counted_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = log_on(Disk(), waiting=2)
    before = audit_log.DROPPED._value.get()

    for _ in range(5):
        log.record(AGENT, READ, customers={ANN})

    assert audit_log.DROPPED._value.get() - before == 3
    assert (
        caplog.messages.count("the audit log has no room: reads are answered without a record") == 1
    )


async def test_a_change_is_kept_though_there_is_no_room_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audit_log, "RETRY_S", 0.01)
    disk = Disk()
    disk.is_full = True
    log = log_on(disk, waiting=1)
    async with log.writing():
        for _ in range(9):
            log.record(AGENT, CHANGE, customers={ANN})
        AuditEntry(log, AGENT, CHANGE, [EMAIL]).record_failure(asyncio.CancelledError())
        await until(lambda: disk.refused > 1)
        disk.is_full = False

    assert len(disk.records) == 10
    assert disk.records[-1]["errors"] == ["CancelledError"]


async def test_nothing_is_changed_while_there_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_log, "ROOM_WITHIN_S", 0.05)
    log = log_on(Disk(), waiting=1)
    await log.wait_for_room()
    log.record(AGENT, READ, customers={ANN})

    with pytest.raises(AuditLogUnavailable):
        await log.wait_for_room()


async def test_who_waits_for_room_goes_on_as_soon_as_there_is_some() -> None:
    log = log_on(Disk(), waiting=1)
    log.record(AGENT, READ, customers={ANN})
    waiting = asyncio.create_task(log.wait_for_room())
    await asyncio.sleep(0)

    async with log.writing():
        await asyncio.wait_for(waiting, 30)


async def test_a_record_without_words_keeps_no_other_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk = Disk()
    log = log_on(disk)
    async with log.writing():
        log.record(AGENT, READ, references=[{"identity": {"kind": "of another graph"}}])
        log.record(AGENT, READ, references=[EMAIL])

    assert [record["kind"] for record in disk.records] == ["gap", "query"]
    assert disk.records[0]["dropped"] == 1
    assert caplog.messages == ["a record of the audit log is lost"]


async def test_any_subject_can_be_written() -> None:
    [record] = await recorded(Principal(Role.AGENT, "desk \ud800"), READ, customers={ANN})

    assert record["caller"]["subject"] == "desk \\ud800"


@pytest.mark.parametrize("secret", ["s", "s" * 64, "s" * 65, "s" * 200])
def test_a_digest_is_an_hmac(secret: str) -> None:
    plain = hmac.digest(secret.encode(), b"email:ann@example.com", "sha256").hex()

    assert Digests(secret.encode()).of("email", "ann@example.com") == f"email:{plain[:32]}"


def test_digesting_lets_no_other_thread_go_first() -> None:
    """A thread that gets the interpreter lock may hold it for 5 ms, and requests would wait."""
    digests, gate, passed = Digests(b"secret"), threading.Event(), threading.Event()

    def pass_through() -> None:
        gate.wait()
        passed.set()

    other = threading.Thread(target=pass_through)
    other.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(60)
    try:
        gate.set()
        for number in range(10_000):
            digests.of("email", f"{number}@example.com")
        has_passed = passed.is_set()
    finally:
        sys.setswitchinterval(interval)

    other.join()
    assert not has_passed


async def test_a_file_that_was_renamed_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    log = log_on(file_sink(path))
    async with log.writing():
        log.record(AGENT, READ, customers={ANN})
        await until(lambda: path.exists() and bool(path.read_bytes()))
        path.rename(tmp_path / "audit.1")
        log.record(AGENT, CHANGE, customers={ANN})

    kinds = [
        orjson.loads((tmp_path / name).read_bytes())["kind"] for name in ("audit.1", path.name)
    ]
    assert kinds == ["query", "mutation"]


def test_a_log_that_cannot_be_written_is_told_before_it_is_needed(tmp_path: Path) -> None:
    with pytest.raises(UnusableAuditFile, match="RAAK_GATEWAY_AUDIT_FILE"):
        file_sink(tmp_path / "missing" / "audit.jsonl")
