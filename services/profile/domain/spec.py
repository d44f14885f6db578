"""The Segment HTTP spec: a JSON value read into a `Call`, or refused with a remedy.

Source: Segment, "Spec: Common fields" and "HTTP Tracking API source". Written by hand, not as a
model: a batch has hundreds of events, and pydantic would take longer than all other work.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from services.chassis.errors import nearest
from services.contracts.base import Json
from services.contracts.enums import LinkSource, SenderClass
from services.contracts.identity import KNOWN_TYPES, TYPES, is_placeholder
from services.profile.domain.calls import (
    NOTHING,
    Call,
    ConsentChoice,
    EventInFuture,
    InvalidClaim,
    InvalidEvent,
    NoIdentity,
    PlaceholderIdentity,
    Provenance,
    SignedClaim,
    UnprovedChange,
    UnprovedIdentity,
    UnprovedProvenance,
    refuse_claim,
)
from services.profile.domain.enums import (
    XDM_STATUS,
    ConsentStatus,
    ContextCategory,
    LawfulBasis,
    TraitKind,
)
from services.profile.domain.identities import (
    LONGEST_VALUE,
    Identity,
    normalise_identity,
    sort_by_strength,
)

LONGEST_NAME = 255
OWN_MESSAGE_ID = "raak-"
"""The prefix of a message id that we made because the sender sent none."""
IDENTIFYING_TRAITS = ("email", "phone", "crm_id", "loyalty_id")

DECLARED = (TraitKind.DECLARED,)
DEFAULT_SOURCES = ("segment", "graph")
"""The sources of calls at `/v1` and of mutations, when they name none."""
CLIENT_BASES = (LawfulBasis.LI, LawfulBasis.CONSENT)
"""The lawful bases that browsers and apps may name."""

_LEAP = re.compile(r"(T\d\d:\d\d:)60")

AnyEnum = TypeVar("AnyEnum", bound=StrEnum)


class BatchContext(NamedTuple):
    """What all events of one request share, and how they are read.

    `sent_at` is the sender's clock when it sent them, if known; `context` completes each event's
    own, and has `context_bytes` as JSON. `flaw` is what is wrong with all of them. `verify` checks
    a signed claim at a moment, or raises InvalidClaim.
    """

    received_at: datetime
    future_tolerance: timedelta
    new_id: Callable[[], UUID]
    sender: SenderClass
    sent_at: datetime | None = None
    context: Mapping[str, Json] = NOTHING
    context_bytes: int = 0
    flaw: InvalidEvent | None = None
    verify: Callable[[object, datetime], SignedClaim] = refuse_claim
    trust_write_keys: bool = False

    @property
    def can_identify(self) -> bool:
        """Whether the sender may say who somebody is, within what its token allows."""
        return self.sender is not SenderClass.WRITE_KEY or self.trust_write_keys


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
            f"The event is {_quote(event)}, not an object.", hint="Send a JSON object."
        )
    kind = kind or _kind(event)
    context = _context(event, batch)
    traits = _object(event, "traits") if kind in ("identify", "group") else {}
    own = traits if kind == "identify" else NOTHING
    if subject:
        named = sort_by_strength({*subject.identities, *_read_identifying(own)})
    else:
        named = _read_identities(event, context, own)
    context, claim = _read_claim(event, context, batch)
    who = _attribute(event, context, named, claim, batch)
    if kind == "identify" and not batch.can_identify:
        traits = {name: value for name, value in traits.items() if _is_trait(name, value, who)}
    name, properties = CALLS[kind](event, traits)
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
        traits=_check_names(traits) if kind == "identify" else {},
        provenance=_provenance(context, who.sender),
        consents=_consents(context, who.sender),
        previous=_previous(event, batch) if kind == "alias" else None,
        claims=who.claims,
        is_proved=who.is_proved,
        linked_by=who.linked_by,
    )


# --- what each call is named, and what it carries ----------------------------------------


def _track(event: dict[str, Any], traits: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return _name(event, "event"), _object(event, "properties")


def _page(event: dict[str, Any], traits: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    named = {key: event[key] for key in ("name", "category") if event.get(key) is not None}
    return "page", {**_object(event, "properties"), **named}


def _screen(event: dict[str, Any], traits: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return "screen", _page(event, traits)[1]


def _group(event: dict[str, Any], traits: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return "group", {**traits, "groupId": _required_id(event, "groupId")}


def _identify(event: dict[str, Any], traits: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return "identify", traits


def _alias(event: dict[str, Any], traits: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    _required_person(event, "userId")
    return "alias", {"previousId": _required_person(event, "previousId")}


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
        raise InvalidEvent(f"type is {_quote(kind)}, which is not a call.", hint=hint)
    return kind


# --- fields ------------------------------------------------------------------------------


def _context(event: dict[str, Any], batch: BatchContext) -> dict[str, Any]:
    """The event's context, completed by that of its batch."""
    own = _object(event, "context")
    if not batch.context:
        return own
    return {**own, **{n: v for n, v in batch.context.items() if own.get(n) is None}}


