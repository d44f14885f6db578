"""The Segment HTTP spec: a JSON value read into a `Call`, or refused with what to mend.

Source: Segment, "Spec: Common fields" and "HTTP Tracking API source". Written by hand, not as a
model: a batch holds hundreds of events, and pydantic would cost more than all the rest.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from services.chassis.errors import nearest
from services.contracts.base import Json
from services.contracts.identity import TYPES
from services.contracts.words import SenderClass
from services.profile.domain.calls import (
    NOTHING,
    Call,
    ConsentGiven,
    EventInFuture,
    InvalidEvent,
    NoIdentity,
    Provenance,
)
from services.profile.domain.identities import (
    LONGEST_VALUE,
    Identity,
    identity,
    strongest_first,
)
from services.profile.domain.words import (
    XDM_STATUS,
    ConsentStatus,
    ContextCategory,
    LawfulBasis,
    TraitKind,
)

LONGEST_NAME = 255
IDENTIFYING_TRAITS = ("email", "phone", "crm_id", "loyalty_id")

Word = TypeVar("Word", bound=StrEnum)


class Reading(NamedTuple):
    """How the events of one request are read.

    `sent_at` is the sender's clock when he sent them, if he said; `context` stands behind each
    event's own.
    """

    received_at: datetime
    future_tolerance: timedelta
    new_id: Callable[[], UUID]
    sender: SenderClass
    sent_at: datetime | None = None
    context: Mapping[str, Json] = NOTHING


class Subject(NamedTuple):
    """Whom a call is about, when that is said beside the event and not in it."""

    identities: tuple[Identity, ...] = ()
    customer: UUID | None = None


def read_call(
    event: object, reading: Reading, kind: str | None = None, subject: Subject | None = None
) -> Call:
    """Read one event; `kind` is the call it was sent to, else its own `type` says.

    Raises:
        InvalidEvent: or one of its kinds: what is wrong, and how to mend it.
    """
    if not isinstance(event, dict):
        raise InvalidEvent(
            f"The event is {_shown(event)}, not an object.", hint="Send a JSON object."
        )
    kind = kind or _kind(event)
    context = {**reading.context, **_object(event, "context")}
    traits = _object(event, "traits") if kind in ("identify", "group") else {}
    name, properties = CALLS[kind](event, traits)
    telling = traits if kind == "identify" else NOTHING
    return Call(
        kind=kind,
        name=name,
        sender=reading.sender,
        event_id=reading.new_id(),
        message_id=_message_id(event, reading),
        occurred_at=_occurred_at(event, reading),
        received_at=reading.received_at,
        properties=properties,
        context=context,
        identities=_told(subject, telling) if subject else _identities(event, context, telling),
        customer=subject.customer if subject else None,
        traits=_names_checked(traits) if kind == "identify" else {},
        provenance=_provenance(context),
        consents=_consents(context),
        previous=_id(event, "previousId") if kind == "alias" else None,
    )


# --- what each call is named, and what it carries ----------------------------------------


def _track(event: dict[str, Any], traits: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return _name(event, "event"), _object(event, "properties")


def _page(event: dict[str, Any], traits: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    seen = {key: event[key] for key in ("name", "category") if event.get(key) is not None}
    return "page", {**_object(event, "properties"), **seen}


def _screen(event: dict[str, Any], traits: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return "screen", _page(event, traits)[1]


def _group(event: dict[str, Any], traits: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return "group", {**traits, "groupId": _required_id(event, "groupId")}


def _identify(event: dict[str, Any], traits: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return "identify", traits


def _alias(event: dict[str, Any], traits: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    _required_id(event, "userId")
    return "alias", {"previousId": _required_id(event, "previousId")}


CALLS: Mapping[str, Callable[[dict[str, Any], dict[str, Any]], tuple[str, dict[str, Any]]]] = {
    "track": _track,
    "page": _page,
    "screen": _screen,
    "group": _group,
    "identify": _identify,
    "alias": _alias,
}


def _kind(event: dict[str, Any]) -> str:
    kind = event.get("type")
    if not isinstance(kind, str) or kind not in CALLS:
        hint = nearest(str(kind), CALLS)
        raise InvalidEvent(f"type is {_shown(kind)}, which is no call.", hint=hint)
    return kind


# --- fields ------------------------------------------------------------------------------


def _object(event: dict[str, Any], field: str) -> dict[str, Any]:
    value = event.get(field)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidEvent(
            f"{field} is {_shown(value)}, not an object.", hint=f"Send {field} as a JSON object."
        )
    return value


def _name(event: dict[str, Any], field: str) -> str:
    value = event.get(field)
    if not isinstance(value, str) or not value.strip():
        raise InvalidEvent(
            f"{field} is {_shown(value)}.", hint=f"Name what happened in {field}, as text."
        )
    return _not_too_long(field, value, LONGEST_NAME)


def _id(event: dict[str, Any], field: str) -> str | None:
    """An id as text; some senders write theirs as whole numbers."""
    value = event.get(field)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, str):
        raise InvalidEvent(f"{field} is {_shown(value)}.", hint=f"Send {field} as text.")
    return _not_too_long(field, value.strip(), LONGEST_VALUE)


def _required_id(event: dict[str, Any], field: str) -> str:
    value = _id(event, field)
    if value is None:
        raise InvalidEvent(f"{field} is missing.", hint=f"Send {field} as text.")
    return value


def _message_id(event: dict[str, Any], reading: Reading) -> str:
    """The sender's, so that what he sends twice counts once; without one we cannot tell."""
    return _id(event, "messageId") or f"raak-{reading.new_id()}"


