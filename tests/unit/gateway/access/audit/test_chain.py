"""The chain of the audit log: whatever is done to a line of it shows, and what happens does not."""

import asyncio
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.access.audit import audit_log
from gateway.access.audit.audit_log import AuditLog, file_sink
from gateway.access.audit.chain import (
    SEAL,
    AuditChain,
    AuditChanged,
    ChainHead,
    PreviousChain,
    Sealer,
    VerifiedLog,
    look_back,
)
from gateway.access.audit.record import AuditedOperation
from infra.audit import UnreadableLog, describe, verify
from services.chassis.principal import Principal
from services.contracts.enums import Role

NOW = datetime(2026, 11, 30, 9, 30, tzinfo=UTC)
SECRET = "audit secret"
AGENT = Principal(Role.AGENT, "desk 7")
ANN = "0190d3a4-0000-7000-8000-000000000001"
READ = AuditedOperation("query", "Customer", "5f", {"customer": ["id"]})
CHANGE = AuditedOperation("mutation", "Consent", "6a", {"setConsent": ["id"]})

Lines = list[bytes]


def written_by(process: AuditChain, records: int, *, ends: bool = True) -> bytes:
    """What a process writes."""
    lines = [b'{"kind":"query","n":%d}\n' % n for n in range(records)]
    return b"".join(process.seal_lines(lines, NOW)) + (process.end(NOW) if ends else b"")


def lines_of(file: Path) -> Lines:
    return file.read_bytes().splitlines()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def process(file: Path, records: int = 3, secret: str = SECRET, *, ends: bool = True) -> AuditChain:
    """A process that starts on a file, writes some records and ends."""
    chain = AuditChain(secret, lambda: look_back(file))
    lines = written_by(chain, records, ends=ends)
    with file.open("ab") as opened:
        opened.write(lines)
    return chain


def verified(*files: Path, head: str = "") -> VerifiedLog:
    return verify(files, SECRET, head)


def test_a_log_that_nobody_changed_is_whole_over_restarts(file: Path) -> None:
    first, second = process(file), process(file, 2)

    said = verified(file)

    assert said.records == 5
    assert list(said.heads.values()) == [first.head, second.head]
    assert len(said.ended) == 2
    begun = orjson.loads(file.read_bytes().splitlines()[5])
    assert (begun["is"], begun["after"]) == ("begun", str(first.head))
    assert next(iter(describe(said))) == "OK: 5 records in 2 chains, none changed."


def change(lines: Lines) -> Lines:
    return [*lines[:2], lines[2].replace(b'"n":1', b'"n":9'), *lines[3:]]


def unseal(lines: Lines) -> Lines:
    return [*lines[:2], SEAL.sub(b"}", lines[2]), *lines[3:]]


def remove(lines: Lines) -> Lines:
    return [*lines[:2], *lines[3:]]


def remove_first(lines: Lines) -> Lines:
    return lines[1:]


def remove_process(lines: Lines) -> Lines:
    return lines[5:]


def cut_before_restart(lines: Lines) -> Lines:
    return [*lines[:3], *lines[5:]]


def repeat(lines: Lines) -> Lines:
    return [*lines[:3], *lines[2:]]


def swap(lines: Lines) -> Lines:
    return [*lines[:2], lines[3], lines[2], *lines[4:]]


def insert(lines: Lines) -> Lines:
    return [*lines[:2], b'{"kind":"query","n":7}', *lines[2:]]


def forge(lines: Lines) -> Lines:
    forger = AuditChain("a secret of its own", random=lambda size: "ab" * size)
    return [*lines[:2], *written_by(forger, 1).splitlines(), *lines[2:]]


def forge_the_seal(lines: Lines) -> Lines:
    """Seal a changed line anew, as who knows everything but the secret would."""
    found = SEAL.search(lines[2])
    assert found is not None
    text = lines[2][: found.start(4)].replace(b'"n":1', b'"n":9')
    seal = Sealer("a secret of its own").seal(text).encode()
    return [*lines[:2], b'%b,"seal":"%b"}' % (text, seal), *lines[3:]]


