"""What the audit log says of a request that sends events: its calls and the identities in them.

A request is read as far as that takes. What may be in an event is profile's to say, so whatever is
not as the spec has it is skipped here.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, ClassVar, TypeAlias

from services.contracts.identity import TYPES

EVENT_CALLS = ("track", "identify", "alias", "group", "page", "screen")
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
Values: TypeAlias = Iterator[tuple[str, Any]]
"""Types of identities, with whatever was sent as their values."""


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
    def members(self) -> Mapping[str, Any]:
        return {"kind": self.kind, "operation": self.operation, "calls": self.calls}


def read_events(call: str, document: Any) -> tuple[AuditedEvents, list[Object]]:
    """The events of a request, and their identities as `CustomerRef`s. `document` is its JSON."""
    events = list(_events(call, document))
    calls = Counter(kind for kind, _ in events)
    values = [_identities(kind, event) for kind, event in events]
    if call == BATCH and events:
        values.append(_context_identities(document.get("context")))
    return AuditedEvents(call, calls), [
        {"identity": {"type": type_, "value": value}}
        for type_, value in dict.fromkeys(_clean(chain.from_iterable(values)))
    ]


def _events(call: str, document: Any) -> Iterator[tuple[str, Object]]:
    """Each event with its call."""
    if not isinstance(document, dict):
        return
    if call != BATCH:
        yield call, document
        return
    events = document.get("batch")
    for event in events if isinstance(events, list) else ():
        kind = event.get("type") if isinstance(event, dict) else None
        if isinstance(kind, str) and kind in EVENT_CALLS:
            yield kind, event
        else:
            yield UNKNOWN, {}


def _identities(kind: str, event: Object) -> Values:
    yield from ((type_, event.get(name)) for name, type_ in CALL_IDENTITIES)
    yield from _context_identities(event.get("context"))
    traits = event.get("traits")
    if kind == "identify" and isinstance(traits, dict):
        yield from ((type_, traits.get(type_)) for type_ in TRAIT_IDENTITIES)
    elif kind == "alias":
        yield from ((type_, event.get("previousId")) for type_ in ALIAS_IDENTITIES)


def _context_identities(context: Any) -> Values:
    if not isinstance(context, dict):
        return
    if isinstance(device := context.get("device"), dict):
        yield "device", device.get("id")
    external = context.get("externalIds")
    for item in external if isinstance(external, list) else ():
        if isinstance(item, dict) and isinstance(item.get("type"), str) and item["type"] in TYPES:
            yield item["type"], item.get("id")


def _clean(values: Values) -> Iterator[tuple[str, str]]:
    """Only what can be an identity; some senders write theirs as whole numbers."""
    for type_, value in values:
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if isinstance(text, str) and text.strip():
            yield type_, text