def _object(event: dict[str, Any], field: str) -> dict[str, Any]:
    """A JSON object; an empty list counts as one, as PHP writes it so."""
    value = event.get(field)
    if value is None or value == []:
        return {}
    if not isinstance(value, dict):
        raise InvalidEvent(
            f"{field} is {_quote(value)}, not an object.", hint=f"Send {field} as a JSON object."
        )
    return value


def _name(event: dict[str, Any], field: str) -> str:
    value = event.get(field)
    if not isinstance(value, str) or not value.strip():
        raise InvalidEvent(
            f"{field} is {_quote(value)}.", hint=f"Name what happened in {field}, as text."
        )
    return _check_length(field, value, LONGEST_NAME)


def _id(event: dict[str, Any], field: str) -> str | None:
    """An id as text; some senders send whole numbers."""
    value = event.get(field)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, str):
        raise InvalidEvent(f"{field} is {_quote(value)}.", hint=f"Send {field} as text.")
    return _check_length(field, value.strip(), LONGEST_VALUE)


def _required_id(event: dict[str, Any], field: str) -> str:
    value = _id(event, field)
    if value is None:
        raise InvalidEvent(f"{field} is missing.", hint=f"Send {field} as text.")
    return value


def _required_person(event: dict[str, Any], field: str) -> str:
    value = _required_id(event, field)
    if is_placeholder("user_id", value):
        raise _placeholder(field, value)
    return value


def _message_id(event: dict[str, Any], batch: BatchContext) -> str:
    """The sender's, so that an event sent twice counts once; a new one if it sent none.

    With `undefined` as the id of every event, only the first of them would count.
    """
    sent = _id(event, "messageId")
    if sent and not is_placeholder("message_id", sent):
        return sent
    return f"{OWN_MESSAGE_ID}{batch.new_id()}"


def _check_names(values: dict[str, Any]) -> dict[str, Any]:
    for name in values:
        if not name:
            raise InvalidEvent("A name is blank.", hint="Give every trait a name.")
        _check_length("a name", name, LONGEST_NAME)
    return values


def _check_length(field: str, value: str, limit: int) -> str:
    if len(value) > limit:
        raise InvalidEvent(
            f"{field} has {len(value)} characters ({_quote(value)}).",
            hint=f"Use at most {limit} characters.",
        )
    return value


# --- who ---------------------------------------------------------------------------------


def _read_identities(
    event: dict[str, Any], context: dict[str, Any], traits: Mapping[str, Any]
) -> tuple[Identity, ...]:
    named = _read_identity("user_id", _id(event, "userId"))
    named |= _read_identity("anonymous_id", _id(event, "anonymousId"))
    named |= _read_identifying(traits)
    if context.get("externalIds") is not None:
        named |= _read_external_ids(context["externalIds"])
    named |= _read_device(context)
    if not named:
        for field in ("userId", "anonymousId"):
            if value := _id(event, field):
                raise _placeholder(field, value)
        raise NoIdentity(
            "The event names no customer.", hint="Send userId or anonymousId with every event."
        )
    return sort_by_strength(named) if len(named) > 1 else tuple(named)


def _read_device(context: dict[str, Any]) -> set[Identity]:
    device = context.get("device")
    return _read_identity("device", device.get("id") if isinstance(device, dict) else None)


def _placeholder(field: str, value: str) -> PlaceholderIdentity:
    return PlaceholderIdentity(
        f"{field} is {_quote(value)}, which stands for nobody.",
        hint="Leave it out while you do not know the customer; every event needs a userId or"
        " anonymousId.",
    )


class _Attribution(NamedTuple):
    """Whom an event is about, as far as its sender is believed, and what else it claims."""

    identities: tuple[Identity, ...]
    sender: SenderClass
    linked_by: LinkSource
    claims: tuple[Identity, ...] = ()
    is_proved: bool = True