@pytest.mark.parametrize(
    ("meddle", "line", "what"),
    [
        (change, 3, "was changed"),
        (unseal, 3, "has no seal"),
        (remove, 3, "comes after 1 that were removed"),
        (remove_process, 1, "comes after some that were removed"),
        (cut_before_restart, 4, "comes after some that were removed"),
        (repeat, 4, "stands twice, or was moved or inserted"),
        (swap, 3, "comes after 1 that were removed"),
        (insert, 3, "has no seal"),
        (forge, 3, "was sealed under another secret"),
        (forge_the_seal, 3, "was changed"),
    ],
)
def test_the_first_line_that_somebody_meddled_with_is_named(
    file: Path, meddle: Callable[[Lines], Lines], line: int, what: str
) -> None:
    process(file)
    process(file)
    file.write_bytes(b"".join(kept + b"\n" for kept in meddle(file.read_bytes().splitlines())))

    with pytest.raises(AuditChanged, match=rf"audit\.jsonl, line {line}: this line {what}"):
        verified(file)


def test_no_byte_of_a_log_can_be_changed_unseen(file: Path) -> None:
    process(file, 1)
    whole = file.read_bytes()

    for place in range(len(whole) - 1):
        changed = bytearray(whole)
        changed[place] ^= 1
        file.write_bytes(bytes(changed))
        with pytest.raises(AuditChanged):
            verified(file)


@pytest.mark.parametrize("lost", [1, 2, 4])
def test_what_is_cut_off_at_the_end_shows_by_a_head_that_was_told(file: Path, lost: int) -> None:
    head = str(process(file).head)
    assert verified(file, head=head).records == 3
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:-lost]))

    with pytest.raises(AuditChanged, match="The log ends before"):
        verified(file, head=head)
    assert not verified(file).ended


def test_another_head_than_the_log_had_is_not_found(file: Path) -> None:
    chain = process(file)
    assert chain.head is not None
    other = ChainHead(chain.head.chain, chain.head.seq, "0" * 32)

    with pytest.raises(AuditChanged):
        verified(file, head=str(other))
    with pytest.raises(UnreadableLog, match="is no head"):
        verified(file, head="nonsense")


def test_a_chain_goes_on_in_the_file_after_rotation(file: Path, tmp_path: Path) -> None:
    older = tmp_path / "audit.1"
    chain = process(file, ends=False)
    file.rename(older)
    file.write_bytes(written_by(chain, 2))

    both, newer = verified(older, file), verified(file)

    assert (both.records, both.begins) == (5, {})
    assert list(newer.begins.values()) == [4]
    assert "older files hold what came before" in "".join(describe(newer))
    with pytest.raises(AuditChanged):
        verified(file, older)


def test_replicas_may_share_a_file_each_with_its_own_chain(file: Path) -> None:
    one, two = (AuditChain(SECRET, lambda: look_back(file)) for _ in range(2))
    for _ in range(3):
        for chain in (one, two):
            with file.open("ab") as opened:
                opened.write(written_by(chain, 2, ends=False))
    third = process(file)

    said = verified(file)

    assert (said.records, len(said.heads)) == (15, 3)
    assert said.heads[str(third.head).partition(":")[0]] == third.head


def test_a_process_that_was_copied_while_it_ran_puts_no_line_in_place_of_another(
    file: Path,
) -> None:
    copies = [AuditChain(SECRET, random=lambda length: "0" * 2 * length) for _ in range(2)]
    lines, others = (
        b"".join(chain.seal_lines([b'{"kind":"%b"}\n' % kind] * 3, NOW)).splitlines(keepends=True)
        for chain, kind in zip(copies, (b"query", b"mutation"), strict=True)
    )
    file.write_bytes(b"".join([*lines[:2], *others[2:]]))

    with pytest.raises(AuditChanged, match="line 3: this line follows another line"):
        verified(file)


