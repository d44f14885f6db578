"""What one record of the audit log says. No personal data is in it.

A record names customers by their ids, which mean nothing without the database, and identities (an
e-mail address) only as keyed digests: an identity can be searched for with the secret, and cannot
be read back. A visitor's or app's own name is digested too, for it may be the customer's; not that
of a key, which no token can have.
"""

import hmac
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from types import MappingProxyType
from typing import Any, Protocol
from uuid import UUID

import orjson
from graphql import OperationDefinitionNode

from gateway.access.selections import TypedSelectionSet
from services.chassis.principal import SUBJECT_OF_KEYS, Principal
from services.contracts.identity import TYPES, normalise_value

MAX_ITEMS = 50
"""Customers, identities or fields listed in one record; how many there were is always recorded."""
LONGEST_NAME = 100

DENIALS = frozenset({"FORBIDDEN", "UNAUTHORIZED_FIELD_OR_TYPE"})
"""Codes of errors that say: the caller may not have this."""

UUID_FORM = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class AuditedRequest(Protocol):
    """A request, as the audit log describes it."""

    @property
    def kind(self) -> str:
        """`query`, `mutation`, `subscription` or `ingest`."""
        ...

    @property
    def changes(self) -> bool:
        """Whether it may change something."""
        ...

    @property
    def members(self) -> Mapping[str, Any]:
        """Its members in a record."""
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
    def members(self) -> Mapping[str, Any]:
        """Its members in a record."""
        return {
            "kind": self.kind,
            "operation": self.name,
            "hash": self.hash,
            "fields": self.fields,
        }


def _paths(selection_set: TypedSelectionSet) -> Iterator[str]:
    """The fields selected, by their own names, each with its way down; those without any below."""
    for selected in selection_set.fields():
        if selected.node.selection_set is None:
            yield selected.name
        else:
            yield from (f"{selected.name}.{path}" for path in _paths(selected.below))


class RecordFormatter:
    """Formats records. `secret` is what identities are digested with."""

    def __init__(self, secret: str, *, digests_staff: bool = False) -> None:
        self.digest = Digests(secret.encode()).of
        self._digests_staff = digests_staff

    def format_record(
        self,
        at: datetime,
        caller: Principal,
        request: AuditedRequest,
        customers: Set[str] = frozenset(),
        references: Sequence[Mapping[str, Any]] = (),
        codes: Set[str] = frozenset(),
        details: Mapping[str, Any] = MappingProxyType({}),
        trace_id: int = 0,
    ) -> bytes:
        """One request, or one event of a subscription, as a line of JSON.

        Args:
            customers: Ids of the customers in the answer (`execute(..., witnessed=…)`).
            references: The `CustomerRef`s among the arguments, as the services get them.
            codes: Of the errors in the answer.
            details: Further members (`texts.describe`).
            trace_id: 0 if it is not traced.
        """
        customers, identities = self._ids(references) | customers, self._identities(references)
        record = {
            "time": at,
            **request.members,
            "caller": {"role": caller.role.value, "subject": self._subject(caller)},
            "customers": sorted(customers)[:MAX_ITEMS],
            "customers_count": len(customers),
            "identities": sorted(identities)[:MAX_ITEMS],
            "identities_count": len(identities),
            "denied": not DENIALS.isdisjoint(codes),
            "errors": sorted(codes),
            **details,
        }
        if trace_id:
            record["trace_id"] = f"{trace_id:032x}"
        return orjson.dumps(record) + b"\n"

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

    def _subject(self, caller: Principal) -> str:
        is_hidden = caller.own_customer_only or self._digests_staff
        if is_hidden and not caller.subject.startswith(SUBJECT_OF_KEYS):
            return self.digest("subject", caller.subject)
        return caller.subject.encode(errors="backslashreplace").decode()


class Digests:
    """Keyed digests of what must not be in the log.

    Not by `hmac.digest`, which releases the interpreter lock: the thread that writes the log may
    take it then, and the event loop would wait for it up to 5 ms, for every digest.
    """

    def __init__(self, key: bytes) -> None:
        self._keyed = hmac.new(key, digestmod="sha256")

    def of(self, kind: str, value: str) -> str:
        """`email:` and a digest of 128 bits, which hides the value from all who lack the key."""
        text = f"{kind}:{value}".encode(errors="surrogatepass")
        digest = self._keyed.copy()
        digest.update(text)
        return f"{kind}:{digest.hexdigest()[:32]}"
