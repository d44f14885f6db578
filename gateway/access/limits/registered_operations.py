"""Registered operations: documents an operator has published, known by the hash of their text.

In production nothing else is answered (setting `trusted_only`). A client sends the document itself,
or only what it is known by: its hash, or the id a manifest gave it. Another layout of its text, and
`__typename` beside its fields, make no other operation (`canonical_document`).
"""

import asyncio
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from graphql import DocumentNode, GraphQLError, OperationDefinitionNode, parse

from gateway.access.limits.canonical_document import canonical_text, count_common_lines, list_lines
from services.chassis.errors import RaakError, Unavailable

log = logging.getLogger(__name__)

OPERATION_ID = re.compile(r"(?:sha256:(?=[0-9a-f]{64}\Z))?([!-~]{1,256})")
"""What a manifest may call a document, whatever algorithm made it; a SHA-256 may say it is one."""
LONGEST_LINE = 100
"""Characters of a line that a refusal quotes."""


class OperationsUnknown(Unavailable, code="OPERATIONS_UNKNOWN"):
    """The gateway has just started and has not read the registered operations yet."""


class OperationIdTaken(RaakError, code="OPERATION_ID_TAKEN", status=409):
    """A manifest gives a document an id that another document is registered by."""


@dataclass(frozen=True, slots=True)
class RegisteredOperation:
    """A registered document, and where it came from."""

    text: str
    source: str
    published_at: datetime
    ids: tuple[str, ...] = ()
    """What manifests call it; clients may, too."""

    @property
    def hash(self) -> str:
        return hash_document(self.text)

    @property
    def names(self) -> tuple[str, ...]:
        """All it is found by."""
        return (self.hash, *self.ids)


PlanOperation = Callable[[str, str | None], object]
"""Plans an operation ahead, by its document and its name, and remembers it. It may raise RaakError:
the document is registered all the same, and requests for it are refused with that error.
"""


def hash_document(text: str) -> str:
    """The name of a document: SHA-256 of its exact text, in hex."""
    return sha256(text.encode(errors="surrogatepass")).hexdigest()


def read_operation_id(value: object) -> str | None:
    """A hash or id as a client or manifest writes it; None if it cannot be one."""
    match = OPERATION_ID.fullmatch(value) if isinstance(value, str) else None
    return match[1] if match else None


def list_operations(text: str) -> list[str | None]:
    """The names of a document's operations, None for one that has none; [] if it can't be read."""
    document = _parse(text)
    return operation_names(document) if document else []


def operation_names(document: DocumentNode) -> list[str | None]:
    return [
        definition.name.value if definition.name else None
        for definition in document.definitions
        if isinstance(definition, OperationDefinitionNode)
    ]


def described_operations(document: DocumentNode) -> list[str]:
    """The operations of a document that have a name and a description."""
    return [
        definition.name.value
        for definition in document.definitions
        if isinstance(definition, OperationDefinitionNode)
        and definition.name
        and definition.description
    ]


def _parse(text: str) -> DocumentNode | None:
    try:
        return parse(text)
    except GraphQLError:
        return None


@dataclass(frozen=True, slots=True)
class _Entry:
    """What is remembered of a registered document."""

    text: str
    operations: list[str | None]
    canonical: str | None
    """None if it cannot be read any more."""
    described: list[str]
    """The operations with a name and a description."""

    @classmethod
    def read(cls, text: str) -> "_Entry":
        document = _parse(text)
        if document is None:
            return cls(text, [], None, [])
        described = described_operations(document)
        return cls(text, operation_names(document), canonical_text(document), described)


