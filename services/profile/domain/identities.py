"""Identity resolution: whose event this is, decided in memory against what is on record.

Every anonymous identity starts as a customer of its own, whose id all services derive alike. It
becomes known when it is merged into a known customer. Two known customers become one only by an
`alias` call: an identity that two of them claim stays where it is. Every identity has the source of
its link to its customer.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple
from uuid import UUID, uuid5

from services.chassis.errors import RaakError, nearest
from services.contracts.enums import LinkSource
from services.contracts.identity import (
    ANONYMOUS_TYPES,
    KNOWN_TYPES,
    TYPES,
    derive_customer_id,
    is_placeholder,
    normalise_value,
)
from services.profile.domain.enums import IdentityChangeKind

STRONGEST_FIRST = (
    "user_id",
    "crm_id",
    "loyalty_id",
    "email",
    "phone",
    "anonymous_id",
    "device",
)
SINGULAR = ("user_id", "crm_id")
"""A person has one of each: another value means another person, on a shared browser or address."""

LONGEST_VALUE = 255
"""Characters of an identity or message id; keys in PostgreSQL may not grow past 2.7 KB."""

_REFUSALS = UUID("0b6a7f5e-6d0e-5f53-8f5a-3a8f1f0d7c22")


class Identity(NamedTuple):
    """One way a customer is known; `value` is normalised."""

    type: str
    value: str


def normalise_identity(type: str, value: str) -> Identity | None:
    """The identity, normalised; None if the value names nobody (blank, a placeholder, an e-mail
    without an @).
    """
    if is_placeholder(type, value):
        return None
    value = normalise_value(type, value)
    if type == "email" and "@" not in value:
        return None
    if type == "phone" and len(value) < 2:
        return None
    return Identity(type, value) if value else None


class UnknownIdentityType(RaakError):
    """There is no identity of this type."""

    code: ClassVar[str] = "PROFILE_UNKNOWN_IDENTITY_TYPE"


class InvalidIdentity(RaakError):
    """A value that can name nobody."""

    code: ClassVar[str] = "PROFILE_INVALID_IDENTITY"


def parse_identity(type: str, value: str) -> Identity:
    """The identity a caller names; raises UnknownIdentityType or InvalidIdentity."""
    if type not in TYPES:
        hint = nearest(type, TYPES)
        raise UnknownIdentityType(f"There is no identity type {type[:50]!r}.", hint=hint)
    identity = normalise_identity(type, value)
    if identity is None or len(identity.value) > LONGEST_VALUE or "\0" in identity.value:
        raise InvalidIdentity(
            f"{value[:50]!r} is no {type}.",
            hint=f"Send text of at most {LONGEST_VALUE} characters that names somebody.",
        )
    return identity


def derive_visitor_id(identity: Identity) -> UUID | None:
    """The customer id that is derived from an identity.

    None for one of a person, and for a placeholder: some were stored before placeholders were
    refused.
    """
    if identity.type not in ANONYMOUS_TYPES or is_placeholder(*identity):
        return None
    return derive_customer_id(*identity)


def sort_by_strength(identities: Iterable[Identity]) -> tuple[Identity, ...]:
    """The identities without repetition, those that name a person most surely first."""
    return tuple(sorted(set(identities), key=lambda i: (STRONGEST_FIRST.index(i.type), i.value)))


@dataclass(frozen=True, slots=True)
class IdentityChange:
    """A merge, or an attachment that was refused.

    MERGED: everything of `from_customer` is now `into_customer`'s, `identities` moved.
    REFUSED: `identities` stay with `from_customer`, though `into_customer` claimed them.
    """

    id: UUID
    kind: IdentityChangeKind
    from_customer: UUID
    into_customer: UUID
    identities: tuple[Identity, ...]
    reason: str
    linked_by: LinkSource | None = None
    """The source; None for changes recorded before links had one."""


class _Evidence(NamedTuple):
    """Why identities belong together: the kind of call that named them, and its source."""

    reason: str
    source: LinkSource


@dataclass(slots=True)
class IdentityDirectory:
    """Who holds which identity, as one transaction sees it, and what the transaction changes.

    `holdings` names the identities of every customer that may be concerned, also of those
    without any. `owners` is its inverse. `links` has the source of each link; an identity that was
    not linked is absent.
    """

    holdings: dict[UUID, set[Identity]]
    new_id: Callable[[], UUID]
    links: dict[Identity, LinkSource] = field(default_factory=dict)
    owners: dict[Identity, UUID] = field(default_factory=dict)
    new_customers: set[UUID] = field(default_factory=set)
    new_owners: dict[Identity, UUID] = field(default_factory=dict)
    """Identities whose owner or link is not on record yet, with their owner."""
    merges: list[IdentityChange] = field(default_factory=list)
    refusals: dict[UUID, IdentityChange] = field(default_factory=dict)
    _merged_into: dict[UUID, UUID] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for customer, identities in self.holdings.items():
            for identity in identities:
                self.owners[identity] = customer

    def survivor(self, customer: UUID) -> UUID:
        while customer in self._merged_into:
            customer = self._merged_into[customer]
        return customer

    def resolve(
        self,
        identities: Sequence[Identity],
        reason: str,
        customer: UUID | None = None,
        source: LinkSource = LinkSource.SERVER,
    ) -> UUID:
        """The customer these identities (strongest first) name, created and merged as needed.

        `customer` is whose they are when that is known already.
        """
        for identity in identities:
            if identity.type in ANONYMOUS_TYPES and identity not in self.owners:
                self._introduce(identity)
        subject = self._customer(customer) if customer else self._subject(identities)
        before = [self.owners.get(identity) for identity in identities]
        evidence = _Evidence(reason, source)
        for identity in identities:
            self._attach(subject, identity, evidence)
        if len(identities) > (0 if customer else 1):
            self._link(subject, zip(identities, before, strict=True), source, customer)
        return self.survivor(subject)

    def alias(self, previous: str, customer: UUID, source: LinkSource = LinkSource.SERVER) -> UUID:
        """Merge the customer known by the id `previous` into `customer`, as an alias call says."""
        for kind in ("user_id", "anonymous_id"):
            identity = Identity(kind, previous)
            if identity in self.owners:
                break
        else:
            self._introduce(identity)
        before = self.owners[identity]
        if before != customer:
            self._merge(before, customer, _Evidence("alias", source))
        self._record_link(customer, identity, before, source)
        return customer

    def is_known(self, customer: UUID) -> bool:
        return any(identity.type in KNOWN_TYPES for identity in self.holdings[customer])

    def _link(
        self,
        subject: UUID,
        before: Iterable[tuple[Identity, UUID | None]],
        source: LinkSource,
        customer: UUID | None,
    ) -> None:
        """Record the source of the subject's links; `before` has the previous owners.

        An identity that changes its owner takes this source. Of those that were the subject's
        before, a proof replaces a source that proved nothing, and nothing else does. A call that
        names the id of a customer names the browser it is derived from, too.
        """
        own = [(identity, owner) for identity, owner in before if self.owners[identity] == subject]
        if len(own) < (1 if customer else 2):
            return
        if customer:
            own += [(identity, subject) for identity in self._browsers_of(customer, subject)]
        for identity, owner in own:
            self._record_link(subject, identity, owner, source)

    def _record_link(
        self, subject: UUID, identity: Identity, before: UUID | None, source: LinkSource
    ) -> None:
        link = self.links.get(identity)
        is_better = link is not source and (
            link is None or (source.is_proved and not link.is_proved)
        )
        if is_better or before != subject:
            self.links[identity] = source
            self.new_owners[identity] = subject

    def _browsers_of(self, customer: UUID, holder: UUID) -> list[Identity]:
        """The anonymous identities of the holder that the customer's id is derived from."""
        return [one for one in self.holdings[holder] if derive_visitor_id(one) == customer]

    def _introduce(self, identity: Identity) -> None:
        """Give an anonymous identity the customer whose id is derived from it."""
        self._give(identity, self._customer(derive_customer_id(*identity)))

    def _customer(self, id: UUID) -> UUID:
        customer = self.survivor(id)
        if customer not in self.holdings:
            self.holdings[customer] = set()
            self.new_customers.add(customer)
        return customer

    def _subject(self, identities: Sequence[Identity]) -> UUID:
        """The owner of the strongest identity that contradicts none; a new customer if none.

        The strongest identity of a call is therefore always held by its customer.
        """
        for rank, identity in enumerate(identities):
            owner = self.owners.get(identity)
            if owner is None:
                continue
            if rank == 0 or (self._is_joined_by(identity) and self._can_be(owner, identities)):
                return owner
        return self._customer(self.new_id())

    def _is_joined_by(self, identity: Identity) -> bool:
        """Whether an identity says that its owner is who else is named. A device goes from hand to
        hand: it says so only while its owner has nothing else.
        """
        return identity.type != "device" or self.holdings[self.owners[identity]] == {identity}

    def _can_be(self, customer: UUID, identities: Sequence[Identity]) -> bool:
        """Whether no singular identity named contradicts those the customer holds."""
        own = self.holdings[customer]
        return not any(
            identity.type in SINGULAR
            and identity not in own
            and any(other.type == identity.type for other in own)
            for identity in identities
        )

    def _attach(self, subject: UUID, identity: Identity, evidence: _Evidence) -> None:
        owner = self.owners.get(identity)
        if owner is None:
            self._give(identity, subject)
        elif owner != subject and not self._is_joined_by(identity):
            return
        elif owner != subject and self.is_known(owner):
            self._refuse(subject, identity, owner, evidence)
        elif owner != subject:
            self._merge(owner, subject, evidence)

    def _give(self, identity: Identity, customer: UUID) -> None:
        self.owners[identity] = self.new_owners[identity] = customer
        self.holdings[customer].add(identity)

    def _merge(self, absorbed: UUID, into: UUID, evidence: _Evidence) -> None:
        identities = tuple(sorted(self.holdings[absorbed]))
        self.merges.append(
            IdentityChange(
                self.new_id(), IdentityChangeKind.MERGED, absorbed, into, identities, *evidence
            )
        )
        for identity in identities:
            self._give(identity, into)
        self.holdings[absorbed] = set()
        self._merged_into[absorbed] = into

    def _refuse(self, subject: UUID, identity: Identity, owner: UUID, evidence: _Evidence) -> None:
        """Record that an identity stays with its owner; the same refusal has the same id."""
        change_id = uuid5(_REFUSALS, f"{subject}:{identity.type}:{identity.value}")
        self.refusals[change_id] = IdentityChange(
            change_id, IdentityChangeKind.REFUSED, owner, subject, (identity,), *evidence
        )
