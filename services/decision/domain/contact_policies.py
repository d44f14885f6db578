"""Contact policies: how often, how soon after a reaction, and when a customer may be spoken to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.contracts.words import Channel
from services.decision.domain.catalogue import (
    Action,
    Cap,
    Catalogue,
    QuietHours,
    Scope,
    Suppression,
    Unit,
)
from services.decision.domain.trace import Failed
from services.rules.definition_values import format_period

Units = NDArray[np.intp]
OUT_OF_SCOPE = -1
ONCE = 1


class Contact(NamedTuple):
    """An outcome of a customer, as far as contact policies look at it."""

    action: str
    channel: str
    kind: str
    at_s: float
    """Seconds since 1970."""
    first: bool
    """The first outcome of its proposition: by it the customer was spoken to."""


@dataclass(frozen=True)
class Limit:
    """A cap or a suppression: so many contacts of some sort in a period close a unit."""

    key: str
    told: str
    """What the policy asks, for the trace."""
    kinds: frozenset[str]
    """The outcomes that count; empty: presentations."""
    channel: str | None
    within_s: float
    allowed: int
    unit_of: Units
    """Which unit each action of the catalogue counts for, OUT_OF_SCOPE where it does not."""

    def counts(self, contact: Contact) -> bool:
        """Whether a contact is of the sort this looks at, whenever it was."""
        if self.channel is not None and contact.channel != self.channel:
            return False
        return contact.kind in self.kinds if self.kinds else contact.first


class Silence(NamedTuple):
    """Quiet hours, laid along the actions of the catalogue."""

    policy: QuietHours
    silenced: NDArray[np.bool_]

    def seen(self, channel: Channel, now: datetime) -> str | None:
        """The local time if it is quiet on the channel now, else None."""
        local = now.astimezone(self.policy.time_zone)
        if channel not in self.policy.channels or not within(
            local.time(), self.policy.start, self.policy.end
        ):
            return None
        return local.strftime("%H:%M")


def within(moment: time, start: time, end: time) -> bool:
    """Whether a time of day lies in `[start, end)`, which may pass midnight. Equal: all day."""
    if start < end:
        return start <= moment < end
    return moment >= start or moment < end


def limits(catalogue: Catalogue) -> tuple[Limit, ...]:
    """The caps and suppressions of a catalogue, laid along its actions."""
    policies = catalogue.contact_policies
    return (
        *(_cap(policy, catalogue.actions) for policy in policies.caps),
        *(_suppression(policy, catalogue.actions) for policy in policies.suppressions),
    )


def silences(catalogue: Catalogue) -> tuple[Silence, ...]:
    """The quiet hours of a catalogue, laid along its actions."""
    return tuple(
        Silence(policy, np.array([policy.only.holds(a) for a in catalogue.actions], bool))
        for policy in catalogue.contact_policies.quiet_hours
    )


def memory(all_limits: Iterable[Limit]) -> timedelta:
    """How far back any of the limits looks."""
    return timedelta(seconds=max((limit.within_s for limit in all_limits), default=0.0))


def kinds_of_interest(all_limits: Iterable[Limit]) -> list[str]:
    """The outcomes that count for a suppression, whether or not they were the first."""
    return sorted(frozenset[str]().union(*(limit.kinds for limit in all_limits)))


def _cap(policy: Cap, actions: Sequence[Action]) -> Limit:
    where = f" on {policy.channel}" if policy.channel else ""
    return Limit(
        key=policy.key,
        told=f"{policy.key}: fewer than {policy.at_most} presented per {policy.per}{where}"
        f" in {format_period(policy.within)}",
        kinds=frozenset(),
        channel=policy.channel,
        within_s=policy.within.total_seconds(),
        allowed=policy.at_most,
        unit_of=_units(policy.per, policy.only, actions),
    )


def _suppression(policy: Suppression, actions: Sequence[Action]) -> Limit:
    where = f" on {policy.channel}" if policy.channel else ""
    return Limit(
        key=policy.key,
        told=f"{policy.key}: {format_period(policy.period)} without {' or '.join(policy.after)}"
        f" per {policy.per}{where}",
        kinds=frozenset(policy.after),
        channel=policy.channel,
        within_s=policy.period.total_seconds(),
        allowed=ONCE,
        unit_of=_units(policy.per, policy.only, actions),
    )


def _units(per: Unit, only: Scope, actions: Sequence[Action]) -> Units:
    """Number the actions, groups or issues in scope."""
    numbers: dict[str, int] = {}
    units = np.full(len(actions), OUT_OF_SCOPE, np.intp)
    for position, action in enumerate(actions):
        if only.holds(action):
            units[position] = numbers.setdefault(_unit_name(per, action), len(numbers))
    return units


def _unit_name(per: Unit, action: Action) -> str:
    match per:
        case Unit.ACTION:
            return action.key
        case Unit.GROUP:
            return action.group
        case Unit.ISSUE:
            return action.issue
        case Unit.ALL:
            return ""


def used(
    limit: Limit, contacts: Sequence[Contact], position_of: Mapping[str, int], now: datetime
) -> dict[int, list[float]]:
    """The moments that count against each unit of a limit, in the period up to `now`.

    An action that is no longer in the catalogue counts for nothing: its unit is not known.
    """
    since = now.timestamp() - limit.within_s
    moments: dict[int, list[float]] = {}
    for contact in contacts:
        if contact.at_s > since and limit.counts(contact):
            position = position_of.get(contact.action)
            unit = OUT_OF_SCOPE if position is None else int(limit.unit_of[position])
            if unit != OUT_OF_SCOPE:
                moments.setdefault(unit, []).append(contact.at_s)
    return moments


class Closed(NamedTuple):
    """Actions a contact policy closes: which, and why."""

    actions: NDArray[np.bool_]
    failed: dict[int, list[Failed]]
    """By position of the action."""


def closed(
    contacts: Sequence[Contact],
    all_limits: Sequence[Limit],
    all_silences: Sequence[Silence],
    position_of: Mapping[str, int],
    channel: Channel,
    now: datetime,
) -> Closed:
    """What the contact policies close for this customer, on this channel, at this moment."""
    result = Closed(np.zeros(len(position_of), bool), {})
    for limit in all_limits if contacts else ():
        if limit.channel in (None, channel):
            for unit, moments in used(limit, contacts, position_of, now).items():
                if len(moments) >= limit.allowed:
                    _close(result, limit.unit_of == unit, Failed(limit.told, _seen(limit, moments)))
    for silence in all_silences:
        if (local := silence.seen(channel, now)) is not None:
            policy = silence.policy
            told = f"{policy.key}: not from {policy.start:%H:%M} until {policy.end:%H:%M}"
            _close(result, silence.silenced, Failed(f"{told} {policy.time_zone.key}", local))
    return result


def _close(result: Closed, actions: NDArray[np.bool_], failed: Failed) -> None:
    np.logical_or(result.actions, actions, out=result.actions)
    for position in np.flatnonzero(actions):
        result.failed.setdefault(int(position), []).append(failed)


def _seen(limit: Limit, moments: list[float]) -> int | str:
    """How many presentations there were, or when the last reaction was."""
    if not limit.kinds:
        return len(moments)
    return datetime.fromtimestamp(max(moments), UTC).isoformat(timespec="seconds")