def _names_checked(values: dict[str, Any]) -> dict[str, Any]:
    for name in values:
        if not name:
            raise InvalidEvent("A name is blank.", hint="Give every trait a name.")
        _not_too_long("a name", name, LONGEST_NAME)
    return values


def _not_too_long(field: str, value: str, limit: int) -> str:
    if len(value) > limit:
        raise InvalidEvent(
            f"{field} has {len(value)} characters ({_shown(value)}).",
            hint=f"Use at most {limit} characters.",
        )
    return value


# --- who ---------------------------------------------------------------------------------


def _identities(
    event: dict[str, Any], context: dict[str, Any], traits: Mapping[str, Any]
) -> tuple[Identity, ...]:
    named = {
        Identity("user_id", value) for value in (_id(event, "userId"),) if value is not None
    } | {Identity("anonymous_id", value) for value in (_id(event, "anonymousId"),) if value}
    named |= _identifying(traits)
    if "externalIds" in context:
        named |= _external(context["externalIds"])
    if "device" in context:
        device = context["device"]
        named |= _given("device", device.get("id") if isinstance(device, dict) else None)
    if not named:
        raise NoIdentity(
            "The event names nobody.", hint="Send userId or anonymousId with every event."
        )
    return strongest_first(named) if len(named) > 1 else tuple(named)


def _told(subject: Subject, traits: Mapping[str, Any]) -> tuple[Identity, ...]:
    return strongest_first({*subject.identities, *_identifying(traits)})


def _identifying(traits: Mapping[str, Any]) -> set[Identity]:
    found: set[Identity] = set()
    for name in IDENTIFYING_TRAITS:
        if name in traits:
            found |= _given(name, traits[name])
    return found


def _external(given: object) -> set[Identity]:
    """`[{"type": "crm_id", "id": "K-1"}, …]`; types that are not ours stay in the context."""
    if not isinstance(given, list):
        raise InvalidEvent(
            f"context.externalIds is {_shown(given)}, not a list.",
            hint='Send it as [{"type": "crm_id", "id": "…"}].',
        )
    found: set[Identity] = set()
    for item in given:
        if isinstance(item, dict) and isinstance(item.get("type"), str) and item["type"] in TYPES:
            found |= _given(item["type"], item.get("id"))
    return found


