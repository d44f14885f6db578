"""A customer in memory: what is known of them, and how one more call changes it."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from services.contracts.base import DEEPEST_OUTPUT, Json, cut_depth
from services.contracts.enums import TRUSTED_SENDERS, SenderClass
from services.contracts.profile import CustomerChanged, IdentityPayload
from services.profile.domain.calls import Call, TooManyPurposes, TooManyTraits, TraitsTooLarge
from services.profile.domain.enums import CONSENT_VALUES, ConsentStatus
from services.profile.domain.identities import Identity


class Trait(NamedTuple):
    """The latest value of a trait by one identity and class. `value` None: it was removed."""

    value: Json
    kind: str
    context: str
    source: str
    lawful_basis: str
    observed_at: datetime


class Consent(NamedTuple):
    """The latest choice on a purpose by one identity and class of sender."""

    status: str
    lawful_basis: str
    source: str
    changed_at: datetime


class ObservationKey(NamedTuple):
    """A trait's name or a consent's purpose, the identity it came by, and who sent it."""

    name: str
    identity: Identity
    sender: SenderClass


class CustomerLimits(NamedTuple):
    """How much may be stored of one customer. Bytes are those of names and values as JSON."""

    traits: int = 500
    value_bytes: int = 16 * 1024
    """Of one trait."""
    traits_bytes: int = 64 * 1024
    """Of all traits together."""
    purposes: int = 200


DEFAULT_LIMITS = CustomerLimits()

WITHDRAWN = ConsentStatus.DENIED
"""The status that counts from every sender."""

_AT_LEAST = {
    one: frozenset(other for other in SenderClass if other.trust >= one.trust)
    for one in SenderClass
}
"""For each class of sender all classes that are believed at least as much."""


@dataclass(slots=True)
class Customer:
    """One customer while a transaction works on them.

    `rules_version` is the version of the segment definitions that their `series` and `segments`
    were computed with; 0 for none. `new_traits`, `old_traits` (to be deleted), `new_consents`,
    `new_segments` and `old_segments` name what is still to be written; `is_changed` says whether
    their snapshot differs from the last one published.
    """

    id: UUID
    version: int = 0
    rules_version: int = 0
    series: dict[str, Any] = field(default_factory=dict)
    reevaluate_at: datetime | None = None
    merged_into: UUID | None = None
    identities: set[Identity] = field(default_factory=set)
    traits: dict[ObservationKey, Trait] = field(default_factory=dict)
    consents: dict[ObservationKey, Consent] = field(default_factory=dict)
    segments: dict[str, datetime] = field(default_factory=dict)
    new_traits: set[ObservationKey] = field(default_factory=set)
    old_traits: set[ObservationKey] = field(default_factory=set)
    new_consents: set[ObservationKey] = field(default_factory=set)
    new_segments: set[str] = field(default_factory=set)
    old_segments: set[str] = field(default_factory=set)
    is_changed: bool = False

    def learn(self, call: Call, limits: CustomerLimits = DEFAULT_LIMITS) -> None:
        """Take over the traits and consents of a call, unless something later is known.

        Raises TooManyTraits, TraitsTooLarge or TooManyPurposes, and takes over nothing, when what
        it adds is over a limit. Removing a trait, or choosing again on a purpose, always fits.
        """
        if call.traits:
            self._check_traits(call, limits)
        if call.consents:
            self._check_purposes(call, limits)
        for name, value in call.traits.items():
            key = ObservationKey(name, call.primary_identity, call.sender)
            self._set_trait(key, Trait(value, *call.provenance, call.occurred_at))
        for purpose, choice in call.consents.items():
            consent = Consent(choice.status, choice.lawful_basis, choice.source, call.occurred_at)
            self._set_consent(ObservationKey(purpose, call.primary_identity, call.sender), consent)
        if len(self.traits) > 2 * limits.traits:
            self._forget_removed_traits(limits)

    def _check_traits(self, call: Call, limits: CustomerLimits) -> None:
        """Refuse a call whose traits are over a limit.

        Values of less believed senders take no room from more believed ones. A value that a higher
        class's hides counts as long as it may become the current one again.
        """
        for name, value in call.traits.items():
            if (size := _bytes(name, value)) > limits.value_bytes:
                raise TraitsTooLarge(
                    f"The trait {name[:60]!r} has {size} bytes as JSON, over the limit of"
                    f" {limits.value_bytes}.",
                    hint="Keep large things in a store of your own, and their address here.",
                )
        latest = self._latest_traits(_AT_LEAST[call.sender])
        before = {name: _weight(name, by_class) for name, by_class in latest.items()}
        after = dict(before)
        for name, value in call.traits.items():
            by_class, trait = latest.get(name, {}), Trait(value, *call.provenance, call.occurred_at)
            if _is_latest(by_class.get(call.sender), trait):
                after[name] = _weight(name, {**by_class, call.sender: trait})
        number, previous = (sum(map(bool, weights.values())) for weights in (after, before))
        if number > max(limits.traits, previous):
            raise TooManyTraits(
                f"The customer would have {number} traits, over the limit of {limits.traits}.",
                hint="Remove those you do not need (null), or send them as an event's properties.",
            )
        size = sum(after.values())
        if size > max(limits.traits_bytes, sum(before.values())):
            raise TraitsTooLarge(
                f"The customer's traits would have {size} bytes as JSON, over the limit of"
                f" {limits.traits_bytes}.",
                hint="Remove those you do not need (null), or send them as an event's properties.",
            )

    def _latest_traits(self, classes: Set[SenderClass]) -> dict[str, dict[SenderClass, Trait]]:
        """Of each trait the latest by every one of these classes of sender."""
        latest: dict[str, dict[SenderClass, Trait]] = {}
        for (name, _, sender), trait in self.traits.items():
            if sender in classes:
                by_class = latest.setdefault(name, {})
                if _is_latest(by_class.get(sender), trait):
                    by_class[sender] = trait
        return latest

    def _check_purposes(self, call: Call, limits: CustomerLimits) -> None:
        current = {key.name for key in self.consents if key.sender in _AT_LEAST[call.sender]}
        number = len(current | call.consents.keys())
        if number > max(limits.purposes, len(current)):
            raise TooManyPurposes(
                f"The customer would have consents for {number} purposes, over the limit of"
                f" {limits.purposes}.",
                hint="Send consents only for purposes that conditions ask for.",
            )

    def _forget_removed_traits(self, limits: CustomerLimits) -> None:
        """Forget traits that were removed, the longest ago first, until few enough are left.

        All values of such a trait go: without only some, an older one would be current again.
        """
        current, removed = self.current_traits(), dict[str, list[ObservationKey]]()
        for key in self.traits:
            if key.name not in current:
                removed.setdefault(key.name, []).append(key)
        latest = {
            name: max(self.traits[key].observed_at for key in keys)
            for name, keys in removed.items()
        }
        for name in sorted(removed, key=lambda name: (latest[name], name)):
            if len(self.traits) <= 2 * limits.traits:
                break
            for key in removed[name]:
                del self.traits[key]
            self.new_traits.difference_update(removed[name])
            self.old_traits.update(removed[name])

    def _set_trait(self, key: ObservationKey, trait: Trait) -> None:
        if _is_latest(self.traits.get(key), trait):
            self.traits[key] = trait
            self.new_traits.add(key)
            self.old_traits.discard(key)
            self.is_changed = True

    def _set_consent(self, key: ObservationKey, consent: Consent) -> None:
        """Repeating a choice changes nothing: `changed_at` stays when it was first made."""
        old = self.consents.get(key)
        if old is None or (old.changed_at <= consent.changed_at and old[:3] != consent[:3]):
            self.consents[key] = consent
            self.new_consents.add(key)
            self.is_changed = True

    def current_traits(self) -> dict[str, tuple[Trait, SenderClass]]:
        """The current value of every trait, whatever identity it came by, and who sent it.

        Of each class of sender the latest counts, of the classes the highest's: a lower one counts
        where the higher have said nothing, or have removed their value before.
        """
        latest: dict[str, tuple[Trait, SenderClass]] = {}
        disputed: dict[str, dict[SenderClass, Trait]] = {}
        for (name, _, sender), trait in self.traits.items():
            other = latest.get(name)
            if other is None or (other[1] is sender and other[0].observed_at <= trait.observed_at):
                latest[name] = (trait, sender)
            elif other[1] is not sender:
                by_class = disputed.setdefault(name, {})
                if sender not in by_class or by_class[sender].observed_at <= trait.observed_at:
                    by_class[sender] = trait
        for name, by_class in disputed.items():
            trait, sender = latest[name]
            latest[name] = _choose_current(by_class | {sender: trait})
        return {name: pair for name, pair in latest.items() if pair[0].value is not None}

    def trait_values(self) -> dict[str, Json]:
        """The traits as conditions see them."""
        return {name: trait.value for name, (trait, _) in self.current_traits().items()}

    def current_consents(self) -> dict[str, tuple[Consent, SenderClass]]:
        """The current choice on every purpose, whatever identity it came by, and who sent it.

        That is the latest, except that a write key, which everybody can read, only withdraws what
        others have sent: it gives consent where nobody else has sent a choice.
        """
        proved: dict[str, tuple[Consent, SenderClass]] = {}
        unproved: dict[str, tuple[Consent, SenderClass]] = {}
        for (purpose, _, sender), consent in self.consents.items():
            latest = unproved if sender is SenderClass.WRITE_KEY else proved
            if purpose not in latest or latest[purpose][0].changed_at <= consent.changed_at:
                latest[purpose] = (consent, sender)
        for purpose, (consent, sender) in unproved.items():
            other = proved.get(purpose)
            is_withdrawn = consent.status == WITHDRAWN
            if other is None or (is_withdrawn and other[0].changed_at <= consent.changed_at):
                proved[purpose] = (consent, sender)
        return proved

    def consent_values(self) -> dict[str, bool]:
        """The consents as conditions see them: purposes without a yes or no are absent."""
        values = (
            (p, CONSENT_VALUES.get(c.status)) for p, (c, _) in self.current_consents().items()
        )
        return {purpose: value for purpose, value in values if value is not None}

    def set_segments(self, segments: set[str], now: datetime) -> None:
        """Be in exactly these segments from now on."""
        self.new_segments = segments - self.segments.keys()
        self.old_segments = self.segments.keys() - segments
        self.segments = {key: self.segments.get(key, now) for key in segments}
        self.is_changed |= bool(self.new_segments or self.old_segments)

    def merge_into(self, survivor: UUID) -> None:
        """Leave nothing but the id of the customer this one has become."""
        self.version += 1
        self.merged_into, self.reevaluate_at = survivor, None
        self.identities, self.traits, self.consents = set(), {}, {}
        self.segments, self.series = {}, {}
        self.is_changed = True

    def snapshot(
        self, event_id: UUID, now: datetime, answers: Mapping[str, int]
    ) -> CustomerChanged:
        """The whole customer, for the other services; `answers` are those of their definitions."""
        current = self.current_traits()
        return CustomerChanged.model_construct(
            event_id=event_id,
            customer_id=self.id,
            occurred_at=now,
            version=self.version,
            identities=tuple(to_payload(identity) for identity in sorted(self.identities)),
            traits={n: cut_depth(trait.value, DEEPEST_OUTPUT) for n, (trait, _) in current.items()},
            consents=self.consent_values(),
            segments=tuple(sorted(self.segments)),
            series=self.series,
            series_versions=dict(answers),
            unproved_traits=tuple(
                [n for n, (_, by) in current.items() if by not in TRUSTED_SENDERS]
            ),
        )


def _distrust(sender: SenderClass) -> int:
    return -sender.trust


def _choose_current(by_class: Mapping[SenderClass, Trait]) -> tuple[Trait, SenderClass]:
    """Of the latest values by each class of sender the current one."""
    highest, *lower = sorted(by_class, key=_distrust)
    current, current_sender = by_class[highest], highest
    for sender in lower:
        if current.value is not None:
            break
        if by_class[sender].observed_at > current.observed_at:
            current, current_sender = by_class[sender], sender
    return current, current_sender


def _is_latest(other: Trait | None, trait: Trait) -> bool:
    return other is None or other.observed_at <= trait.observed_at


def to_payload(identity: Identity) -> IdentityPayload:
    return IdentityPayload.model_construct(type=identity.type, value=identity.value)


def _weight(name: str, by_class: Mapping[SenderClass, Trait]) -> int:
    """The bytes a trait may take at most, given the latest value by each class of sender.

    A higher class's value that is as late hides a lower one for ever, even once it is removed.
    """
    most, latest = 0, None
    highest_first = sorted(by_class, key=_distrust) if len(by_class) > 1 else by_class
    for sender in highest_first:
        trait = by_class[sender]
        if latest is None or trait.observed_at > latest:
            latest = trait.observed_at
            if trait.value is not None:
                most = max(most, _bytes(name, trait.value))
    return most


def _bytes(name: str, value: Json) -> int:
    return len(name.encode()) + len(orjson.dumps(value))
