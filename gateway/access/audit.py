"""The audit log: who read or changed which customer, and with what. No personal data is in it.

A record names customers by their ids, which tell nothing of a person to who has no database, and
identities (an e-mail address) only as keyed digests: who knows an identity and the secret can look
for it, nobody can read it back. A visitor's or app's own name is digested too, for it may be the
customer's.

The graph works out `Touched.by(…)` once for an operation, and has a `Visit` for each request.
"""

import asyncio
import hmac
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence, Set
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
)
from opentelemetry import trace
from prometheus_client import Counter

from services.chassis.clock import Clock, utc_now
from services.chassis.errors import RaakError, Unavailable
from services.chassis.principal import Principal
from services.contracts.identity import TYPES, normalised

log = logging.getLogger(__name__)

WAITING = 10_000
"""Records that may wait to be written; some five megabytes."""
WRITTEN_AT_ONCE = 1_000
GATHERED_S = 0.05
"""How long records are gathered before they are written: a thread for each would cost more than the
request it tells of.
"""
ROOM_WITHIN_S = 5.0
RETRY_S = 1.0
DRAIN_S = 5.0
END = b""
"""Stands in the queue behind the last record."""
MOST_LISTED = 50
"""Customers, identities or fields listed in one record; how many there were is always told."""
LONGEST_NAME = 100

DENIALS = frozenset({"FORBIDDEN", "UNAUTHORIZED_FIELD_OR_TYPE"})
"""Codes that say: he may not have this."""

RECORDS = Counter("raak_audit_records", "Records of the audit log by kind of operation", ["kind"])
DROPPED = Counter("raak_audit_dropped", "Records of reads that the audit log had no room for")


class AuditBehind(Unavailable):
    """Nothing is changed while it cannot be written down who changed it."""

    code = "AUDIT_BEHIND"


@dataclass(frozen=True, slots=True)
class Touched:
    """What an operation is known by in the log: worked out once for each."""

    kind: str
    """`query`, `mutation` or `subscription`."""
    name: str | None
    hash: str
    """Of the document, as registered operations have it (`trusted.hash_of`)."""
    fields: Mapping[str, Sequence[str]]
    """By root field, the paths below it."""

    @classmethod
    def by(
        cls, document: DocumentNode, definition: OperationDefinitionNode, hash: str
    ) -> "Touched":
        """An operation of a document that is within the limits and valid."""
        fragments = {
            definition.name.value: definition
            for definition in document.definitions
            if isinstance(definition, FragmentDefinitionNode)
        }
        fields: dict[str, dict[str, None]] = {}
        for path in _paths(definition.selection_set, fragments):
            root, _, below = path.partition(".")
            fields.setdefault(root, {}).update({below: None} if below else {})
        return cls(
            definition.operation.value,
            definition.name.value[:LONGEST_NAME] if definition.name else None,
            hash,
            {root: list(paths)[:MOST_LISTED] for root, paths in fields.items()},
        )


def _paths(
    selections: SelectionSetNode, fragments: Mapping[str, FragmentDefinitionNode]
) -> Iterable[str]:
    """The fields selected, by their own names, each with its way down; those without any below."""
    for selection in selections.selections:
        if isinstance(selection, FieldNode):
            name = selection.name.value
            below = selection.selection_set
            if below is None:
                yield name
            else:
                yield from (f"{name}.{path}" for path in _paths(below, fragments))
        elif isinstance(selection, FragmentSpreadNode):
            yield from _paths(fragments[selection.name.value].selection_set, fragments)
        elif isinstance(selection, InlineFragmentNode):
            yield from _paths(selection.selection_set, fragments)


APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT
FOR_THE_GROUP = 0o640

Sink = Callable[[bytes], None]
"""Writes lines out, in a thread of its own; raises OSError when they do not get there."""


class UnusableAuditFile(RaakError):
    """The audit log cannot be written where the settings want it."""

    code = "UNUSABLE_AUDIT_FILE"
    status = 500


