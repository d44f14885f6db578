"""What one record of the audit log says. No personal data is in it.

A record names customers by their ids, which tell nothing of a person to who has no database, and
identities (an e-mail address) only as keyed digests: who knows an identity and the secret can look
for it, nobody can read it back. A visitor's or app's own name is digested too, for it may be the
customer's; not that of a key, which no token can have.
"""

import hmac
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import orjson
from graphql import OperationDefinitionNode

from gateway.access.selections import TypedSelectionSet
from services.chassis.principal import SUBJECT_OF_KEYS, Principal
from services.contracts.identity import TYPES, normalise_value

MAX_ITEMS = 50
"""Customers, identities or fields listed in one record; how many there were is always recorded."""
LONGEST_NAME = 100
FEW = 5
"""Customers in an answer, or among the arguments, whose record may wait as it is."""
LONGEST_TEXT = 255
"""Characters of an id or identity that may; profile takes none that is longer."""

CALLERS = 1_000
"""Whose names in the log are remembered."""

DENIALS = frozenset({"FORBIDDEN", "UNAUTHORIZED_FIELD_OR_TYPE"})
"""Codes of errors that say: the caller may not have this."""

UUID_FORM = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class AuditedRequest(Protocol):
    """What a record says of the request."""

    @property
    def kind(self) -> str:
        """`query`, `mutation`, `subscription` or `ingest`."""
        ...

    @property
    def changes(self) -> bool:
        """Whether it may change something."""
        ...

    @property
    def members(self) -> bytes:
        """What a record says of it, as JSON without its brackets."""
        ...


@dataclass(frozen=True)
class AuditedOperation:
    """What an operation is known by in the log: worked out once for each."""

    kind: str
    """`query`, `mutation` or `subscription`."""
    name: str | None
    hash: str
    """Of the document, as registered operations have it (`registered_operations.hash_of`)."""
    fields: Mapping[str, Sequence[str]]
    """By root field, the paths below it."""

    @classmethod
    def by(
        cls, definition: OperationDefinitionNode, root: TypedSelectionSet, hash: str
    ) -> "AuditedOperation":
        """An operation that is within the limits."""
        fields: dict[str, dict[str, None]] = {}
        for path in _paths(root):
            name, _, below = path.partition(".")
            fields.setdefault(name, {}).update({below: None} if below else {})
        return cls(
            definition.operation.value,
            definition.name.value[:LONGEST_NAME] if definition.name else None,
            hash,
            {name: list(paths)[:MAX_ITEMS] for name, paths in fields.items()},
        )

    @property
    def changes(self) -> bool:
        """Whether it may change something."""
        return self.kind == "mutation"

    @cached_property
    def members(self) -> bytes:
        """What a record says of it, as JSON without its brackets."""
        members = {
            "kind": self.kind,
            "operation": self.name,
            "hash": self.hash,
            "fields": self.fields,
        }
        return orjson.dumps(members)[1:-1]


def _paths(selection_set: TypedSelectionSet) -> Iterator[str]:
    """The fields selected, by their own names, each with its way down; those without any below."""
    for selected in selection_set.fields():
        if selected.node.selection_set is None:
            yield selected.name
        else:
            yield from (f"{selected.name}.{path}" for path in _paths(selected.below))


class AuditRecord(NamedTuple):
    """One request, or one event of a subscription, as it happened."""

    at: datetime
    caller: Principal
    request: AuditedRequest
    customers: Set[str]
    """Ids of the customers in the answer."""
    references: Sequence[Mapping[str, Any]]
    """The `CustomerRef`s among the arguments, as the services get them."""
    codes: Collection[str]
    """Of the errors in the answer."""
    trace_id: int
    """0: it is not traced."""
    details: bytes = b""
    """Further members, as JSON after other ones."""

    @property
    def is_light(self) -> bool:
        """Whether it may wait as it is; the line of one that is not takes less room."""
        references = self.references
        return len(self.customers) <= FEW and (
            not references or (len(references) <= FEW and not any(map(_is_long, references)))
        )


def _is_long(reference: Mapping[str, Any]) -> bool:
    texts = (reference.get("id"), *(reference.get("identity") or {}).values())
    return any(isinstance(text, str) and len(text) > LONGEST_TEXT for text in texts)


LINE = (
    b'{"time":%b,%b,"caller":%b,"customers":%b,"customers_count":%d,'
    b'"identities":%b,"identities_count":%d,"denied":%b,"errors":%b%b%b}\n'
)
"""Put together from parts: one `orjson.dumps` of it all costs twice as much."""


class RecordFormatter:
    """Puts records into words. `secret` is what identities are digested with."""

    def __init__(self, secret: str, *, digests_staff: bool = False) -> None:
        self.digest = Digests(secret.encode()).of
        self._digests_staff = digests_staff
        self._formatted_caller = lru_cache(CALLERS)(self._format_caller)

    def line(self, record: AuditRecord) -> bytes:
        """A record as one line of JSON."""
        ids, identities = record.customers, self._identities(record.references)
        if record.references:
            ids = self._ids(record.references).union(ids)
        is_denied = not DENIALS.isdisjoint(record.codes)
        return LINE % (
            orjson.dumps(record.at),
            record.request.members,
            self._formatted_caller(record.caller),
            _format_list(ids),
            len(ids),
            _format_list(identities),
            len(identities),
            b"true" if is_denied else b"false",
            orjson.dumps(sorted(record.codes)),
            record.details,
            b',"trace_id":"%032x"' % record.trace_id if record.trace_id else b"",
        )

    def _ids(self, references: Iterable[Mapping[str, Any]]) -> set[str]:
        return {self._id(str(ref["id"])) for ref in references if ref.get("id") is not None}

    def _id(self, text: str) -> str:
        """An id as a caller has typed it, if it is one."""
        if UUID_FORM.fullmatch(text):
            return text
        try:
            return str(UUID(text))
        except ValueError:
            return self.digest("id", text)

    def _identities(self, references: Iterable[Mapping[str, Any]]) -> set[str]:
        identities = (ref.get("identity") for ref in references)
        return {self._identity(identity) for identity in identities if identity is not None}

    def _identity(self, identity: Mapping[str, Any]) -> str:
        kind, value = str(identity["type"]), str(identity["value"])
        return self.digest(kind if kind in TYPES else "unknown", normalise_value(kind, value))

    def _format_caller(self, caller: Principal) -> bytes:
        is_hidden = caller.own_customer_only or self._digests_staff
        if is_hidden and not caller.subject.startswith(SUBJECT_OF_KEYS):
            subject = self.digest("subject", caller.subject)
        else:
            subject = caller.subject.encode(errors="backslashreplace").decode()
        return orjson.dumps({"role": caller.role.value, "subject": subject})


def _format_list(words: Set[str]) -> bytes:
    return orjson.dumps(sorted(words)[:MAX_ITEMS])


class Digests:
    """Keyed digests of what must not be in the log.

    Not by `hmac.digest`, which lets other threads go first: while requests keep the loop busy, the
    thread that writes the log would get its turn back 5 ms later, for every digest.
    """

    def __init__(self, key: bytes) -> None:
        self._keyed = hmac.new(key, digestmod="sha256")

    def of(self, kind: str, value: str) -> str:
        """`email:` and 128 bits that tell nothing of the value to who has not got the key."""
        text = f"{kind}:{value}".encode(errors="surrogatepass")
        digest = self._keyed.copy()
        digest.update(text)
        return f"{kind}:{digest.hexdigest()[:32]}"