@pytest.mark.parametrize("tail", [b'{"kind":"qu', b'{"kind":"query"}\n'])
def test_what_a_process_broke_off_or_an_older_one_wrote_without_seals_is_told(
    file: Path, tail: bytes
) -> None:
    process(file, ends=False)
    with file.open("ab") as opened:
        opened.write(tail)
    process(file)

    said = verified(file)

    assert (said.records, said.broken) == (6, 1)


def test_a_line_that_is_being_written_does_not_hide_another(file: Path) -> None:
    process(file)
    with file.open("ab") as opened:
        opened.write(b'{"kind":"qu')

    assert verified(file).broken == 1
    with file.open("ab") as opened:
        opened.write(b"\n{}")
    with pytest.raises(AuditChanged, match="line 6: this line has no seal"):
        verified(file)


def test_a_log_under_another_secret_is_not_said_to_be_whole(file: Path) -> None:
    process(file, secret="another")

    with pytest.raises(AuditChanged, match="line 1: this line was sealed under another secret"):
        verified(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableLog, match="missing"):
        verified(tmp_path / "missing")


# --- as the gateway writes it -----------------------------------------------------------------


def log_on(sink: Callable[[bytes], None], **how: Any) -> AuditLog:
    chain = AuditChain(SECRET, how.pop("before", PreviousChain))
    return AuditLog(sink, SECRET, chain=chain, clock=lambda: NOW, **how)


async def test_each_record_of_the_gateway_is_sealed(file: Path) -> None:
    for _ in range(2):
        log = log_on(file_sink(file), before=lambda: look_back(file))
        async with log.writing():
            log.record(AGENT, READ, customers={ANN})
            log.record(AGENT, CHANGE, customers={f"{n}" for n in range(100)})

    said = verified(file)

    assert (said.records, len(said.heads), len(said.ended)) == (4, 2, 2)


class Disk:
    """A file of which so many bytes can be written at a time before it is full for a moment."""

    def __init__(self, file: Path, room: list[int]) -> None:
        self._write = file_sink(file)
        self._file = file
        self._room = room

    def __call__(self, lines: bytes) -> None:
        if not self._room:
            self._write(lines)
            return
        written = self._room.pop(0)
        with self._file.open("ab") as opened:
            opened.write(lines[:written])
        raise audit_log.PartialWrite(written, OSError(28, os.strerror(28)))


@pytest.mark.parametrize("room", [[0], [10], [250], [300, 1], [10, 10, 400], [5, 0, 700]])
async def test_a_disk_that_is_full_in_the_middle_of_a_line_doubles_and_loses_none(
    file: Path, room: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "RETRY_S", 0.01)
    log = log_on(Disk(file, room))
    async with log.writing():
        for _ in range(5):
            log.record(AGENT, CHANGE, customers={ANN})

    assert verified(file).records == 5


async def test_records_without_room_leave_a_gap_that_says_how_many(file: Path) -> None:
    log = log_on(file_sink(file), waiting=2)
    for _ in range(5):
        log.record(AGENT, READ, customers={ANN})
    log.record(AGENT, CHANGE, customers={ANN})
    for _ in range(2):
        log.record(AGENT, READ, customers={ANN})

    async with log.writing():
        pass

    said = verified(file)
    kinds = [orjson.loads(line)["kind"] for line in lines_of(file)]
    assert kinds == ["chain", "query", "query", "gap", "mutation", "gap", "chain"]
    assert said.gaps == 5
    assert any(line.startswith("5 records are missing") for line in describe(said))


async def test_the_head_is_told_to_the_gateways_own_log(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    log = log_on(file_sink(file))
    async with log.writing():
        log.record(AGENT, READ, customers={ANN})
        await asyncio.sleep(0)

    [head] = [r.fields["head"] for r in caplog.records if r.message == "head of the audit log"]  # type: ignore[attr-defined]
    assert verified(file, head=head).records == 1
