"""Whose event is this? Identities of a batch resolved in memory, against what is on record.

Every anonymous identity starts as a customer of its own, whose id all services derive alike. It
turns known by being merged into a known customer. Two known customers become one only when
somebody says so (`alias`): an identity that two of them claim stays where it is. Every identity
remembers by whose word it is its customer's.
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
    derived_customer_id,
    is_placeholder,
    normalised,
)
from services.profile.domain.enums import ChangeKind

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


def identity(type: str, value: str) -> Identity | None:
    """The identity, normalised; None if the value names nobody (blank, a placeholder, an e-mail
    without an @).
    """
    if is_placeholder(type, value):
        return None
    value = normalised(type, value)
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


def given_identity(type: str, value: str) -> Identity:
    """The identity a caller names; raises UnknownIdentityType or InvalidIdentity."""
    if type not in TYPES:
        hint = nearest(type, TYPES)
        raise UnknownIdentityType(f"There is no identity type {type[:50]!r}.", hint=hint)
    found = identity(type, value)
    if found is None or len(found.value) > LONGEST_VALUE or "\0" in found.value:
        raise InvalidIdentity(
            f"{value[:50]!r} is no {type}.",
            hint=f"Send text of at most {LONGEST_VALUE} characters that names somebody.",
        )
    return found


def visitor_of(identity: Identity) -> UUID | None:
    """The customer an identity stands for by itself.

    None for one of a person, and for a placeholder, of which there are some of before they counted
    as nobody.
    """
    if identity.type not in ANONYMOUS_TYPES or is_placeholder(*identity):
        return None
    return derived_customer_id(*identity)


def strongest_first(identities: Iterable[Identity]) -> tuple[Identity, ...]:
    """Without repetition, those that name a person most surely first."""
    return tuple(sorted(set(identities), key=lambda i: (STRONGEST_FIRST.index(i.type), i.value)))


@dataclass(frozen=True, slots=True)
class Change:
    """A merge, or an attachment that was refused.

    MERGED: everything of `from_customer` is now `into_customer`'s, `identities` moved.
    REFUSED: `identities` stay with `from_customer`, though `into_customer` claimed them.
    """

    id: UUID
    kind: ChangeKind
    from_customer: UUID
    into_customer: UUID
    identities: tuple[Identity, ...]
    reason: str
    linked_by: LinkSource | None = None
    """By whose word; None for what was noted before that was."""


class _Word(NamedTuple):
    """Why identities belong together: the kind of call that named them, and by whose word."""

    reason: str
    source: LinkSource


@dataclass(slots=True)
class Directory:
    """Who holds which identity, as far as one transaction sees; it notes what it changes.

    `holdings` names the identities of every customer that may be concerned, also of those
    without any. `owners` is its inverse. `links` says by whose word an identity is its owner's,
    unless it is there by itself.
    """

    holdings: dict[UUID, set[Identity]]
    new_id: Callable[[], UUID]
    links: dict[Identity, LinkSource] = field(default_factory=dict)
    owners: dict[Identity, UUID] = field(default_factory=dict)
    created: set[UUID] = field(default_factory=set)
    moved: dict[Identity, UUID] = field(default_factory=dict)
    """Identities whose owner or link is not on record yet, with their owner."""
    merges: list[Change] = field(default_factory=list)
    refusals: dict[UUID, Change] = field(default_factory=dict)
    _merged_into: dict[UUID, UUID] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for customer, identities in self.holdings.items():
            for held in identities:
                self.owners[held] = customer

    def survivor(self, customer: UUID) -> UUID:
        """The customer this one has become."""
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
        """The customer these identities (strongest first) speak of, made and joined as needed.

        `customer` says who is meant when that is known already.
        """
        for given in identities:
            if given.type in ANONYMOUS_TYPES and given not in self.owners:
                self._introduce(given)
        subject = self._customer(customer) if customer else self._subject(identities)
        before = [self.owners.get(given) for given in identities]
        word = _Word(reason, source)
        for given in identities:
            self._join(subject, given, word)
        if len(identities) > (0 if customer else 1):
            self._link(subject, zip(identities, before, strict=True), source, customer)
        return self.survivor(subject)

    def alias(self, previous: str, customer: UUID, source: LinkSource = LinkSource.SERVER) -> UUID:
        """Merge whoever was known by the id `previous` into `customer`, because a call said so."""
        for kind in ("user_id", "anonymous_id"):
            named = Identity(kind, previous)
            if named in self.owners:
                break
        else:
            self._introduce(named)
        before = self.owners[named]
        if before != customer:
            self._merge(before, customer, _Word("alias", source))
        self._note(customer, named, before, source)
        return customer

    def is_known(self, customer: UUID) -> bool:
        """Whether a customer holds an identity of a person."""
        return any(held.type in KNOWN_TYPES for held in self.holdings[customer])

    def _link(
        self,
        subject: UUID,
        before: Iterable[tuple[Identity, UUID | None]],
        source: LinkSource,
        customer: UUID | None,
    ) -> None:
        """Note by whose word identities are the subject's, given whose they were before.

        A word moves what it says of the one who spoke it to the subject; for what was there
        already, proof takes the place of what was not proved, and nothing else does. Who names the
        id of a customer names the browser it is derived of, too.
        """
        joined = [(given, owner) for given, owner in before if self.owners[given] == subject]
        if len(joined) < (1 if customer else 2):
            return
        if customer:
            joined += [(held, subject) for held in self._browsers_of(customer, subject)]
        for given, owner in joined:
            self._note(subject, given, owner, source)

    def _note(
        self, subject: UUID, given: Identity, before: UUID | None, source: LinkSource
    ) -> None:
        link = self.links.get(given)
        is_better = link is not source and (
            link is None or (source.is_proved and not link.is_proved)
        )
        if is_better or before != subject:
            self.links[given] = source
            self.moved[given] = subject

    def _browsers_of(self, customer: UUID, holder: UUID) -> list[Identity]:
        """The anonymous identities among those held that an id is derived of."""
        return [held for held in self.holdings[holder] if visitor_of(held) == customer]

    def _introduce(self, unseen: Identity) -> None:
        """Give an anonymous identity the customer it stands for."""
        customer = self._customer(derived_customer_id(*unseen))
        self._give(unseen, customer)

    def _customer(self, id: UUID) -> UUID:
        customer = self.survivor(id)
        if customer not in self.holdings:
            self.holdings[customer] = set()
            self.created.add(customer)
        return customer

    def _subject(self, identities: Sequence[Identity]) -> UUID:
        """The owner of the strongest identity whose owner can be meant; a new customer if none.

        The strongest identity of a call is therefore always held by its customer.
        """
        for rank, given in enumerate(identities):
            owner = self.owners.get(given)
            if owner is not None and (rank == 0 or self._can_be(owner, identities)):
                return owner
        return self._customer(self.new_id())

    def _can_be(self, customer: UUID, identities: Sequence[Identity]) -> bool:
        """Whether no singular identity given contradicts those the customer holds."""
        held = self.holdings[customer]
        return not any(
            given.type in SINGULAR
            and given not in held
            and any(other.type == given.type for other in held)
            for given in identities
        )

    def _join(self, subject: UUID, given: Identity, word: _Word) -> None:
        owner = self.owners.get(given)
        if owner is None:
            self._give(given, subject)
        elif owner != subject and given.type == "device":
            # A device goes from hand to hand: it joins only while it is all we know of somebody.
            if self.holdings[owner] == {given}:
                self._merge(owner, subject, word)
        elif owner != subject and self.is_known(owner):
            self._refuse(subject, given, owner, word)
        elif owner != subject:
            self._merge(owner, subject, word)

    def _give(self, given: Identity, customer: UUID) -> None:
        self.owners[given] = self.moved[given] = customer
        self.holdings[customer].add(given)

    def _merge(self, absorbed: UUID, into: UUID, word: _Word) -> None:
        identities = tuple(sorted(self.holdings[absorbed]))
        self.merges.append(
            Change(self.new_id(), ChangeKind.MERGED, absorbed, into, identities, *word)
        )
        for held in identities:
            self._give(held, into)
        self.holdings[absorbed] = set()
        self._merged_into[absorbed] = into

    def _refuse(self, subject: UUID, given: Identity, owner: UUID, word: _Word) -> None:
        """Note that an identity stays with its owner; the same refusal is noted once, ever."""
        known_by = uuid5(_REFUSALS, f"{subject}:{given.type}:{given.value}")
        self.refusals[known_by] = Change(
            known_by, ChangeKind.REFUSED, owner, subject, (given,), *word
        )
