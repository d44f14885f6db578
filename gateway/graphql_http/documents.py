"""Operations sent by their hash: registered ones, and those the gateway has learnt from clients.

A client names a document by `documentId` (`sha256:<hex>`, or the hex alone) or by Apollo's
`extensions.persistedQuery.sha256Hash`. Apollo's clients may also teach the gateway documents, when
that is switched on: they send a hash, are told that it is not known, and send the text with it.
"""

import re
from typing import Protocol

from gateway.access.limits.registered_operations import hash_document
from gateway.supergraph.lru import Lru
from services.chassis.errors import RaakError
from services.chassis.graphql_http import MalformedRequest, Parameters

SHA256 = re.compile(r"(?:sha256:)?([0-9a-f]{64})")


class DocumentNotFound(RaakError):
    """A hash that no document is known by; Apollo's clients send the text after this."""

    code = "PERSISTED_QUERY_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("PersistedQueryNotFound", hint="Send the document in `query` with it.")


class DocumentsNotTaught(RaakError):
    """Apollo's hash of a document that is not registered, where clients may not teach any.

    Apollo's clients send whole documents from then on.
    """

    code = "PERSISTED_QUERY_NOT_SUPPORTED"

    def __init__(self) -> None:
        super().__init__(
            "PersistedQueryNotSupported",
            hint="Register the document with `raak operations publish`, or send it in `query`.",
        )


class HashMismatch(RaakError):
    """A document came with the hash of another one."""

    code = "PERSISTED_QUERY_HASH_MISMATCH"

    def __init__(self) -> None:
        super().__init__(
            "The hash is not that of `query`.", hint="Send SHA-256 of the exact text, in hex."
        )


class Registered(Protocol):
    """Where registered documents are looked up."""

    def text_of(self, hash: str) -> str | None:
        """The document with this hash; None if none is registered."""
        ...

    def check_read(self) -> None:
        """Raise OperationsUnknown while nobody can tell what is registered."""
        ...


class Documents:
    """Finds the text a request means. `learns` is how many texts clients may teach; 0: none."""

    def __init__(self, registered: Registered, learns: int = 0) -> None:
        self._registered = registered
        self._learnt: Lru[str] | None = Lru(learns) if learns else None

    def text_of(self, asked: Parameters) -> str:
        """The document a request means, by text or by hash; raises RaakError."""
        if asked.document_id is None and "persistedQuery" not in asked.extensions:
            return asked.document
        named = _hash_in(asked)
        if asked.query is None:
            return self._by_hash(named, is_apollos=asked.document_id is None)
        if hash_document(asked.query) != named:
            raise HashMismatch
        return asked.query

    def _by_hash(self, hash: str, *, is_apollos: bool) -> str:
        text = self._registered.text_of(hash)
        if text is None and self._learnt is not None:
            text = self._learnt.get(hash)
        if text is not None:
            return text
        if not is_apollos or self._learnt is None:  # else its client sends the text now
            self._registered.check_read()
        raise DocumentsNotTaught if is_apollos and self._learnt is None else DocumentNotFound

    def learn(self, asked: Parameters) -> None:
        """Keep a text that came with its hash. Only what can be answered is worth keeping."""
        if self._learnt is not None and asked.query and "persistedQuery" in asked.extensions:
            self._learnt.put(_hash_in(asked), asked.query)


def _hash_in(asked: Parameters) -> str:
    named = asked.document_id
    if named is None:
        persisted = asked.extensions["persistedQuery"]
        named = persisted.get("sha256Hash") if isinstance(persisted, dict) else None
    found = SHA256.fullmatch(named) if isinstance(named, str) else None
    if found is None:
        raise MalformedRequest(
            "The document's hash is not one.",
            hint="Send SHA-256 of the exact text as 64 hexadecimal digits in small letters.",
        )
    return found[1]
