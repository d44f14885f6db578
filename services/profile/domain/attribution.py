"""Whom an event is about: the identities it names, and which of them its sender proves."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from services.contracts.enums import LinkSource, SenderClass
from services.contracts.identity import KNOWN_TYPES, TYPES, is_placeholder
from services.profile.domain.calls import (
    BatchContext,
    InvalidClaim,
    InvalidEvent,
    NoIdentity,
    PlaceholderIdentity,
    SignedClaim,
    UnprovedChange,
    UnprovedIdentity,
)
from services.profile.domain.event_fields import check_length, quote, read_id, require_id
from services.profile.domain.identities import (
    LONGEST_VALUE,
    Identity,
    normalise_identity,
    sort_by_strength,
)

IDENTIFYING_TRAITS = ("email", "phone", "crm_id", "loyalty_id")


def read_identities(
    event: dict[str, Any], context: dict[str, Any], traits: Mapping[str, Any]
) -> tuple[Identity, ...]:
    named = _read_identity("user_id", read_id(event, "userId"))
    named |= _read_identity("anonymous_id", read_id(event, "anonymousId"))
    named |= read_identifying(traits)
    if context.get("externalIds") is not None:
        named |= _read_external_ids(context["externalIds"])
    named |= _read_device(context)
    if not named:
        for field in ("userId", "anonymousId"):
            if value := read_id(event, field):
                raise refuse_placeholder(field, value)
        raise NoIdentity(
            "The event names no customer.", hint="Send userId or anonymousId with every event."
        )
    return sort_by_strength(named) if len(named) > 1 else tuple(named)


def _read_device(context: dict[str, Any]) -> set[Identity]:
    device = context.get("device")
    return _read_identity("device", device.get("id") if isinstance(device, dict) else None)


def refuse_placeholder(field: str, value: str) -> PlaceholderIdentity:
    return PlaceholderIdentity(
        f"{field} is {quote(value)}, which stands for nobody.",
        hint="Leave it out while you do not know the customer; every event needs a userId or"
        " anonymousId.",
    )


class Attribution(NamedTuple):
    """Whom an event is about, as far as its sender is believed, and what else it claims."""

    identities: tuple[Identity, ...]
    sender: SenderClass
    linked_by: LinkSource
    claims: tuple[Identity, ...] = ()
    is_proved: bool = True


def attribute(
    event: dict[str, Any],
    context: dict[str, Any],
    named: tuple[Identity, ...],
    claim: SignedClaim | None,
    batch: BatchContext,
) -> Attribution:
    """Separate the identities an event names: those its sender proves, and mere claims.

    A key that everybody can read speaks for the browser it is used in, and for no person.
    """
    if batch.can_identify:
        if claim:
            named = sort_by_strength({*named, *claim.identities})
        return Attribution(named, batch.sender, LinkSource(batch.sender))
    browser = claim.browser if claim else _read_browser(event, context)
    proved = {browser, *claim.identities} if claim else {browser}
    claims = tuple(one for one in named if one.type in KNOWN_TYPES and one not in proved)
    if claimed := _read_context_traits(context.get("traits")) - proved:
        claims = sort_by_strength({*claims, *claimed})
    if claim:
        return Attribution(sort_by_strength(proved), SenderClass.APP, LinkSource.CLAIM, claims)
    return Attribution((browser,), batch.sender, LinkSource.WRITE_KEY, claims, is_proved=False)


def _read_context_traits(traits: object) -> set[Identity]:
    """The identities in `context.traits`, which libraries send along with every call."""
    if not isinstance(traits, dict):
        return set()
    named = {name: traits[name] for name in IDENTIFYING_TRAITS if name in traits}
    return read_identifying({n: v for n, v in named.items() if len(str(v)) <= LONGEST_VALUE})


def _read_browser(event: dict[str, Any], context: dict[str, Any]) -> Identity:
    anonymous_id = read_id(event, "anonymousId")
    for identity in _read_identity("anonymous_id", anonymous_id) or _read_device(context):
        return identity
    if anonymous_id:
        raise refuse_placeholder("anonymousId", anonymous_id)
    raise UnprovedIdentity(
        "The event names a person only, and a write key cannot say who somebody is.",
        hint="Send anonymousId with it, or send it from your server with an API key.",
    )


def read_claim(
    event: dict[str, Any], context: dict[str, Any], batch: BatchContext
) -> tuple[dict[str, Any], SignedClaim | None]:
    """The signed claim in `context.raak.claim`, if there is one, and the context without it."""
    raak = context.get("raak")
    if not isinstance(raak, dict) or raak.get("claim") is None:
        return context, None
    claim = batch.verify(raak["claim"], batch.received_at)
    if claim.browser not in _read_identity("anonymous_id", read_id(event, "anonymousId")):
        raise InvalidClaim(
            "The signed claim is for another browser than the event's anonymousId.",
            hint="Have your server sign one for the anonymousId that the event has.",
        )
    rest = {name: value for name, value in raak.items() if name != "claim"}
    return {**context, "raak": rest}, claim


def is_trait(name: str, value: object, who: Attribution) -> bool:
    """Whether a trait names nobody, or whom its sender proves; else it is only a claim."""
    if name not in IDENTIFYING_TRAITS:
        return True
    identity = _read_identity(name, value)
    return bool(identity) and identity.issubset(who.identities)


def read_previous(event: dict[str, Any], batch: BatchContext) -> str | None:
    """The id an alias joins to its customer; a write key may only name its own browser's."""
    previous = read_id(event, "previousId")
    if batch.can_identify:
        return previous
    if previous != read_id(event, "anonymousId"):
        raise UnprovedChange(
            f"A write key cannot join {quote(previous)}, which is not the event's anonymousId.",
            hint="Send the alias from your server with an API key.",
        )
    return None


def read_identifying(traits: Mapping[str, Any]) -> set[Identity]:
    identities: set[Identity] = set()
    for name in IDENTIFYING_TRAITS:
        if name in traits:
            identities |= _read_identity(name, traits[name])
    return identities


def _read_external_ids(items: object) -> set[Identity]:
    """`[{"type": "crm_id", "id": "K-1"}, …]`; unknown types stay in the context."""
    if not isinstance(items, list):
        raise InvalidEvent(
            f"context.externalIds is {quote(items)}, not a list.",
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
    identity = normalise_identity(type, check_length(type, value, LONGEST_VALUE))
    return {identity} if identity else set()


def require_person(event: dict[str, Any], field: str) -> str:
    value = require_id(event, field)
    if is_placeholder("user_id", value):
        raise refuse_placeholder(field, value)
    return value
