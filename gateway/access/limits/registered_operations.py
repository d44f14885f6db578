"""Registered operations: documents an operator has published, known by the hash of their text.

In production nothing else is answered (setting `trusted_only`). A client sends the document itself
or only its hash: as `documentId`, or as Apollo's `extensions.persistedQuery.sha256Hash`.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from graphql import GraphQLError, OperationDefinitionNode, parse

from services.chassis.errors import RaakError, Unavailable

log = logging.getLogger(__name__)


class OperationsUnknown(Unavailable, code="OPERATIONS_UNKNOWN"):
    """The gateway has just started and has not read the registered operations yet."""


@dataclass(frozen=True, slots=True)
class RegisteredOperation:
    """A registered document, and where it came from."""

    text: str
    source: str
    published_at: datetime

    @property
    def hash(self) -> str:
        return hash_document(self.text)


PlanOperation = Callable[[str, str | None], object]
"""Plans an operation ahead, by its document and its name, and remembers it. It may raise RaakError:
the document is registered all the same, and requests for it are refused with that error.
"""


def hash_document(text: str) -> str:
    """The name of a document: SHA-256 of its exact text, in hex."""
    return sha256(text.encode(errors="surrogatepass")).hexdigest()


def list_operations(text: str) -> list[str | None]:
    """The names of a document's operations, None for one that has none; [] if it can't be read."""
    try:
        definitions = parse(text).definitions
    except GraphQLError:
        return []
    return [
        definition.name.value if definition.name else None
        for definition in definitions
        if isinstance(definition, OperationDefinitionNode)
    ]


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
        self._texts: dict[str, str] = {}
        self._registered: frozenset[str] = frozenset()

    def text_of(self, hash: str) -> str | None:
        """The document with this hash (hex, small letters); None if none is registered."""
        return self._texts.get(hash)

    def check_read(self) -> None:
        """Raise OperationsUnknown while nobody can tell what is registered."""
        if not self._is_read:
            raise OperationsUnknown(
                "The registered operations have not been read yet.", hint="Try again shortly."
            )

    def is_registered(self, text: str) -> bool:
        return text in self._registered

    async def plan_all(self, plan: PlanOperation) -> None:
        """Plan everything ahead by this: before another graph is served, say."""
        await self._plan(list(self._texts.values()), plan)

    async def adopt(self, texts: Iterable[str]) -> None:
        """Let these documents, and no others, be the registered ones.

        What is retired is gone at once; what is new is planned first, a document at a time, so that
        requests are answered in between.
        """
        wanted = {hash_document(text): text for text in texts}
        self._set_texts({key: text for key, text in self._texts.items() if key in wanted})
        new = [text for key, text in wanted.items() if key not in self._texts]
        await self._plan(new, self._plan_operation)
        self._set_texts(wanted)
        self._is_read = True

    def _set_texts(self, texts: dict[str, str]) -> None:
        self._texts, self._registered = texts, frozenset(texts.values())

    async def _plan(self, texts: list[str], plan: PlanOperation) -> None:
        for text, name in _operations(texts):
            try:
                plan(text, name)
            except RaakError as error:
                fields = {"operation": name, "hash": hash_document(text), "because": error.code}
                log.warning("a registered operation cannot be planned", extra={"fields": fields})
            await asyncio.sleep(0)


def _operations(texts: Iterable[str]) -> Iterator[tuple[str, str | None]]:
    for text in texts:
        for name in list_operations(text):
            yield text, name
