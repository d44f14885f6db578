"""What profile takes in, whatever the door it came by: one call about one customer."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Self
from uuid import UUID

from pydantic import TypeAdapter

from services.chassis.errors import RaakError
from services.contracts.base import Json
from services.contracts.enums import LinkSource, SenderClass
from services.profile.domain.enums import ConsentStatus, ContextCategory, LawfulBasis, TraitKind
from services.profile.domain.identities import Identity

NOTHING: Mapping[str, Any] = MappingProxyType({})


class InvalidEvent(RaakError):
    """An event cannot be taken in as it is; the others of its batch can."""

    code: ClassVar[str] = "PROFILE_INVALID_EVENT"


class NoIdentity(InvalidEvent):
    """An event says of nobody that it is his."""

    code = "PROFILE_NO_IDENTITY"


class PlaceholderIdentity(NoIdentity):
    """An event names only what programs write where they know nobody."""

    code = "PROFILE_PLACEHOLDER_IDENTITY"


class ServerEvent(InvalidEvent):
    """An event that is believed from the company's servers only, or that is our own word."""

    code = "PROFILE_SERVER_EVENT"


class UnprovedIdentity(InvalidEvent):
    """Whoever sends with a key that everybody can read does not say who somebody is."""

    code = "PROFILE_UNPROVED_IDENTITY"


class UnprovedChange(InvalidEvent):
    """A sender would change what is known of a customer who is not proved to be its own."""

    code = "PROFILE_UNPROVED_CHANGE"

    @classmethod
    def of(cls, what: str) -> Self:
        """For the traits, consents or alias of a known customer that came with a write key."""
        return cls(
            f"A write key does not change the {what} of a customer who is known.",
            hint="Send it from your server with an API key, or with a signed claim.",
        )


class UnprovedProvenance(InvalidEvent):
    """A sender says of its own word that it is a better one."""

    code = "PROFILE_UNPROVED_PROVENANCE"


class InvalidClaim(InvalidEvent):
    """A signed claim that proves nothing of this event; the message never shows it."""

    code = "PROFILE_INVALID_CLAIM"


class ClaimExpired(InvalidClaim):
    """A signed claim was good once."""

    code = "PROFILE_CLAIM_EXPIRED"


class ClaimsOff(InvalidClaim):
    """A signed claim came, and there is no secret to check it with."""

    code = "PROFILE_CLAIMS_OFF"


class EventInFuture(InvalidEvent):
    """An event lies ahead of our clock, further than clocks differ."""

    code = "PROFILE_EVENT_IN_FUTURE"


class EventTooLarge(InvalidEvent):
    """One event is larger than an event may be."""

    code = "PROFILE_EVENT_TOO_LARGE"
    status = 413


class TooManyTraits(InvalidEvent):
    """An event brings a customer more traits than one may have."""

    code = "PROFILE_TOO_MANY_TRAITS"


class TraitsTooLarge(InvalidEvent):
    """An event brings a trait, or a customer's traits together, more bytes than they may have."""

    code = "PROFILE_TRAITS_TOO_LARGE"


class TooManyPurposes(InvalidEvent):
    """An event brings a customer words on more purposes than one may have."""

    code = "PROFILE_TOO_MANY_PURPOSES"


class Provenance(NamedTuple):
    """Where what a call says of a customer comes from, and by what right it is kept."""

    kind: TraitKind = TraitKind.DECLARED
    context: ContextCategory = ContextCategory.RELATIONAL
    source: str = "segment"
    lawful_basis: LawfulBasis = LawfulBasis.LI


class ConsentGiven(NamedTuple):
    """One word on one purpose."""

    status: ConsentStatus
    source: str
    lawful_basis: LawfulBasis


class SignedClaim(NamedTuple):
    """What a server says of its visitor: this browser is now used by the holder of these."""

    browser: Identity
    identities: frozenset[Identity]


def refuse_claim(text: object, now: datetime) -> SignedClaim:
    """Read claims where there is no secret; raises ClaimsOff."""
    raise ClaimsOff(
        "A signed claim came with the event, and signed claims are off.",
        hint="Set RAAK_PROFILE_CLAIM_SECRETS to the secret your server signs with.",
    )


class Call(NamedTuple):
    """One call, checked: what happened, to whom, and what it says of them.

    `identities` are the strongest first. `customer` is set when it is known already who is meant.
    `previous` is the id an alias call joins to the identities. `claims` are identities the sender
    names and does not prove. Who sent a call that is not `is_proved` changes nothing of a customer
    who is known.
    """

    kind: str
    """track, page, screen, group, identify or alias; consent or outcome when it is ours."""
    name: str
    sender: SenderClass
    event_id: UUID
    message_id: str
    occurred_at: datetime
    received_at: datetime
    properties: dict[str, Json]
    context: dict[str, Json]
    identities: tuple[Identity, ...]
    customer: UUID | None = None
    traits: Mapping[str, Any] = NOTHING
    provenance: Provenance = Provenance()
    consents: Mapping[str, ConsentGiven] = NOTHING
    previous: str | None = None
    claims: tuple[Identity, ...] = ()
    is_proved: bool = True
    linked_by: LinkSource = LinkSource.SERVER
    """By whose word its identities are one customer's."""

    @property
    def came_by(self) -> Identity:
        """The identity this call is filed under."""
        return self.identities[0] if self.identities else by_id(self.customer)


_CALL = TypeAdapter(Call)


def dump_call(call: Call) -> dict[str, Json]:
    """A call as an event holds it; `load_call` reads it back."""
    return call._replace(traits=dict(call.traits), consents=dict(call.consents))._asdict()


def load_call(fields: Mapping[str, Json]) -> Call:
    """The call an event holds; raises ValueError (pydantic's) if it holds none."""
    return _CALL.validate_python(fields)


def by_id(customer: UUID | None) -> Identity:
    """How something is filed that came by our own id for a customer."""
    return Identity("customer_id", str(customer))
