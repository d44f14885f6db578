"""The provenance of traits, and consents."""

from typing import Any

from services.contracts.enums import SenderClass
from services.profile.domain.calls import (
    ConsentChoice,
    InvalidEvent,
    Provenance,
    UnprovedProvenance,
)
from services.profile.domain.enums import (
    XDM_STATUS,
    ConsentStatus,
    ContextCategory,
    LawfulBasis,
    TraitKind,
)
from services.profile.domain.event_fields import (
    LONGEST_NAME,
    check_length,
    check_names,
    quote,
    read_enum,
)

DECLARED = (TraitKind.DECLARED,)
DEFAULT_SOURCES = ("segment", "graph")
"""The sources of calls at `/v1` and of mutations, when they name none."""
CLIENT_BASES = (LawfulBasis.LI, LawfulBasis.CONSENT)
"""The lawful bases that browsers and apps may name."""


def read_provenance(context: dict[str, Any], sender: SenderClass) -> Provenance:
    """What `context.raak` says: kind, context, source and lawfulBasis of all traits of the call.

    What a browser or app sends can only be declared by the customer.
    """
    raak = context.get("raak")
    if raak is None:
        return Provenance()
    if not isinstance(raak, dict):
        raise InvalidEvent(f"context.raak is {quote(raak)}.", hint="Send it as a JSON object.")
    default = Provenance()
    fields = {name: value for name, value in raak.items() if value is not None}
    source = fields.get("source", default.source)
    if not isinstance(source, str) or not source:
        raise InvalidEvent(f"context.raak.source is {quote(source)}.", hint="Send it as text.")
    provenance = Provenance(
        kind=read_enum(TraitKind, fields.get("kind", default.kind), "context.raak.kind"),
        context=read_enum(
            ContextCategory, fields.get("context", default.context), "context.raak.context"
        ),
        source=check_length("context.raak.source", source, LONGEST_NAME),
        lawful_basis=read_enum(
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
            f"{field} is {quote(str(value))}, which the sender class {sender} cannot claim.",
            hint=f"Leave it out, send {' or '.join(allowed)}, or send it from your server.",
        )


def read_consents(context: dict[str, Any], sender: SenderClass) -> dict[str, ConsentChoice]:
    """Segment's `context.consent.categoryPreferences`: purpose to true, false or an XDM letter."""
    consent = context.get("consent")
    preferences = consent.get("categoryPreferences") if isinstance(consent, dict) else None
    if not isinstance(preferences, dict):
        return {}
    provenance = read_provenance(context, sender)
    has_basis = (context.get("raak") or {}).get("lawfulBasis") is not None
    basis = provenance.lawful_basis if has_basis else LawfulBasis.CONSENT
    if not sender.is_trusted:
        _check_provenance("lawfulBasis of a consent", basis, (LawfulBasis.CONSENT,), sender)
    return {
        purpose: ConsentChoice(_status(purpose, value), provenance.source, basis)
        for purpose, value in check_names(preferences).items()
        if value is not None
    }


def _status(purpose: str, value: object) -> ConsentStatus:
    if isinstance(value, bool):
        return ConsentStatus.GIVEN if value else ConsentStatus.DENIED
    if isinstance(value, str) and value in XDM_STATUS:
        return XDM_STATUS[value]
    raise InvalidEvent(
        f"The consent for {purpose!r} is {quote(value)}.",
        hint=f"Send true, false or one of {', '.join(XDM_STATUS)}.",
    )
