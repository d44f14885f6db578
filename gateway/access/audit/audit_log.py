"""The audit log: who read or changed which customer, and with what.

Each request that is answered has an `AuditEntry`. What a record says is in `record`.
"""

import asyncio
import logging
import os
import sys
from collections import Counter as Tally
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence, Set
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson
from opentelemetry import trace
from prometheus_client import Counter

from gateway.access.audit.chain import AuditChain
from gateway.access.audit.record import (
    DENIALS,
    AuditedRequest,
    RecordFormatter,
)
from gateway.access.audit.texts import describe
from services.chassis import telemetry
from services.chassis.clock import Clock, utc_now
from services.chassis.errors import RaakError, Unavailable
from services.chassis.principal import Principal

log = logging.getLogger(__name__)

WAITING = 10_000
"""Records that may wait to be written; some ten megabytes."""
BATCH_RECORDS = 1_000
GATHER_S = 0.05
"""How long records are gathered before a thread seals and writes them: a thread for each would cost
more than its request.
"""
ROOM_WITHIN_S = 5.0
RETRY_S = 1.0
DRAIN_S = 5.0
HEAD_LOGGED_EVERY = timedelta(minutes=10)

RECORDS = Counter("raak_audit_records", "Records of the audit log by kind of operation", ["kind"])
DROPPED = Counter("raak_audit_dropped", "Records of reads that the audit log had no room for")


class AuditLogUnavailable(Unavailable, code="AUDIT_LOG_UNAVAILABLE"):
    """Nothing is changed while it cannot be written down who changed it."""


APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT
FOR_THE_GROUP = 0o640

Sink = Callable[[bytes], None]
"""Writes lines out, in a thread of its own; raises OSError when they do not get there."""


class PartialWrite(OSError):
    """Of what was to be written so many bytes got there."""

    def __init__(self, written_bytes: int, error: OSError) -> None:
        super().__init__(error.errno, error.strerror)
        self.written_bytes = written_bytes


class UnusableAuditFile(RaakError, code="UNUSABLE_AUDIT_FILE", status=500):
    """The audit log cannot be written where the settings want it."""


def audit_secret(key_secret: str) -> str:
    """What digests and seals are made with; `key_secret` is the gateway's setting."""
    return f"audit {key_secret}"


def file_sink(path: Path) -> Sink:
    """Append to a file, opened anew for each batch: to rotate it, rename it.

    Raises UnusableAuditFile when it cannot be written now.
    """

    def write(lines: bytes) -> None:
        descriptor = os.open(path, APPEND, FOR_THE_GROUP)
        try:
            _write_all(descriptor, lines)
        finally:
            os.close(descriptor)

    try:
        write(b"")
    except OSError as error:
        raise UnusableAuditFile(
            f"The audit log {str(path)!r} cannot be written ({type(error).__name__}).",
            hint="Check RAAK_GATEWAY_AUDIT_FILE, and who may write there.",
        ) from None
    return write


def _write_all(descriptor: int, lines: bytes) -> None:
    unwritten = memoryview(lines)
    while unwritten:
        try:
            unwritten = unwritten[os.write(descriptor, unwritten) :]
        except OSError as error:
            raise PartialWrite(len(lines) - len(unwritten), error) from None


def _unwritten_lines(lines: bytes, written_bytes: int) -> bytes:
    """What is to be written again: a line that broke off is, as a whole."""
    begun = lines.rfind(b"\n", 0, written_bytes) + 1
    return lines[begun:] if begun == written_bytes else b"\n" + lines[begun:]


def stdout_sink(lines: bytes) -> None:
    """Write to standard output, where nothing else of ours goes."""
    sys.stdout.buffer.write(lines)
    sys.stdout.buffer.flush()


