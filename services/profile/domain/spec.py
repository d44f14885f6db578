"""The Segment HTTP spec: a JSON value read into a `Call`, or refused with a remedy.

Source: Segment, "Spec: Common fields" and "HTTP Tracking API source". Written by hand, not as a
model: a batch has hundreds of events, and pydantic would take longer than all other work.
"""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from services.chassis.errors import nearest
from services.contracts.identity import is_placeholder
from services.profile.domain.attribution import (
    attribute,
    is_trait,
    read_claim,
    read_identifying,
    read_identities,
    read_previous,
    require_person,
)
from services.profile.domain.calls import NOTHING, BatchContext, Call, EventInFuture, InvalidEvent
from services.profile.domain.event_fields import (
    check_names,
    correct_clock,
    quote,
    read_id,
    read_name,
    read_object,
    read_sent_at,
    read_time,
    require_id,
)
from services.profile.domain.identities import Identity, sort_by_strength
from services.profile.domain.provenance import read_consents, read_provenance

CALLS = ("track", "page", "screen", "group", "identify", "alias")
OWN_MESSAGE_ID = "raak-"
"""The prefix of a message id that we made because the sender sent none."""


class Subject(NamedTuple):
    """Whom a call is about, when that is known from elsewhere than the event."""

    identities: tuple[Identity, ...] = ()
    customer: UUID | None = None


def read_call(
    event: object, batch: BatchContext, kind: str | None = None, subject: Subject | None = None
) -> Call:
    """Read one event; `kind` is the call it was sent to, without one its `type` decides.

    Raises:
        InvalidEvent: or a subclass: what is wrong, and the remedy.
    """
    if not isinstance(event, dict):
        raise InvalidEvent(
            f"The event is {quote(event)}, not an object.", hint="Send a JSON object."
        )
    kind = kind or _kind(event)
    context = _context(event, batch)
    traits = read_object(event, "traits") if kind in ("identify", "group") else {}
    own = traits if kind == "identify" else NOTHING
    if subject:
        named = sort_by_strength({*subject.identities, *read_identifying(own)})
    else:
        named = read_identities(event, context, own)
    context, claim = read_claim(event, context, batch)
    who = attribute(event, context, named, claim, batch)
    if kind == "identify" and not batch.can_identify:
        traits = {name: value for name, value in traits.items() if is_trait(name, value, who)}
    name, properties = _read_content(kind, event, traits)
    return Call(
        kind=kind,
        name=name,
        sender=who.sender,
        event_id=batch.new_id(),
        message_id=_message_id(event, batch),
        occurred_at=_occurred_at(event, batch),
        received_at=batch.received_at,
        properties=properties,
        context=context,
        identities=who.identities,
        customer=subject.customer if subject else None,
        traits=check_names(traits) if kind == "identify" else {},
        provenance=read_provenance(context, who.sender),
        consents=read_consents(context, who.sender),
        previous=read_previous(event, batch) if kind == "alias" else None,
        claims=who.claims,
        is_proved=who.is_proved,
        linked_by=who.linked_by,
    )


def _read_content(
    kind: str, event: dict[str, Any], traits: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """The name of the event that a call becomes, and its properties."""
    match kind:
        case "track":
            return read_name(event, "event"), read_object(event, "properties")
        case "page" | "screen":
            named = {key: event[key] for key in ("name", "category") if event.get(key) is not None}
            return kind, {**read_object(event, "properties"), **named}
        case "group":
            return kind, {**traits, "groupId": require_id(event, "groupId")}
        case "alias":
            require_person(event, "userId")
            return kind, {"previousId": require_person(event, "previousId")}
        case _:
            return kind, traits


def _kind(event: dict[str, Any]) -> str:
    kind = event.get("type")
    if not isinstance(kind, str) or kind not in CALLS:
        hint = nearest(str(kind), CALLS)
        raise InvalidEvent(f"type is {quote(kind)}, which is not a call.", hint=hint)
    return kind


def _context(event: dict[str, Any], batch: BatchContext) -> dict[str, Any]:
    """The event's context, completed by that of its batch."""
    own = read_object(event, "context")
    if not batch.context:
        return own
    return {**own, **{n: v for n, v in batch.context.items() if own.get(n) is None}}


def _message_id(event: dict[str, Any], batch: BatchContext) -> str:
    """The sender's, so that an event sent twice counts once; a new one if it sent none.

    With `undefined` as the id of every event, only the first of them would count.
    """
    sent = read_id(event, "messageId")
    if sent and not is_placeholder("message_id", sent):
        return sent
    return f"{OWN_MESSAGE_ID}{batch.new_id()}"


def _occurred_at(event: dict[str, Any], batch: BatchContext) -> datetime:
    """When it happened by our clock: the sender's time, corrected by how far its clock is off."""
    field = "timestamp" if event.get("timestamp") is not None else "originalTimestamp"
    stated = read_time(event.get(field), field)
    if stated is None:
        return batch.received_at
    sent_at = batch.sent_at or read_sent_at(event.get("sentAt"))
    occurred_at = correct_clock(stated, sent_at, batch.received_at)
    if occurred_at - batch.received_at > batch.future_tolerance:
        raise EventInFuture(
            f"{field} {stated.isoformat()} lies ahead of our clock by"
            f" {occurred_at - batch.received_at}.",
            hint="Set the sender's clock, or send sentAt so that it can be corrected.",
        )
    return occurred_at