class OperationRegistry:
    """The registered documents, in memory; look-ups never wait.

    `gateway.database_sync` keeps it like the database. Every new operation is planned ahead by
    `plan`, before it counts as registered.
    """

    def __init__(
        self, plan: PlanOperation = lambda text, name: None, *, is_read: bool = True
    ) -> None:
        self._plan_operation = plan
        self._is_read = is_read
        self._entries: dict[str, _Entry] = {}
        self._texts: Mapping[str, str] = {}
        """By hash, and by the ids of manifests."""
        self._registered: frozenset[str] = frozenset()
        self._canonical: frozenset[str | None] = frozenset()
        self.version = 0
        """How often they have changed: what was found out about them holds for one."""

    def text_of(self, name: str) -> str | None:
        """The document with this hash (hex, small letters) or id; None if none is registered."""
        return self._texts.get(name)

    def described(self) -> list[tuple[str, str]]:
        """The registered operations that have a description, by document and name; the one
        published last stands at the end.
        """
        return [(entry.text, name) for entry in self._entries.values() for name in entry.described]

    def check_read(self) -> None:
        """Raise OperationsUnknown while nobody can tell what is registered."""
        if not self._is_read:
            raise OperationsUnknown(
                "The registered operations have not been read yet.", hint="Try again shortly."
            )

    def is_registered(self, text: str) -> bool:
        return text in self._registered

    def find_difference(self, document: DocumentNode) -> str | None:
        """What sets a document apart from those registered; None if it is one of them, but for its
        layout and `__typename`.

        It quotes only what was sent: what is registered is not everybody's to read.
        """
        text = canonical_text(document)
        if text in self._canonical:
            return None
        names = {name for name in operation_names(document) if name}
        same_name = [
            (count_common_lines(text, entry.canonical), name)
            for entry in self._entries.values()
            if entry.canonical is not None
            for name in names.intersection(entry.operations)
        ]
        if not names:
            return "It names no operation to compare it with."
        if not same_name:
            return f"No operation {' or '.join(map(repr, sorted(names)))} is registered."
        at, name = max(same_name)
        lines = [line.strip()[:LONGEST_LINE] for line in list_lines(text)]
        where = f"yours begins with `{lines[0]}`"
        if at:
            rest = f"has `{lines[at]}`" if at < len(lines) else "ends"
            where = f"after the line `{lines[at - 1]}` yours {rest}"
        return f"The operation {name!r} is registered with another text: {where}."

    async def plan_all(self, plan: PlanOperation) -> None:
        """Plan everything ahead by this: before another graph is served, say."""
        for entry in list(self._entries.values()):
            await self._plan(entry, plan)

    async def adopt(self, texts: Iterable[str], ids: Mapping[str, str] | None = None) -> None:
        """Let these documents, and no others, be the registered ones; `ids` are texts by id.

        What is retired is gone at once; what is new is planned first, a document at a time, so that
        requests are answered in between.
        """
        ids = ids or {}
        wanted = {hash_document(text): text for text in texts}
        self._set_entries({key: e for key, e in self._entries.items() if key in wanted}, ids)
        entries: dict[str, _Entry] = {}
        for key, text in wanted.items():
            entry = self._entries.get(key)
            if entry is None:
                entry = _Entry.read(text)
                await self._plan(entry, self._plan_operation)
            entries[key] = entry
        self._set_entries(entries, ids)
        self._is_read = True

    def _set_entries(self, entries: dict[str, _Entry], ids: Mapping[str, str]) -> None:
        texts = {key: entry.text for key, entry in entries.items()}
        self._registered = frozenset(texts.values())
        self._texts = {i: text for i, text in ids.items() if text in self._registered} | texts
        self._canonical = frozenset(entry.canonical for entry in entries.values())
        self._entries = entries
        self.version += 1

    async def _plan(self, entry: _Entry, plan: PlanOperation) -> None:
        for name in entry.operations:
            try:
                plan(entry.text, name)
            except RaakError as error:
                fields = {
                    "operation": name,
                    "hash": hash_document(entry.text),
                    "because": error.code,
                }
                log.warning("a registered operation cannot be planned", extra={"fields": fields})
            await asyncio.sleep(0)