class AuditLog:
    """Writes records in the order in which they came, in a thread beside the requests.

    A request never waits for the disk. While the disk fails, `waiting` records may wait; beyond
    that those of reads are dropped and counted, and nothing new is changed. With a `chain` each
    line is sealed, so that a change to it shows.
    """

    def __init__(
        self,
        sink: Sink,
        secret: str,
        *,
        chain: AuditChain | None = None,
        digests_staff: bool = False,
        waiting: int = WAITING,
        clock: Clock = utc_now,
    ) -> None:
        self._sink = sink
        self._formatter = RecordFormatter(secret, digests_staff=digests_staff)
        self._chain = chain
        self._head_logged_at = clock()
        self._capacity = waiting
        self._clock = clock
        self._waiting: deque[tuple[str, bytes]] = deque()
        """Records by kind, each a line of JSON."""
        self._has_records = asyncio.Event()
        self._has_room = asyncio.Event()
        self._is_closing = False
        self._dropped = 0

    def describe(self, texts: Iterable[tuple[str, str, str]]) -> dict[str, list[Any]]:
        """What a record says of definitions and conditions (`texts.describe`)."""
        return describe(texts, self._formatter.digest)

    async def wait_for_room(self) -> None:
        """Return when a record can be taken; to be awaited before anything is changed.

        Raises AuditLogUnavailable if that takes too long.
        """
        if len(self._waiting) < self._capacity:
            return
        try:
            async with asyncio.timeout(ROOM_WITHIN_S):
                while len(self._waiting) >= self._capacity:
                    self._has_room.clear()
                    await self._has_room.wait()
        except TimeoutError:
            raise AuditLogUnavailable(
                "The audit log cannot be written, so nothing is changed.",
                hint="Try again shortly; operators: see where RAAK_GATEWAY_AUDIT_FILE goes.",
            ) from None

    def record(
        self,
        caller: Principal,
        request: AuditedRequest,
        *,
        customers: Set[str] = frozenset(),
        references: Sequence[Mapping[str, Any]] = (),
        codes: Set[str] = frozenset(),
        details: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Record one request, or one event of a subscription: every change, though it names nobody
        (an outcome is reported of a proposition), and every read that touches a customer, or looks
        for some by a condition. The arguments are those of `RecordFormatter.format_record`.
        """
        is_worth_it = request.changes or customers or references or details
        if not is_worth_it and DENIALS.isdisjoint(codes):
            return
        if len(self._waiting) >= self._capacity and not request.changes:
            self._drop()
            return
        if self._dropped:
            self._append_gap()
        at = self._clock()
        try:
            line = self._formatter.format_record(
                at, caller, request, customers, references, codes, details, _trace_id()
            )
        except Exception as error:
            fields = {"because": telemetry.describe(error)}
            log.critical("a record of the audit log is lost", extra={"fields": fields})
            line = _gap(at, 1)
        self._waiting.append((request.kind, line))
        self._has_records.set()

    def _drop(self) -> None:
        DROPPED.inc()
        self._dropped += 1
        if self._dropped == 1:
            log.error("the audit log has no room: reads are answered without a record")

    def _append_gap(self) -> None:
        """Have the log say how many records it lacks."""
        self._waiting.append(("gap", _gap(self._clock(), self._dropped)))
        self._dropped = 0

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Write beside the block; when it ends, what still waits is written first."""
        writer = asyncio.create_task(self._write_loop(), name="audit log")
        try:
            yield
        finally:
            self._is_closing = True
            self._has_records.set()
            try:
                async with asyncio.timeout(DRAIN_S):
                    await writer
            except TimeoutError:
                fields = {"records": len(self._waiting)}
                log.critical(
                    "the audit log could not be written to its end", extra={"fields": fields}
                )

    async def _write_loop(self) -> None:
        while self._waiting or not self._is_closing:
            await self._has_records.wait()
            if not self._is_closing:
                await asyncio.sleep(GATHER_S)
            elif self._dropped:
                self._append_gap()
            self._has_records.clear()
            while self._waiting:
                size = min(BATCH_RECORDS, len(self._waiting))
                batch = [self._waiting.popleft() for _ in range(size)]
                self._has_room.set()
                await self._write(await asyncio.to_thread(self._seal, batch))
                for kind, records in Tally(kind for kind, _ in batch).items():
                    RECORDS.labels(kind).inc(records)
            self._log_head()
        if self._chain is not None and self._chain.head is not None:
            await self._write(self._chain.end(self._clock()))
            RECORDS.labels("chain").inc()
            self._log_head(is_last=True)

    def _seal(self, batch: Iterable[tuple[str, bytes]]) -> bytes:
        lines: Iterable[bytes] = (line for _, line in batch)
        if self._chain is not None:
            lines = self._chain.seal_lines(lines, self._clock())
        return b"".join(lines)

    async def _write(self, lines: bytes) -> None:
        """Write lines, trying until all are written."""
        unwritten = await asyncio.to_thread(self._try_to_write, lines)
        while unwritten:
            await asyncio.sleep(RETRY_S)
            unwritten = await asyncio.to_thread(self._try_to_write, unwritten)

    def _try_to_write(self, lines: bytes) -> bytes:
        """Write lines; returns what is still to be written."""
        try:
            self._sink(lines)
        except (OSError, ValueError) as error:  # ValueError: the sink was closed
            fields = {"because": type(error).__name__}
            log.error("the audit log cannot be written", extra={"fields": fields})
            if isinstance(error, PartialWrite):
                return _unwritten_lines(lines, error.written_bytes)
            return b"\n" + lines.removeprefix(b"\n")  # how much was written is unknown
        return b""

    def _log_head(self, *, is_last: bool = False) -> None:
        """Tell another log, which others keep, how far this one has come."""
        if self._chain is None or (head := self._chain.head) is None:
            return
        now = self._clock()
        if is_last or now - self._head_logged_at >= HEAD_LOGGED_EVERY:
            self._head_logged_at = now
            log.info("head of the audit log", extra={"fields": {"head": str(head)}})


def _gap(at: datetime, records: int) -> bytes:
    """A line that stands for records that are not there."""
    return orjson.dumps({"time": at, "kind": "gap", "dropped": records}) + b"\n"


def _trace_id() -> int:
    return trace.get_current_span().get_span_context().trace_id if telemetry.tracing() else 0


class AuditEntry:
    """The record of one request to be, or those of a subscription, one an event."""

    def __init__(
        self,
        audit: AuditLog,
        caller: Principal,
        request: AuditedRequest,
        references: Sequence[Mapping[str, Any]],
        details: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._audit = audit
        self._request = request
        self._record = partial(
            audit.record, caller, request, references=references, details=details
        )
        self._customers: set[str] = set()

    def add_customers(self, type_name: str, ids: set[str]) -> None:
        """These customers are in the answer (`execute(…, witnessed=…)`)."""
        self._customers |= ids

    async def begin(self) -> None:
        """Wait until there is room for the record of a change; raises AuditLogUnavailable."""
        if self._request.changes:
            await self._audit.wait_for_room()

    def record_answer(self, answer: Mapping[str, Any]) -> None:
        """Record what the caller is about to get."""
        customers, self._customers = self._customers, set()
        errors = answer.get("errors")
        self._record(customers=customers, codes=_codes(errors) if errors else frozenset())

    def record_failure(self, error: BaseException) -> None:
        """Record that the request came to no answer."""
        code = error.code if isinstance(error, RaakError) else type(error).__name__
        self._record(codes={code})


def _codes(errors: Iterable[Mapping[str, Any]]) -> set[str]:
    return {str((error.get("extensions") or {}).get("code", "UNKNOWN")) for error in errors}