def to_file(path: Path) -> Sink:
    """Append to a file, opened anew for each batch: who rotates it renames it, and that is all.

    Raises UnusableAuditFile when it cannot be written now.
    """

    def write(lines: bytes) -> None:
        with os.fdopen(os.open(path, APPEND, FOR_THE_GROUP), "ab") as file:
            file.write(lines)

    try:
        write(b"")
    except OSError as error:
        raise UnusableAuditFile(
            f"The audit log {str(path)!r} cannot be written ({type(error).__name__}).",
            hint="Check RAAK_GATEWAY_AUDIT_FILE, and who may write there.",
        ) from None
    return write


def to_stdout(lines: bytes) -> None:
    """Write to standard output, where nothing else of ours goes."""
    sys.stdout.buffer.write(lines)
    sys.stdout.buffer.flush()


class Audit:
    """Writes records down, in the order in which they came, beside the requests.

    A request never waits for the disk. While what is written does not get there, records wait; when
    there is no room left, those of reads are dropped and counted, and mutations wait for room.
    """

    def __init__(
        self, sink: Sink, secret: str, *, waiting: int = WAITING, clock: Clock = utc_now
    ) -> None:
        self._sink = sink
        self._secret = secret.encode()
        self._clock = clock
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(waiting)
        self._is_dropping = False

    # --- what the graph calls ---

    async def room(self) -> None:
        """Return when a record can be taken; to be awaited before anything is changed.

        Raises AuditBehind if that takes too long.
        """
        try:
            async with asyncio.timeout(ROOM_WITHIN_S):
                while self._queue.full():  # noqa: ASYNC110  a queue tells nobody that it has room
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AuditBehind(
                "The audit log cannot be written, so nothing is changed.",
                hint="Try again shortly; operators: see where RAAK_GATEWAY_AUDIT_FILE goes.",
            ) from None

    async def record(
        self,
        caller: Principal,
        touched: Touched,
        *,
        customers: Set[str] = frozenset(),
        named: Iterable[Mapping[str, Any]] = (),
        errors: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        """Write down one request, or one event of a subscription: every change, and every read
        that touches a customer.

        Args:
            customers: Ids of the customers in the answer (`execute(..., witnessed=…)`).
            named: The `CustomerRef`s among the arguments, as the services get them.
            errors: The `errors` of the answer: of them the codes are kept.
        """
        codes = {str((error.get("extensions") or {}).get("code", "UNKNOWN")) for error in errors}
        line = self._line(caller, touched, customers, list(named), sorted(codes))
        if line is not None and touched.kind == "mutation":
            await self._queue.put(line)
        elif line is not None:
            self._put_or_drop(line)

    def record_cut_off(
        self, caller: Principal, touched: Touched, named: Iterable[Mapping[str, Any]], code: str
    ) -> None:
        """Write down a request that came to no answer: what it was to change may be changed."""
        line = self._line(caller, touched, frozenset(), list(named), [code])
        if line is not None:
            self._put_or_drop(line)

    def _line(
        self,
        caller: Principal,
        touched: Touched,
        customers: Set[str],
        named: Sequence[Mapping[str, Any]],
        codes: Sequence[str],
    ) -> bytes | None:
        """The line of a request; None for a read that touched no customer.

        A change is written down though it names none: an outcome is reported of a proposition.
        """
        changed = touched.kind == "mutation"
        if not (changed or customers or named or DENIALS.intersection(codes)):
            return None
        RECORDS.labels(touched.kind).inc()
        return orjson.dumps(self._members(caller, touched, customers, named, codes)) + b"\n"

    def _members(
        self,
        caller: Principal,
        touched: Touched,
        customers: Set[str],
        named: Sequence[Mapping[str, Any]],
        codes: Sequence[str],
    ) -> dict[str, Any]:
        ids = customers | {self._id(str(ref["id"])) for ref in named if _is_given(ref, "id")}
        identities = {self._digest(ref["identity"]) for ref in named if _is_given(ref, "identity")}
        line: dict[str, Any] = {
            "time": self._clock().isoformat(timespec="milliseconds"),
            "kind": touched.kind,
            "operation": touched.name,
            "hash": touched.hash,
            "caller": self._caller(caller),
            "fields": touched.fields,
            "customers": sorted(ids)[:MOST_LISTED],
            "customers_count": len(ids),
            "identities": sorted(identities)[:MOST_LISTED],
            "identities_count": len(identities),
            "denied": not DENIALS.isdisjoint(codes),
            "errors": codes,
        }
        span = trace.get_current_span().get_span_context()
        return line | {"trace_id": trace.format_trace_id(span.trace_id)} if span.is_valid else line

    def _caller(self, caller: Principal) -> dict[str, str]:
        role, subject = caller.role.value, caller.subject
        if caller.own_customer_only:
            subject = self._hashed("subject", subject)
        return {"role": role, "subject": subject}

    def _id(self, given: str) -> str:
        """An id as a caller has typed it, if it is one."""
        try:
            return str(UUID(given))
        except ValueError:
            return self._hashed("id", given)

    def _digest(self, identity: Mapping[str, Any]) -> str:
        kind, value = str(identity["type"]), str(identity["value"])
        return self._hashed(kind if kind in TYPES else "unknown", normalised(kind, value))

    def _hashed(self, kind: str, value: str) -> str:
        """`email:` and 128 bits that tell nothing of the value to who has not got the secret."""
        text = f"{kind}:{value}".encode(errors="surrogatepass")
        return f"{kind}:{hmac.digest(self._secret, text, 'sha256')[:16].hex()}"

    def _put_or_drop(self, line: bytes) -> None:
        try:
            self._queue.put_nowait(line)
            self._is_dropping = False
        except asyncio.QueueFull:
            DROPPED.inc()
            if not self._is_dropping:
                self._is_dropping = True
                log.error("the audit log has no room: reads are answered without a record")

    # --- writing ---

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Write beside the block; when it ends, what still waits is written first."""
        writer = asyncio.create_task(self._write_on(), name="audit log")
        try:
            yield
        finally:
            try:
                async with asyncio.timeout(DRAIN_S):
                    await self._queue.put(END)
                    await writer
            except TimeoutError:
                fields = {"records": self._queue.qsize()}
                log.critical(
                    "the audit log could not be written to its end", extra={"fields": fields}
                )

    async def _write_on(self) -> None:
        is_open = True
        while is_open:
            batch = [await self._queue.get()]
            if batch != [END]:
                await asyncio.sleep(GATHERED_S)
            while len(batch) < WRITTEN_AT_ONCE and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            is_open = END not in batch
            await self._write(b"".join(batch))

    async def _write(self, lines: bytes) -> None:
        """Write lines, trying until it is done: the end of a line that broke off starts anew."""
        while True:
            try:
                await asyncio.to_thread(self._sink, lines)
            except (OSError, ValueError) as error:  # ValueError: it was closed under our hands
                fields = {"because": type(error).__name__}
                log.error("the audit log cannot be written", extra={"fields": fields})
                lines = b"\n" + lines.lstrip(b"\n")
                await asyncio.sleep(RETRY_S)
            else:
                return


class Visit:
    """One caller's request on its way into the log; or his subscription, event by event."""

    def __init__(
        self,
        audit: Audit,
        caller: Principal,
        touched: Touched,
        named: Sequence[Mapping[str, Any]],
    ) -> None:
        self._audit = audit
        self._caller = caller
        self._touched = touched
        self._named = named
        self._customers: set[str] = set()

    def see(self, type_name: str, ids: set[str]) -> None:
        """These customers are in the answer (`execute(…, witnessed=…)`)."""
        self._customers |= ids

    async def begin(self) -> None:
        """Wait until it can be written down, if it is to change something."""
        if self._touched.kind == "mutation":
            await self._audit.room()

    async def note(self, answer: Mapping[str, Any]) -> None:
        """Write down what the caller is about to get."""
        customers, self._customers = self._customers, set()
        await self._audit.record(
            self._caller,
            self._touched,
            customers=customers,
            named=self._named,
            errors=answer.get("errors") or (),
        )

    def cut_off(self, error: BaseException) -> None:
        """Write down that the request came to no answer."""
        code = error.code if isinstance(error, RaakError) else type(error).__name__
        self._audit.record_cut_off(self._caller, self._touched, self._named, code)


def _is_given(reference: Mapping[str, Any], part: str) -> bool:
    return reference.get(part) is not None