def _given(type: str, value: object) -> set[Identity]:
    """The identity a value stands for, if it can stand for one."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return set()
    found = identity(type, _not_too_long(type, value, LONGEST_VALUE))
    return {found} if found else set()


# --- when --------------------------------------------------------------------------------


def _occurred_at(event: dict[str, Any], reading: Reading) -> datetime:
    """When it happened by our clock: the sender's, less what his clock is ahead of ours."""
    field = "timestamp" if event.get("timestamp") is not None else "originalTimestamp"
    stated = read_time(event.get(field), field)
    if stated is None:
        return reading.received_at
    sent_at = reading.sent_at or read_time(event.get("sentAt"), "sentAt")
    occurred_at = corrected(stated, sent_at, reading.received_at)
    if occurred_at - reading.received_at > reading.future_tolerance:
        raise EventInFuture(
            f"{field} {stated.isoformat()} lies ahead of our clock by"
            f" {occurred_at - reading.received_at}.",
            hint="Set the sender's clock, or send sentAt so that it can be corrected.",
        )
    return occurred_at


def corrected(stated: datetime, sent_at: datetime | None, received_at: datetime) -> datetime:
    """`stated` on our clock, given what the sender's clock said when ours said `received_at`.

    Source: Segment, "Timestamps in Segment": timestamp = receivedAt - (sentAt - original).
    """
    if sent_at is None:
        return stated
    try:
        return received_at - (sent_at - stated)
    except OverflowError:
        raise InvalidEvent(
            f"sentAt {sent_at.isoformat()} and timestamp {stated.isoformat()} are ages apart.",
            hint="Send both by the same clock.",
        ) from None


def read_time(value: object, field: str) -> datetime | None:
    """An ISO 8601 text as an aware UTC datetime; one without a zone is taken as UTC."""
    if value is None:
        return None
    try:
        if not isinstance(value, str):
            raise ValueError
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidEvent(
            f"{field} is {_shown(value)}, not a time.",
            hint='Send ISO 8601 text such as "2026-11-22T05:30:00.000Z".',
        ) from None


# --- by what right -----------------------------------------------------------------------


def _provenance(context: dict[str, Any]) -> Provenance:
    """What `context.raak` says: kind, context, source and lawfulBasis of all traits of the call."""
    given = context.get("raak")
    if given is None:
        return Provenance()
    if not isinstance(given, dict):
        raise InvalidEvent(f"context.raak is {_shown(given)}.", hint="Send it as a JSON object.")
    plain = Provenance()
    source = given.get("source", plain.source)
    if not isinstance(source, str) or not source:
        raise InvalidEvent(f"context.raak.source is {_shown(source)}.", hint="Send it as text.")
    return Provenance(
        kind=_word(TraitKind, given.get("kind", plain.kind), "context.raak.kind"),
        context=_word(ContextCategory, given.get("context", plain.context), "context.raak.context"),
        source=_not_too_long("context.raak.source", source, LONGEST_NAME),
        lawful_basis=_word(
            LawfulBasis, given.get("lawfulBasis", plain.lawful_basis), "context.raak.lawfulBasis"
        ),
    )


def _word(words: type[Word], value: object, field: str) -> Word:
    try:
        return words(str(value).upper())
    except ValueError:
        raise InvalidEvent(
            f"{field} is {_shown(value)}.", hint=f"Use one of {', '.join(words)}."
        ) from None


def _consents(context: dict[str, Any]) -> dict[str, ConsentGiven]:
    """Segment's `context.consent.categoryPreferences`: purpose to true, false or an XDM letter."""
    consent = context.get("consent")
    preferences = consent.get("categoryPreferences") if isinstance(consent, dict) else None
    if not isinstance(preferences, dict):
        return {}
    provenance = _provenance(context)
    stated = "lawfulBasis" in (context.get("raak") or ())
    basis = provenance.lawful_basis if stated else LawfulBasis.CONSENT
    return {
        purpose: ConsentGiven(_status(purpose, value), provenance.source, basis)
        for purpose, value in _names_checked(preferences).items()
    }


def _status(purpose: str, value: object) -> ConsentStatus:
    if isinstance(value, bool):
        return ConsentStatus.GIVEN if value else ConsentStatus.DENIED
    if isinstance(value, str) and value in XDM_STATUS:
        return XDM_STATUS[value]
    raise InvalidEvent(
        f"The consent for {purpose!r} is {_shown(value)}.",
        hint=f"Send true, false or one of {', '.join(XDM_STATUS)}.",
    )


def _shown(value: object) -> str:
    """A value in a message, cut so that a message stays a message."""
    text = "missing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
