"""The Segment HTTP spec: a JSON value read into a `Call`, or refused with what to mend.

Source: Segment, "Spec: Common fields" and "HTTP Tracking API source". Written by hand, not as a
model: a batch holds hundreds of events, and pydantic would cost more than all the rest.
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
    ConsentGiven,
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
    identity,
    strongest_first,
)

LONGEST_NAME = 255
OWN_MESSAGE_ID = "raak-"
"""What a message id begins with that the sender left to us."""
IDENTIFYING_TRAITS = ("email", "phone", "crm_id", "loyalty_id")

DECLARED = (TraitKind.DECLARED,)
DOORS = ("segment", "graph")
"""The sources of what comes through our doors, when nothing else is said."""
OWN_BASES = (LawfulBasis.LI, LawfulBasis.CONSENT)
"""What browsers and apps may name as the ground of what they say."""

_LEAP = re.compile(r"(T\d\d:\d\d:)60")

Word = TypeVar("Word", bound=StrEnum)


class Reading(NamedTuple):
    """How the events of one request are read.

    `sent_at` is the sender's clock when it sent them, if it said; `context` stands behind each
    event's own, and has so many bytes as JSON. `flaw` is what is wrong with all of them. `verify`
    reads a signed claim as it stands at a moment, or raises InvalidClaim.
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
    def believes(self) -> bool:
        """Whether who sends may say who somebody is, if only within what others have checked."""
        return self.sender is not SenderClass.WRITE_KEY or self.trust_write_keys


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
    context = _context(event, reading)
    traits = _object(event, "traits") if kind in ("identify", "group") else {}
    telling = traits if kind == "identify" else NOTHING
    named = _told(subject, telling) if subject else _identities(event, context, telling)
    context, claim = _claim(event, context, reading)
    who = _who(event, context, named, claim, reading)
    if kind == "identify" and not reading.believes:
        traits = {name: value for name, value in traits.items() if _may_be_trait(name, value, who)}
    name, properties = CALLS[kind](event, traits)
    return Call(
        kind=kind,
        name=name,
        sender=who.sender,
        event_id=reading.new_id(),
        message_id=_message_id(event, reading),
        occurred_at=_occurred_at(event, reading),
        received_at=reading.received_at,
        properties=properties,
        context=context,
        identities=who.identities,
        customer=subject.customer if subject else None,
        traits=_names_checked(traits) if kind == "identify" else {},
        provenance=_provenance(context, who.sender),
        consents=_consents(context, who.sender),
        previous=_previous(event, reading) if kind == "alias" else None,
        claims=who.claims,
        is_proved=who.is_proved,
        linked_by=who.linked_by,
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
        raise InvalidEvent(f"type is {_shown(kind)}, which is no call.", hint=hint)
    return kind


# --- fields ------------------------------------------------------------------------------


def _context(event: dict[str, Any], reading: Reading) -> dict[str, Any]:
    """The event's own, and what its list says of all where that says nothing."""
    own = _object(event, "context")
    if not reading.context:
        return own
    return {**own, **{n: v for n, v in reading.context.items() if own.get(n) is None}}


def _object(event: dict[str, Any], field: str) -> dict[str, Any]:
    """A JSON object; an empty list is one too: PHP writes it so."""
    value = event.get(field)
    if value is None or value == []:
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


def _required_person(event: dict[str, Any], field: str) -> str:
    value = _required_id(event, field)
    if is_placeholder("user_id", value):
        raise _placeholder(field, value)
    return value


def _message_id(event: dict[str, Any], reading: Reading) -> str:
    """The sender's, so that what he sends twice counts once; without one we cannot tell.

    One that is `undefined` in every event would have the first count, and no other.
    """
    given = _id(event, "messageId")
    if given and not is_placeholder("message_id", given):
        return given
    return f"{OWN_MESSAGE_ID}{reading.new_id()}"


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
    named = _given("user_id", _id(event, "userId"))
    named |= _given("anonymous_id", _id(event, "anonymousId"))
    named |= _identifying(traits)
    if context.get("externalIds") is not None:
        named |= _external(context["externalIds"])
    named |= _device(context)
    if not named:
        for field in ("userId", "anonymousId"):
            if value := _id(event, field):
                raise _placeholder(field, value)
        raise NoIdentity(
            "The event names nobody.", hint="Send userId or anonymousId with every event."
        )
    return strongest_first(named) if len(named) > 1 else tuple(named)


def _device(context: dict[str, Any]) -> set[Identity]:
    device = context.get("device")
    return _given("device", device.get("id") if isinstance(device, dict) else None)


def _placeholder(field: str, value: str) -> PlaceholderIdentity:
    return PlaceholderIdentity(
        f"{field} is {_shown(value)}, which stands for nobody.",
        hint="Leave it out while you know nobody; every event needs a userId or anonymousId.",
    )


class _Who(NamedTuple):
    """Whom an event is about, as far as its sender is believed."""

    identities: tuple[Identity, ...]
    sender: SenderClass
    linked_by: LinkSource
    claims: tuple[Identity, ...] = ()
    is_proved: bool = True


def _who(
    event: dict[str, Any],
    context: dict[str, Any],
    named: tuple[Identity, ...],
    claim: SignedClaim | None,
    reading: Reading,
) -> _Who:
    """Part what identities an event names into those its sender proves, and mere claims.

    A key that everybody can read speaks for the browser it is used in, and for no person.
    """
    if reading.believes:
        if claim:
            named = strongest_first({*named, *claim.identities})
        return _Who(named, reading.sender, LinkSource(reading.sender))
    browser = claim.browser if claim else _browser(event, context)
    proved = {browser, *claim.identities} if claim else {browser}
    claims = tuple(one for one in named if one.type in KNOWN_TYPES and one not in proved)
    if passing := _passing(context.get("traits")) - proved:
        claims = strongest_first({*claims, *passing})
    if claim:
        return _Who(strongest_first(proved), SenderClass.APP, LinkSource.CLAIM, claims)
    return _Who((browser,), reading.sender, LinkSource.WRITE_KEY, claims, is_proved=False)


def _passing(traits: object) -> set[Identity]:
    """The identities in `context.traits`, which libraries send along with every call."""
    if not isinstance(traits, dict):
        return set()
    named = {name: traits[name] for name in IDENTIFYING_TRAITS if name in traits}
    return _identifying({n: v for n, v in named.items() if len(str(v)) <= LONGEST_VALUE})


def _browser(event: dict[str, Any], context: dict[str, Any]) -> Identity:
    """The browser or device an event comes from."""
    given = _id(event, "anonymousId")
    for one in _given("anonymous_id", given) or _device(context):
        return one
    if given:
        raise _placeholder("anonymousId", given)
    raise UnprovedIdentity(
        "The event names a person only, and a write key does not say who somebody is.",
        hint="Send anonymousId with it, or send it from your server with an API key.",
    )


def _claim(
    event: dict[str, Any], context: dict[str, Any], reading: Reading
) -> tuple[dict[str, Any], SignedClaim | None]:
    """The signed claim in `context.raak.claim`, if there is one, and the context without it."""
    raak = context.get("raak")
    if not isinstance(raak, dict) or raak.get("claim") is None:
        return context, None
    claim = reading.verify(raak["claim"], reading.received_at)
    if claim.browser not in _given("anonymous_id", _id(event, "anonymousId")):
        raise InvalidClaim(
            "The signed claim is for another browser than the event's anonymousId.",
            hint="Have your server make one for the anonymousId that is sent.",
        )
    rest = {name: value for name, value in raak.items() if name != "claim"}
    return {**context, "raak": rest}, claim


def _may_be_trait(name: str, value: object, who: _Who) -> bool:
    """Whether a trait names nobody, or whom its sender proves; else it is a claim only."""
    if name not in IDENTIFYING_TRAITS:
        return True
    given = _given(name, value)
    return bool(given) and given.issubset(who.identities)


def _previous(event: dict[str, Any], reading: Reading) -> str | None:
    """The id an alias joins. From a write key that is its own browser's, joined to its claims."""
    previous = _id(event, "previousId")
    if reading.believes:
        return previous
    if previous != _id(event, "anonymousId"):
        raise UnprovedChange(
            f"A write key does not join {_shown(previous)}, which is not the event's anonymousId.",
            hint="Send the alias from your server with an API key.",
        )
    return None


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
    sent_at = reading.sent_at or read_sent_at(event.get("sentAt"))
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


def read_sent_at(value: object) -> datetime | None:
    """When the sender's clock says that he sent; what is no time is as if it were left out."""
    try:
        return read_time(value, "sentAt")
    except InvalidEvent:
        return None


def read_time(value: object, field: str) -> datetime | None:
    """An ISO 8601 text as an aware UTC datetime; one without a zone is taken as UTC.

    As RFC 3339 has it, its letters may be small ones, and a minute may end with a second 60, which
    is the first one of the next.
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
            f"{field} is {_shown(value)}, not a time.",
            hint='Send ISO 8601 text such as "2026-11-22T05:30:00.000Z".',
        ) from None


# --- by what right -----------------------------------------------------------------------


def _provenance(context: dict[str, Any], sender: SenderClass) -> Provenance:
    """What `context.raak` says: kind, context, source and lawfulBasis of all traits of the call.

    What a browser or app says is declared by the customer, whatever it says of itself.
    """
    given = context.get("raak")
    if given is None:
        return Provenance()
    if not isinstance(given, dict):
        raise InvalidEvent(f"context.raak is {_shown(given)}.", hint="Send it as a JSON object.")
    plain = Provenance()
    given = {name: value for name, value in given.items() if value is not None}
    source = given.get("source", plain.source)
    if not isinstance(source, str) or not source:
        raise InvalidEvent(f"context.raak.source is {_shown(source)}.", hint="Send it as text.")
    provenance = Provenance(
        kind=_word(TraitKind, given.get("kind", plain.kind), "context.raak.kind"),
        context=_word(ContextCategory, given.get("context", plain.context), "context.raak.context"),
        source=_not_too_long("context.raak.source", source, LONGEST_NAME),
        lawful_basis=_word(
            LawfulBasis, given.get("lawfulBasis", plain.lawful_basis), "context.raak.lawfulBasis"
        ),
    )
    if not sender.is_trusted:
        for field, value, allowed in (
            ("kind", provenance.kind, DECLARED),
            ("source", provenance.source, DOORS),
            ("lawfulBasis", provenance.lawful_basis, OWN_BASES),
        ):
            _check_own_word(f"context.raak.{field}", value, allowed, sender)
    return provenance


def _check_own_word(field: str, value: str, allowed: tuple[str, ...], sender: SenderClass) -> None:
    if value not in allowed:
        raise UnprovedProvenance(
            f"{field} is {_shown(str(value))}, which a {sender} does not say of its own word.",
            hint=f"Leave it out, send {' or '.join(allowed)}, or send it from your server.",
        )


def _word(words: type[Word], value: object, field: str) -> Word:
    try:
        return words(str(value).upper())
    except ValueError:
        raise InvalidEvent(
            f"{field} is {_shown(value)}.", hint=f"Use one of {', '.join(words)}."
        ) from None


def _consents(context: dict[str, Any], sender: SenderClass) -> dict[str, ConsentGiven]:
    """Segment's `context.consent.categoryPreferences`: purpose to true, false or an XDM letter."""
    consent = context.get("consent")
    preferences = consent.get("categoryPreferences") if isinstance(consent, dict) else None
    if not isinstance(preferences, dict):
        return {}
    provenance = _provenance(context, sender)
    stated = (context.get("raak") or {}).get("lawfulBasis") is not None
    basis = provenance.lawful_basis if stated else LawfulBasis.CONSENT
    if not sender.is_trusted:
        _check_own_word("lawfulBasis of a consent", basis, (LawfulBasis.CONSENT,), sender)
    return {
        purpose: ConsentGiven(_status(purpose, value), provenance.source, basis)
        for purpose, value in _names_checked(preferences).items()
        if value is not None
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
