"""A customer in memory: what is known of him, and how one more call changes it."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from services.contracts.base import DEEPEST_SHOWN, Json, shallow
from services.contracts.enums import TRUSTED_SENDERS, SenderClass
from services.contracts.profile import CustomerChanged
from services.contracts.profile import Identity as IdentitySent
from services.profile.domain.calls import Call, TooManyPurposes, TooManyTraits, TraitsTooLarge
from services.profile.domain.enums import DECIDED, ConsentStatus
from services.profile.domain.identities import Identity


class Trait(NamedTuple):
    """The latest value of a trait by one identity and class. `value` None: it was taken back."""

    value: Json
    kind: str
    context: str
    source: str
    lawful_basis: str
    observed_at: datetime


class Consent(NamedTuple):
    """The latest word on a purpose by one identity and class of sender."""

    status: str
    lawful_basis: str
    source: str
    changed_at: datetime


class Filed(NamedTuple):
    """A trait's name or a consent's purpose, the identity it came by, and who sent it."""

    name: str
    came_by: Identity
    sender: SenderClass


class Room(NamedTuple):
    """How much may be known of one customer. Bytes are those of the values and names as JSON."""

    traits: int = 500
    value_bytes: int = 16 * 1024
    """Of one trait."""
    traits_bytes: int = 64 * 1024
    """Of all traits together."""
    purposes: int = 200


DEFAULT_ROOM = Room()

WITHDRAWN = ConsentStatus.DENIED
"""What counts whoever says it."""

_NO_LESS = {
    one: frozenset(other for other in SenderClass if other.trust >= one.trust)
    for one in SenderClass
}
"""Of each class of sender all that are believed no less."""


@dataclass(slots=True)
class Customer:
    """One customer while a transaction works on him.

    `rules_version` is the rulebook his `series` and `segments` were computed with; 0 for none.
    `new_traits`, `old_traits` (which are to go), `new_consents`, `joined` and `left` (segments)
    name what is still to be written;
    `changed` says whether his snapshot is another one now.
    """

    id: UUID
    version: int = 0
    rules_version: int = 0
    series: dict[str, Any] = field(default_factory=dict)
    reevaluate_at: datetime | None = None
    merged_into: UUID | None = None
    identities: set[Identity] = field(default_factory=set)
    traits: dict[Filed, Trait] = field(default_factory=dict)
    consents: dict[Filed, Consent] = field(default_factory=dict)
    segments: dict[str, datetime] = field(default_factory=dict)
    new_traits: set[Filed] = field(default_factory=set)
    old_traits: set[Filed] = field(default_factory=set)
    new_consents: set[Filed] = field(default_factory=set)
    joined: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)
    changed: bool = False

    def learn(self, call: Call, room: Room = DEFAULT_ROOM) -> None:
        """Take over the traits and consents of a call, unless something later is known.

        Raises TooManyTraits, TraitsTooLarge or TooManyPurposes, and takes over nothing, when there
        is no room for what it adds; there always is for what takes a trait back or words anew.
        """
        if call.traits:
            self._check_traits(call, room)
        if call.consents:
            self._check_purposes(call, room)
        for name, value in call.traits.items():
            filed = Filed(name, call.came_by, call.sender)
            self._set_trait(filed, Trait(value, *call.provenance, call.occurred_at))
        for purpose, word in call.consents.items():
            consent = Consent(word.status, word.lawful_basis, word.source, call.occurred_at)
            self._set_consent(Filed(purpose, call.came_by, call.sender), consent)
        if len(self.traits) > 2 * room.traits:
            self._forget_taken_back(room)

    def _check_traits(self, call: Call, room: Room) -> None:
        """What less believed senders have said leaves as much room for others as if they had not.

        What a higher class's word hides counts as long as it may come to light again.
        """
        for name, value in call.traits.items():
            if (size := _bytes(name, value)) > room.value_bytes:
                raise TraitsTooLarge(
                    f"The trait {name[:60]!r} has {size} bytes as JSON, over the limit of"
                    f" {room.value_bytes}.",
                    hint="Keep large things in a store of your own, and their address here.",
                )
        words = self._words(_NO_LESS[call.sender])
        before = {name: _weight(name, told) for name, told in words.items()}
        after = dict(before)
        for name, value in call.traits.items():
            told, trait = words.get(name, {}), Trait(value, *call.provenance, call.occurred_at)
            if call.sender not in told or told[call.sender].observed_at <= trait.observed_at:
                after[name] = _weight(name, {**told, call.sender: trait})
        number, was = (sum(map(bool, taken.values())) for taken in (after, before))
        if number > max(room.traits, was):
            raise TooManyTraits(
                f"The customer would have {number} traits, over the limit of {room.traits}.",
                hint="Take back those you do not need (null), or send them as an event's"
                " properties.",
            )
        size = sum(after.values())
        if size > max(room.traits_bytes, sum(before.values())):
            raise TraitsTooLarge(
                f"The customer's traits would have {size} bytes as JSON, over the limit of"
                f" {room.traits_bytes}.",
                hint="Take back those you do not need (null), or send them as an event's"
                " properties.",
            )

    def _words(self, classes: Set[SenderClass]) -> dict[str, dict[SenderClass, Trait]]:
        """Of each trait the latest by every one of these classes of sender."""
        words: dict[str, dict[SenderClass, Trait]] = {}
        for (name, _, sender), trait in self.traits.items():
            if sender in classes:
                told = words.setdefault(name, {})
                if sender not in told or told[sender].observed_at <= trait.observed_at:
                    told[sender] = trait
        return words

    def _check_purposes(self, call: Call, room: Room) -> None:
        held = {one.name for one in self.consents if one.sender in _NO_LESS[call.sender]}
        number = len(held | call.consents.keys())
        if number > max(room.purposes, len(held)):
            raise TooManyPurposes(
                f"The customer would have words on {number} purposes, over the limit of"
                f" {room.purposes}.",
                hint="Send consents only for purposes that conditions ask for.",
            )

    def _forget_taken_back(self, room: Room) -> None:
        """Forget traits that were taken back, the longest ago first, until there is room again.

        All that was said of such a trait goes: of a part, something older would count again.
        """
        current, empty = self.current_traits(), dict[str, list[Filed]]()
        for filed in self.traits:
            if filed.name not in current:
                empty.setdefault(filed.name, []).append(filed)
        latest = {n: max(self.traits[one].observed_at for one in them) for n, them in empty.items()}
        for name in sorted(empty, key=lambda name: (latest[name], name)):
            if len(self.traits) <= 2 * room.traits:
                break
            for filed in empty[name]:
                del self.traits[filed]
            self.new_traits.difference_update(empty[name])
            self.old_traits.update(empty[name])

    def _set_trait(self, filed: Filed, trait: Trait) -> None:
        held = self.traits.get(filed)
        if held is None or held.observed_at <= trait.observed_at:
            self.traits[filed] = trait
            self.new_traits.add(filed)
            self.old_traits.discard(filed)
            self.changed = True

    def _set_consent(self, filed: Filed, consent: Consent) -> None:
        """Repeating a word changes nothing: `changed_at` stays when it was first given."""
        held = self.consents.get(filed)
        if held is None or (held.changed_at <= consent.changed_at and held[:3] != consent[:3]):
            self.consents[filed] = consent
            self.new_consents.add(filed)
            self.changed = True

    def current_traits(self) -> dict[str, tuple[Trait, SenderClass]]:
        """The value of every trait that counts, whatever identity it came by, and who sent it.

        Of each class of sender that is the latest, of the classes it is the highest's: a lower one
        counts where the higher have said nothing, or have taken back what they said before that.
        """
        latest: dict[str, tuple[Trait, SenderClass]] = {}
        disputed: dict[str, dict[SenderClass, Trait]] = {}
        for (name, _, sender), trait in self.traits.items():
            found = latest.get(name)
            if found is None or (found[1] is sender and found[0].observed_at <= trait.observed_at):
                latest[name] = (trait, sender)
            elif found[1] is not sender:
                words = disputed.setdefault(name, {})
                if sender not in words or words[sender].observed_at <= trait.observed_at:
                    words[sender] = trait
        for name, words in disputed.items():
            trait, sender = latest[name]
            latest[name] = _counting(words | {sender: trait})
        return {name: found for name, found in latest.items() if found[0].value is not None}

    def trait_values(self) -> dict[str, Json]:
        """What conditions see of the traits."""
        return {name: trait.value for name, (trait, _) in self.current_traits().items()}

    def current_consents(self) -> dict[str, tuple[Consent, SenderClass]]:
        """The word on every purpose that counts, whatever identity it came by, and who sent it.

        That is the latest, except that a write key, which everybody can read, only withdraws what
        others have said: it gives where nobody else has said anything.
        """
        proved: dict[str, tuple[Consent, SenderClass]] = {}
        unproved: dict[str, tuple[Consent, SenderClass]] = {}
        for (purpose, _, sender), consent in self.consents.items():
            latest = unproved if sender is SenderClass.WRITE_KEY else proved
            if purpose not in latest or latest[purpose][0].changed_at <= consent.changed_at:
                latest[purpose] = (consent, sender)
        for purpose, (consent, sender) in unproved.items():
            other = proved.get(purpose)
            withdrawn = consent.status == WITHDRAWN
            if other is None or (withdrawn and other[0].changed_at <= consent.changed_at):
                proved[purpose] = (consent, sender)
        return proved

    def decided_consents(self) -> dict[str, bool]:
        """What conditions see of the consents: purposes undecided are absent."""
        words = ((p, ConsentStatus(c.status)) for p, (c, _) in self.current_consents().items())
        return {purpose: DECIDED[status] for purpose, status in words if status in DECIDED}

    def move_to(self, segments: set[str], now: datetime) -> None:
        """Be in exactly these segments from now on."""
        self.joined, self.left = segments - self.segments.keys(), self.segments.keys() - segments
        self.segments = {key: self.segments.get(key, now) for key in segments}
        self.changed |= bool(self.joined or self.left)

    def absorb_into(self, survivor: UUID) -> None:
        """Leave nothing but the name of the customer he has become."""
        self.version += 1
        self.merged_into, self.reevaluate_at = survivor, None
        self.identities, self.traits, self.consents = set(), {}, {}
        self.segments, self.series = {}, {}
        self.changed = True

    def snapshot(
        self, event_id: UUID, now: datetime, answers: Mapping[str, int]
    ) -> CustomerChanged:
        """All of him, as the other services keep it; `answers` is of the rulebook he is of."""
        current = self.current_traits()
        return CustomerChanged.model_construct(
            event_id=event_id,
            customer_id=self.id,
            occurred_at=now,
            version=self.version,
            identities=tuple(sent(identity) for identity in sorted(self.identities)),
            traits={n: shallow(trait.value, DEEPEST_SHOWN) for n, (trait, _) in current.items()},
            consents=self.decided_consents(),
            segments=tuple(sorted(self.segments)),
            series=self.series,
            series_versions=dict(answers),
            unproved_traits=tuple(
                [n for n, (_, by) in current.items() if by not in TRUSTED_SENDERS]
            ),
        )


def _counting(words: Mapping[SenderClass, Trait]) -> tuple[Trait, SenderClass]:
    """Of the latest values by each class of sender the one that counts."""
    highest_first = sorted(words, key=lambda sender: -sender.trust)
    found = words[highest_first[0]], highest_first[0]
    for sender in highest_first[1:]:
        if found[0].value is not None:
            break
        if words[sender].observed_at > found[0].observed_at:
            found = words[sender], sender
    return found


def sent(identity: Identity) -> IdentitySent:
    """An identity as it travels in events."""
    return IdentitySent.model_construct(type=identity.type, value=identity.value)


def _weight(name: str, words: Mapping[SenderClass, Trait]) -> int:
    """The bytes a trait takes, given the latest by each class of sender: the most it may have.

    A higher class's word that is as late hides one for ever, be it taken back.
    """
    most, latest = 0, None
    highest_first = sorted(words, key=lambda sender: -sender.trust) if len(words) > 1 else words
    for sender in highest_first:
        trait = words[sender]
        if latest is None or trait.observed_at > latest:
            latest = trait.observed_at
            if trait.value is not None:
                most = max(most, _bytes(name, trait.value))
    return most


def _bytes(name: str, value: Json) -> int:
    return len(name.encode()) + len(orjson.dumps(value))