def _attribute(
    event: dict[str, Any],
    context: dict[str, Any],
    named: tuple[Identity, ...],
    claim: SignedClaim | None,
    batch: BatchContext,
) -> _Attribution:
    """Separate the identities an event names: those its sender proves, and mere claims.

    A key that everybody can read speaks for the browser it is used in, and for no person.
    """
    if batch.can_identify:
        if claim:
            named = sort_by_strength({*named, *claim.identities})
        return _Attribution(named, batch.sender, LinkSource(batch.sender))
    browser = claim.browser if claim else _read_browser(event, context)
    proved = {browser, *claim.identities} if claim else {browser}
    claims = tuple(one for one in named if one.type in KNOWN_TYPES and one not in proved)
    if claimed := _read_context_traits(context.get("traits")) - proved:
        claims = sort_by_strength({*claims, *claimed})
    if claim:
        return _Attribution(sort_by_strength(proved), SenderClass.APP, LinkSource.CLAIM, claims)
    return _Attribution((browser,), batch.sender, LinkSource.WRITE_KEY, claims, is_proved=False)


def _read_context_traits(traits: object) -> set[Identity]:
    """The identities in `context.traits`, which libraries send along with every call."""
    if not isinstance(traits, dict):
        return set()
    named = {name: traits[name] for name in IDENTIFYING_TRAITS if name in traits}
    return _read_identifying({n: v for n, v in named.items() if len(str(v)) <= LONGEST_VALUE})


def _read_browser(event: dict[str, Any], context: dict[str, Any]) -> Identity:
    """The browser or device an event comes from."""
    anonymous_id = _id(event, "anonymousId")
    for identity in _read_identity("anonymous_id", anonymous_id) or _read_device(context):
        return identity
    if anonymous_id:
        raise _placeholder("anonymousId", anonymous_id)
    raise UnprovedIdentity(
        "The event names a person only, and a write key cannot say who somebody is.",
        hint="Send anonymousId with it, or send it from your server with an API key.",
    )


def _read_claim(
    event: dict[str, Any], context: dict[str, Any], batch: BatchContext
) -> tuple[dict[str, Any], SignedClaim | None]:
    """The signed claim in `context.raak.claim`, if there is one, and the context without it."""
    raak = context.get("raak")
    if not isinstance(raak, dict) or raak.get("claim") is None:
        return context, None
    claim = batch.verify(raak["claim"], batch.received_at)
    if claim.browser not in _read_identity("anonymous_id", _id(event, "anonymousId")):
        raise InvalidClaim(
            "The signed claim is for another browser than the event's anonymousId.",
            hint="Have your server sign one for the anonymousId that the event has.",
        )
    rest = {name: value for name, value in raak.items() if name != "claim"}
    return {**context, "raak": rest}, claim


def _is_trait(name: str, value: object, who: _Attribution) -> bool:
    """Whether a trait names nobody, or whom its sender proves; else it is only a claim."""
    if name not in IDENTIFYING_TRAITS:
        return True
    identity = _read_identity(name, value)
    return bool(identity) and identity.issubset(who.identities)


def _previous(event: dict[str, Any], batch: BatchContext) -> str | None:
    """The id an alias joins to its customer; a write key may only name its own browser's."""
    previous = _id(event, "previousId")
    if batch.can_identify:
        return previous
    if previous != _id(event, "anonymousId"):
        raise UnprovedChange(
            f"A write key cannot join {_quote(previous)}, which is not the event's anonymousId.",
            hint="Send the alias from your server with an API key.",
        )
    return None


def _read_identifying(traits: Mapping[str, Any]) -> set[Identity]:
    identities: set[Identity] = set()
    for name in IDENTIFYING_TRAITS:
        if name in traits:
            identities |= _read_identity(name, traits[name])
    return identities


def _read_external_ids(items: object) -> set[Identity]:
    """`[{"type": "crm_id", "id": "K-1"}, …]`; unknown types stay in the context."""
    if not isinstance(items, list):
        raise InvalidEvent(
            f"context.externalIds is {_quote(items)}, not a list.",
            hint='Send it as [{"type": "crm_id", "id": "…"}].',
        )
    identities: set[Identity] = set()
    for item in items:
        if isinstance(item, dict) and isinstance(item.get("type"), str) and item["type"] in TYPES:
            identities |= _read_identity(item["type"], item.get("id"))
    return identities


