"""What the audit log says of a request that sends events: which calls, and whom they name.

A request is read as far as that takes. What may be in an event is profile's to say, so whatever is
not as the spec has it is passed over here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import orjson

from services.contracts.identity import TYPES

CALLS = frozenset({"track", "identify", "alias", "group", "page", "screen"})
BATCH = "batch"
UNKNOWN = "unknown"
"""Stands for events of a type that is none."""

IDS = (("userId", "user_id"), ("anonymousId", "anonymous_id"))
"""Fields of every call, with the identities they are."""
TRAITS = frozenset({"email", "phone", "crm_id", "loyalty_id"})
"""Traits of an `identify` that are identities."""
PREVIOUS = ("user_id", "anonymous_id")
"""What profile looks up the `previousId` of an `alias` as."""

Object: TypeAlias = Mapping[str, Any]
Named: TypeAlias = dict[tuple[str, str], None]
"""Identities by type and value, as they were written, in their order."""


@dataclass(frozen=True, slots=True)
class AuditedEvents:
    """One request, as the audit log describes it."""

    operation: str
    """The call it was sent to."""
    calls: Mapping[str, int] = field(default_factory=dict)
    """How many events it holds, by call."""

    kind: ClassVar[str] = "ingest"
    changes: ClassVar[bool] = True

    @property
    def members(self) -> bytes:
        """What a record says of it, as JSON without its brackets."""
        said = {"kind": self.kind, "operation": self.operation, "calls": self.calls}
        return orjson.dumps(said)[1:-1]


def read_request(call: str, document: Any) -> tuple[AuditedEvents, list[Object]]:
    """What was sent, and whom it names, as `CustomerRef`s. `document` is the JSON of the body."""
    calls: dict[str, int] = {}
    named: Named = {}
    if isinstance(document, dict):
        if call != BATCH:
            calls[call] = 1
            _name(named, call, document)
        else:
            _read_batch(document, calls, named)
    return AuditedEvents(call, calls), [{"identity": {"type": t, "value": v}} for t, v in named]


def _read_batch(document: Object, calls: dict[str, int], named: Named) -> None:
    events = document.get("batch")
    if not isinstance(events, list) or not events:
        return
    if "context" in document:
        _name_context(named, document["context"])
    for event in events:
        kind = event.get("type") if isinstance(event, dict) else None
        if not isinstance(kind, str) or kind not in CALLS:
            kind = UNKNOWN
        calls[kind] = calls.get(kind, 0) + 1
        if kind != UNKNOWN:
            _name(named, kind, event)


def _name(named: Named, kind: str, event: Object) -> None:
    """Add whom an event names."""
    for name, identity in IDS:
        if name in event:
            _add(named, identity, event[name])
    if "context" in event:
        _name_context(named, event["context"])
    if kind == "identify":
        traits = event.get("traits")
        if isinstance(traits, dict):
            for identity in TRAITS & traits.keys():
                _add(named, identity, traits[identity])
    elif kind == "alias":
        for identity in PREVIOUS:
            _add(named, identity, event.get("previousId"))


def _name_context(named: Named, context: Any) -> None:
    if not isinstance(context, dict):
        return
    if isinstance(device := context.get("device"), dict):
        _add(named, "device", device.get("id"))
    external = context.get("externalIds")
    for item in external if isinstance(external, list) else ():
        identity = item.get("type") if isinstance(item, dict) else None
        if isinstance(identity, str) and identity in TYPES:
            _add(named, identity, item.get("id"))


def _add(named: Named, identity: str, value: Any) -> None:
    """Add an identity; some senders write theirs as whole numbers."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and value.strip():
        named[identity, value] = None
