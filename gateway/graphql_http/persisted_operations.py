"""Operations sent by their hash: registered ones, and those the gateway has learnt from clients.

A client names a document by `documentId` or `doc_id`, or by Apollo's
`extensions.persistedQuery.sha256Hash`: by its SHA-256 (`sha256:<hex>`, or the hex alone), or by the
id it was registered by, whatever made that. Apollo's clients may also register documents by sending
them, when that is switched on: they send a hash, get an error that it is not known, and send the
document with it.
"""

from gateway.access.limits.registered_operations import (
    OperationRegistry,
    hash_document,
    read_operation_id,
)
from gateway.supergraph.lru import Lru
from services.chassis.errors import RaakError
from services.chassis.graphql_http.request import MalformedRequest, RequestParameters


class PersistedQueryNotFound(RaakError, code="PERSISTED_QUERY_NOT_FOUND"):
    """No document has this hash; Apollo's clients send the document after this."""

    def __init__(self) -> None:
        super().__init__(
            "PersistedQueryNotFound",
            hint="Publish the manifest it is from (`raak operations publish`), or send the "
            "document in `query` with it.",
        )


class PersistedQueryNotSupported(RaakError, code="PERSISTED_QUERY_NOT_SUPPORTED"):
    """Apollo's hash of a document that is not registered, where the gateway learns none.

    Apollo's clients send whole documents from then on.
    """

    def __init__(self) -> None:
        super().__init__(
            "PersistedQueryNotSupported",
            hint="Register the document with `raak operations publish`, or send it in `query`.",
        )


class PersistedQueryHashMismatch(RaakError, code="PERSISTED_QUERY_HASH_MISMATCH"):
    """A document came with the hash of another one."""

    def __init__(self) -> None:
        super().__init__(
            "The hash is not that of `query`.",
            hint="Send SHA-256 of the exact text, in hex, or the id it was registered by.",
        )


class PersistedOperations:
    """Finds the document of a request. `learns` is how many clients may add; 0: none."""

    def __init__(self, registry: OperationRegistry, learns: int = 0) -> None:
        self._registry = registry
        self._learnt: Lru[str] | None = Lru(learns) if learns else None

    def read_document(self, parameters: RequestParameters) -> str:
        """The document a request sends or names by its hash; raises RaakError."""
        if parameters.document_id is None and "persistedQuery" not in parameters.extensions:
            return parameters.document
        name = _read_name(parameters)
        if parameters.query is None:
            return self._find(name, is_apollos=parameters.document_id is None)
        is_registered = self._registry.text_of(name) == parameters.query
        if not is_registered and hash_document(parameters.query) != name:
            raise PersistedQueryHashMismatch
        return parameters.query

    def _find(self, name: str, *, is_apollos: bool) -> str:
        text = self._registry.text_of(name)
        if text is None and self._learnt is not None:
            text = self._learnt.get(name)
        if text is not None:
            return text
        if not is_apollos or self._learnt is None:  # else its client sends the document now
            self._registry.check_read()
        is_unsupported = is_apollos and self._learnt is None
        raise PersistedQueryNotSupported if is_unsupported else PersistedQueryNotFound

    def learn(self, parameters: RequestParameters) -> None:
        """Keep a document that came with its hash. Only a valid one is worth its place."""
        query = parameters.query
        if self._learnt is not None and query and "persistedQuery" in parameters.extensions:
            self._learnt.put(_read_name(parameters), query)


def _read_name(parameters: RequestParameters) -> str:
    """What a document is called: its SHA-256, or an id that a manifest may have given it."""
    text = parameters.document_id
    if text is None:
        persisted = parameters.extensions["persistedQuery"]
        text = persisted.get("sha256Hash") if isinstance(persisted, dict) else None
    name = read_operation_id(text)
    if name is None:
        raise MalformedRequest(
            "The hash of the document is none, nor the id of one.",
            hint="Send SHA-256 of the exact text as 64 hexadecimal digits in lower case, or the id "
            "your manifest has for it: up to 256 characters of ASCII without spaces.",
        )
    return name
