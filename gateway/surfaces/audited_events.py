"""What the audit log says of a request that sends events: its calls and the identities in them.

A request is read as far as that takes. What may be in an event is profile's to say, so whatever is
not as the spec has it is skipped here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import orjson

from services.contracts.identity import TYPES

CALLS = frozenset({"track", "identify", "alias", "group", "page", "screen"})
BATCH = "batch"
UNKNOWN = "unknown"
"""Stands for events of an unknown type."""

CALL_IDENTITIES = (("userId", "user_id"), ("anonymousId", "anonymous_id"))
"""Fields of every call that are identities, with their types."""
TRAIT_IDENTITIES = frozenset({"email", "phone", "crm_id", "loyalty_id"})
"""Traits of an `identify` that are identities."""
ALIAS_IDENTITIES = ("user_id", "anonymous_id")
"""What profile looks up the `previousId` of an `alias` as."""

Object: TypeAlias = Mapping[str, Any]
Identities: TypeAlias = dict[tuple[str, str], None]
"""Type and value of each, as they were sent and in their order."""


@dataclass(frozen=True, slots=True)
class AuditedEvents:
    """The events of one request, as the audit log describes them."""

    operation: str
    """The call the request was sent to."""
    calls: Mapping[str, int] = field(default_factory=dict)
    """How many events there are, by call."""

    kind: ClassVar[str] = "ingest"
    changes: ClassVar[bool] = True

    @property
    def members(self) -> bytes:
        """Its members in a record, as JSON without brackets."""
        members = {"kind": self.kind, "operation": self.operation, "calls": self.calls}
        return orjson.dumps(members)[1:-1]


def read_events(call: str, document: Any) -> tuple[AuditedEvents, list[Object]]:
    """The events of a request, and their identities as `CustomerRef`s. `document` is its JSON."""
    calls: dict[str, int] = {}
    identities: Identities = {}
    if isinstance(document, dict):
        if call != BATCH:
            calls[call] = 1
            _add_event(identities, call, document)
        else:
            _read_batch(document, calls, identities)
    return AuditedEvents(call, calls), [
        {"identity": {"type": type_, "value": value}} for type_, value in identities
    ]


def _read_batch(document: Object, calls: dict[str, int], identities: Identities) -> None:
    events = document.get("batch")
    if not isinstance(events, list) or not events:
        return
    if "context" in document:
        _add_context(identities, document["context"])
    for event in events:
        kind = event.get("type") if isinstance(event, dict) else None
        if not isinstance(kind, str) or kind not in CALLS:
            kind = UNKNOWN
        calls[kind] = calls.get(kind, 0) + 1
        if kind != UNKNOWN:
            _add_event(identities, kind, event)


def _add_event(identities: Identities, kind: str, event: Object) -> None:
    for name, type_ in CALL_IDENTITIES:
        if name in event:
            _add(identities, type_, event[name])
    if "context" in event:
        _add_context(identities, event["context"])
    if kind == "identify":
        traits = event.get("traits")
        if isinstance(traits, dict):
            for type_ in TRAIT_IDENTITIES & traits.keys():
                _add(identities, type_, traits[type_])
    elif kind == "alias":
        for type_ in ALIAS_IDENTITIES:
            _add(identities, type_, event.get("previousId"))


def _add_context(identities: Identities, context: Any) -> None:
    if not isinstance(context, dict):
        return
    if isinstance(device := context.get("device"), dict):
        _add(identities, "device", device.get("id"))
    external = context.get("externalIds")
    for item in external if isinstance(external, list) else ():
        type_ = item.get("type") if isinstance(item, dict) else None
        if isinstance(type_, str) and type_ in TYPES:
            _add(identities, type_, item.get("id"))


def _add(identities: Identities, type_: str, value: Any) -> None:
    """Add an identity; some senders write theirs as whole numbers."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and value.strip():
        identities[type_, value] = None
