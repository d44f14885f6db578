"""One call about one customer, however it reached profile, and why a call is refused."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, NamedTuple, Self
from uuid import UUID

from pydantic import TypeAdapter

from services.chassis.errors import RaakError
from services.contracts.base import Json
from services.contracts.enums import LinkSource, SenderClass
from services.profile.domain.enums import ConsentStatus, ContextCategory, LawfulBasis, TraitKind
from services.profile.domain.identities import Identity

NOTHING: Mapping[str, Any] = MappingProxyType({})


class InvalidEvent(RaakError, code="PROFILE_INVALID_EVENT"):
    """An event cannot be recorded as it is; the others of its batch can."""


class NoIdentity(InvalidEvent, code="PROFILE_NO_IDENTITY"):
    """An event names no customer."""


class PlaceholderIdentity(NoIdentity, code="PROFILE_PLACEHOLDER_IDENTITY"):
    """An event names only what programs write when they know no customer."""


class ServerOnlyEvent(InvalidEvent, code="PROFILE_SERVER_EVENT"):
    """An event that is believed from the company's servers only, or that only Raak records."""


class UnprovedIdentity(InvalidEvent, code="PROFILE_UNPROVED_IDENTITY"):
    """The event names a person only, and its sender cannot say who somebody is."""


class UnprovedChange(InvalidEvent, code="PROFILE_UNPROVED_CHANGE"):
    """The event would change a known customer whom its sender has not proved to speak for."""

    @classmethod
    def of(cls, what: str) -> Self:
        """For the traits, consents or alias of a known customer that came with a write key."""
        return cls(
            f"A write key cannot change the {what} of a customer who is known.",
            hint="Send it from your server with an API key, or with a signed claim.",
        )


class UnprovedProvenance(InvalidEvent, code="PROFILE_UNPROVED_PROVENANCE"):
    """A browser or app claims a provenance that only servers may."""


class InvalidClaim(InvalidEvent, code="PROFILE_INVALID_CLAIM"):
    """A signed claim that proves nothing for this event; the message never quotes it."""


class ClaimExpired(InvalidClaim, code="PROFILE_CLAIM_EXPIRED"):
    """A signed claim is no longer valid."""


class ClaimsOff(InvalidClaim, code="PROFILE_CLAIMS_OFF"):
    """A signed claim came, and no secret is set to check it with."""


class EventInFuture(InvalidEvent, code="PROFILE_EVENT_IN_FUTURE"):
    """An event lies further ahead of our clock than the tolerance."""


class EventTooLarge(InvalidEvent, code="PROFILE_EVENT_TOO_LARGE", status=413):
    """One event is larger than an event may be."""


class TooManyTraits(InvalidEvent, code="PROFILE_TOO_MANY_TRAITS"):
    """The customer would have more traits than one may have."""


class TraitsTooLarge(InvalidEvent, code="PROFILE_TRAITS_TOO_LARGE"):
    """A trait, or all traits of a customer, would have more bytes than the limit."""


class TooManyPurposes(InvalidEvent, code="PROFILE_TOO_MANY_PURPOSES"):
    """The customer would have consents for more purposes than one may have."""


class Provenance(NamedTuple):
    """The source of the traits in a call, and their lawful basis."""

    kind: TraitKind = TraitKind.DECLARED
    context: ContextCategory = ContextCategory.RELATIONAL
    source: str = "segment"
    lawful_basis: LawfulBasis = LawfulBasis.LI


class ConsentChoice(NamedTuple):
    """A customer's choice on one purpose, as a call says it."""

    status: ConsentStatus
    source: str
    lawful_basis: LawfulBasis


class SignedClaim(NamedTuple):
    """A server's word that the holder of these identities uses this browser now."""

    browser: Identity
    identities: frozenset[Identity]


def refuse_claim(text: object, now: datetime) -> SignedClaim:
    """Read claims where there is no secret; raises ClaimsOff."""
    raise ClaimsOff(
        "A signed claim came with the event, and signed claims are off.",
        hint="Set RAAK_PROFILE_CLAIM_SECRETS to the secret your server signs with.",
    )


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
        """Whether the sender may identify customers, within what its token allows."""
        return self.sender is not SenderClass.WRITE_KEY or self.trust_write_keys


class Call(NamedTuple):
    """One valid call: what happened, to whom, and what it says of them.

    `identities` are the strongest first. `customer` is set when it is known already whose it is.
    `previous` is the id an alias call joins to the identities. `claims` are identities the sender
    names and does not prove. A call that is not `is_proved` changes nothing of a known customer.
    """

    kind: str
    """track, page, screen, group, identify or alias; consent or outcome when Raak made it."""
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
    consents: Mapping[str, ConsentChoice] = NOTHING
    previous: str | None = None
    claims: tuple[Identity, ...] = ()
    is_proved: bool = True
    linked_by: LinkSource = LinkSource.SERVER
    """The source of the links between its identities."""

    @property
    def primary_identity(self) -> Identity:
        """The identity this call is filed under."""
        if self.identities:
            return self.identities[0]
        return Identity("customer_id", str(self.customer))


_CALL = TypeAdapter(Call)


def dump_call(call: Call) -> dict[str, Json]:
    """A call as JSON; `load_call` reads it back."""
    return call._replace(traits=dict(call.traits), consents=dict(call.consents))._asdict()


def load_call(fields: Mapping[str, Json]) -> Call:
    """A call from its JSON; raises ValueError (pydantic's) if it is not one."""
    return _CALL.validate_python(fields)