def _read_identity(type: str, value: object) -> set[Identity]:
    """The identity a value names, as a set; empty if it names nobody."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return set()
    identity = normalise_identity(type, _check_length(type, value, LONGEST_VALUE))
    return {identity} if identity else set()


# --- when --------------------------------------------------------------------------------


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


def correct_clock(stated: datetime, sent_at: datetime | None, received_at: datetime) -> datetime:
    """`stated` on our clock, given what the sender's clock said when ours said `received_at`.

    Source: Segment, "Timestamps in Segment": timestamp = receivedAt - (sentAt - original).
    """
    if sent_at is None:
        return stated
    try:
        return received_at - (sent_at - stated)
    except OverflowError:
        raise InvalidEvent(
            f"sentAt {sent_at.isoformat()} and timestamp {stated.isoformat()} are too far apart.",
            hint="Send both by the same clock.",
        ) from None


def read_sent_at(value: object) -> datetime | None:
    """When the sender sent, by its own clock; None for what is not a time."""
    try:
        return read_time(value, "sentAt")
    except InvalidEvent:
        return None


def read_time(value: object, field: str) -> datetime | None:
    """An ISO 8601 text as an aware UTC datetime; one without a zone is UTC.

    As in RFC 3339 its letters may be small, and a leap second `:60` is the first second of the
    next minute.
    """
    if value is None:
        return None
    try:
        if not isinstance(value, str):
            raise ValueError
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            usual, leaps = _LEAP.subn(r"\g<1>59", value.upper())
            moment = datetime.fromisoformat(usual) + timedelta(seconds=leaps)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidEvent(
            f"{field} is {_quote(value)}, not a time.",
            hint='Send ISO 8601 text such as "2026-11-22T05:30:00.000Z".',
        ) from None


# --- by what right -----------------------------------------------------------------------


def _provenance(context: dict[str, Any], sender: SenderClass) -> Provenance:
    """What `context.raak` says: kind, context, source and lawfulBasis of all traits of the call.

    What a browser or app sends can only be declared by the customer.
    """
    raak = context.get("raak")
    if raak is None:
        return Provenance()
    if not isinstance(raak, dict):
        raise InvalidEvent(f"context.raak is {_quote(raak)}.", hint="Send it as a JSON object.")
    default = Provenance()
    fields = {name: value for name, value in raak.items() if value is not None}
    source = fields.get("source", default.source)
    if not isinstance(source, str) or not source:
        raise InvalidEvent(f"context.raak.source is {_quote(source)}.", hint="Send it as text.")
    provenance = Provenance(
        kind=_read_enum(TraitKind, fields.get("kind", default.kind), "context.raak.kind"),
        context=_read_enum(
            ContextCategory, fields.get("context", default.context), "context.raak.context"
        ),
        source=_check_length("context.raak.source", source, LONGEST_NAME),
        lawful_basis=_read_enum(
            LawfulBasis, fields.get("lawfulBasis", default.lawful_basis), "context.raak.lawfulBasis"
        ),
    )
    if not sender.is_trusted:
        for field, value, allowed in (
            ("kind", provenance.kind, DECLARED),
            ("source", provenance.source, DEFAULT_SOURCES),
            ("lawfulBasis", provenance.lawful_basis, CLIENT_BASES),
        ):
            _check_provenance(f"context.raak.{field}", value, allowed, sender)
    return provenance


def _check_provenance(
    field: str, value: str, allowed: tuple[str, ...], sender: SenderClass
) -> None:
    if value not in allowed:
        raise UnprovedProvenance(
            f"{field} is {_quote(str(value))}, which the sender class {sender} cannot claim.",
            hint=f"Leave it out, send {' or '.join(allowed)}, or send it from your server.",
        )


def _read_enum(enum: type[AnyEnum], value: object, field: str) -> AnyEnum:
    try:
        return enum(str(value).upper())
    except ValueError:
        raise InvalidEvent(
            f"{field} is {_quote(value)}.", hint=f"Use one of {', '.join(enum)}."
        ) from None


def _consents(context: dict[str, Any], sender: SenderClass) -> dict[str, ConsentChoice]:
    """Segment's `context.consent.categoryPreferences`: purpose to true, false or an XDM letter."""
    consent = context.get("consent")
    preferences = consent.get("categoryPreferences") if isinstance(consent, dict) else None
    if not isinstance(preferences, dict):
        return {}
    provenance = _provenance(context, sender)
    has_basis = (context.get("raak") or {}).get("lawfulBasis") is not None
    basis = provenance.lawful_basis if has_basis else LawfulBasis.CONSENT
    if not sender.is_trusted:
        _check_provenance("lawfulBasis of a consent", basis, (LawfulBasis.CONSENT,), sender)
    return {
        purpose: ConsentChoice(_status(purpose, value), provenance.source, basis)
        for purpose, value in _check_names(preferences).items()
        if value is not None
    }


def _status(purpose: str, value: object) -> ConsentStatus:
    if isinstance(value, bool):
        return ConsentStatus.GIVEN if value else ConsentStatus.DENIED
    if isinstance(value, str) and value in XDM_STATUS:
        return XDM_STATUS[value]
    raise InvalidEvent(
        f"The consent for {purpose!r} is {_quote(value)}.",
        hint=f"Send true, false or one of {', '.join(XDM_STATUS)}.",
    )


def _quote(value: object) -> str:
    """A value as a message quotes it, at most 60 characters."""
    text = "missing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
