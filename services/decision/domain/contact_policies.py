"""Contact policies: how often, how soon after a reaction, and when a customer may be spoken to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import NamedTuple

import numpy as np

from services.contracts.enums import Channel
from services.decision.domain.arrays import Bools, Positions
from services.decision.domain.catalogue import (
    Action,
    Cap,
    Catalogue,
    QuietHours,
    Scope,
    Suppression,
    Unit,
)
from services.decision.domain.trace import FailedCondition
from services.rules.definition_fields import format_period

OUT_OF_SCOPE = -1


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
class ContactLimit:
    """A cap or a suppression: so many contacts of a sort in a period refuse a unit."""

    key: str
    description: str
    """What the policy demands, for the trace."""
    kinds: frozenset[str]
    """The outcomes that count; empty: presentations."""
    channel: str | None
    within_s: float
    allowed: int
    unit_of: Positions
    """Which unit each action of the catalogue counts for, OUT_OF_SCOPE where it does not."""

    def has_contact(self, contact: Contact) -> bool:
        if self.channel is not None and contact.channel != self.channel:
            return False
        return contact.kind in self.kinds if self.kinds else contact.first


class CompiledQuietHours(NamedTuple):
    """Quiet hours, and which actions of the catalogue they silence."""

    policy: QuietHours
    actions: Bools

    def find_quiet_time(self, channel: Channel, now: datetime) -> str | None:
        """The local time if it is quiet on the channel now, else None."""
        local = now.astimezone(self.policy.time_zone)
        if channel not in self.policy.channels or not is_within(
            local.time(), self.policy.start, self.policy.end
        ):
            return None
        return local.strftime("%H:%M")


def is_within(moment: time, start: time, end: time) -> bool:
    """Whether a time of day lies in `[start, end)`, which may pass midnight. Equal: all day."""
    if start < end:
        return start <= moment < end
    return moment >= start or moment < end


def compile_limits(catalogue: Catalogue) -> tuple[ContactLimit, ...]:
    policies = catalogue.contact_policies
    return (
        *(_compile_cap(policy, catalogue.actions) for policy in policies.caps),
        *(_compile_suppression(policy, catalogue.actions) for policy in policies.suppressions),
    )


def compile_quiet_hours(catalogue: Catalogue) -> tuple[CompiledQuietHours, ...]:
    return tuple(
        CompiledQuietHours(
            policy, np.array([policy.only.has_action(a) for a in catalogue.actions], bool)
        )
        for policy in catalogue.contact_policies.quiet_hours
    )


def find_longest_window(limits: Iterable[ContactLimit]) -> timedelta:
    return timedelta(seconds=max((limit.within_s for limit in limits), default=0.0))


def find_reaction_kinds(limits: Iterable[ContactLimit]) -> list[str]:
    """The outcomes that suppressions follow: they count whether or not they were the first."""
    return sorted(frozenset[str]().union(*(limit.kinds for limit in limits)))


def _compile_cap(policy: Cap, actions: Sequence[Action]) -> ContactLimit:
    where = f" on {policy.channel}" if policy.channel else ""
    return ContactLimit(
        key=policy.key,
        description=f"{policy.key}: fewer than {policy.at_most} presented per {policy.per}{where}"
        f" in {format_period(policy.within)}",
        kinds=frozenset(),
        channel=policy.channel,
        within_s=policy.within.total_seconds(),
        allowed=policy.at_most,
        unit_of=_number_units(policy.per, policy.only, actions),
    )


def _compile_suppression(policy: Suppression, actions: Sequence[Action]) -> ContactLimit:
    where = f" on {policy.channel}" if policy.channel else ""
    return ContactLimit(
        key=policy.key,
        description=f"{policy.key}: {format_period(policy.period)} without"
        f" {' or '.join(policy.after)} per {policy.per}{where}",
        kinds=frozenset(policy.after),
        channel=policy.channel,
        within_s=policy.period.total_seconds(),
        allowed=1,
        unit_of=_number_units(policy.per, policy.only, actions),
    )


def _number_units(per: Unit, only: Scope, actions: Sequence[Action]) -> Positions:
    numbers: dict[str, int] = {}
    units = np.full(len(actions), OUT_OF_SCOPE, np.intp)
    for position, action in enumerate(actions):
        if only.has_action(action):
            units[position] = numbers.setdefault(_name_unit(per, action), len(numbers))
    return units


def _name_unit(per: Unit, action: Action) -> str:
    match per:
        case Unit.ACTION:
            return action.key
        case Unit.GROUP:
            return action.group
        case Unit.ISSUE:
            return action.issue
        case Unit.ALL:
            return ""


def collect_moments(
    limit: ContactLimit, contacts: Sequence[Contact], position_of: Mapping[str, int], now: datetime
) -> dict[int, list[float]]:
    """The moments that count against each unit of a limit, in the period up to `now`.

    An action that is no longer in the catalogue counts for nothing: its unit is unknown.
    """
    since = now.timestamp() - limit.within_s
    moments: dict[int, list[float]] = {}
    for contact in contacts:
        if contact.at_s > since and limit.has_contact(contact):
            position = position_of.get(contact.action)
            unit = OUT_OF_SCOPE if position is None else int(limit.unit_of[position])
            if unit != OUT_OF_SCOPE:
                moments.setdefault(unit, []).append(contact.at_s)
    return moments


class ContactRefusals(NamedTuple):
    actions: Bools
    failed: dict[int, list[FailedCondition]]


def apply_contact_policies(
    contacts: Sequence[Contact],
    limits: Sequence[ContactLimit],
    all_quiet_hours: Sequence[CompiledQuietHours],
    position_of: Mapping[str, int],
    channel: Channel,
    now: datetime,
) -> ContactRefusals:
    refusals = ContactRefusals(np.zeros(len(position_of), bool), {})
    for limit in limits if contacts else ():
        if limit.channel in (None, channel):
            for unit, moments in collect_moments(limit, contacts, position_of, now).items():
                if len(moments) >= limit.allowed:
                    failed = FailedCondition(limit.description, _describe_actual(limit, moments))
                    _refuse(refusals, limit.unit_of == unit, failed)
    for quiet_hours in all_quiet_hours:
        if (local := quiet_hours.find_quiet_time(channel, now)) is not None:
            policy = quiet_hours.policy
            hours = f"from {policy.start:%H:%M} until {policy.end:%H:%M} {policy.time_zone.key}"
            failed = FailedCondition(f"{policy.key}: not {hours}", local)
            _refuse(refusals, quiet_hours.actions, failed)
    return refusals


def _refuse(refusals: ContactRefusals, actions: Bools, failed: FailedCondition) -> None:
    np.logical_or(refusals.actions, actions, out=refusals.actions)
    for position in np.flatnonzero(actions):
        refusals.failed.setdefault(int(position), []).append(failed)


def _describe_actual(limit: ContactLimit, moments: list[float]) -> int | str:
    """How many presentations there were, or when the last reaction was."""
    if not limit.kinds:
        return len(moments)
    return datetime.fromtimestamp(max(moments), UTC).isoformat(timespec="seconds")
