"""The catalogue as marketers write it: actions, placements, contact policies, control groups."""

from datetime import UTC, date, datetime, time
from enum import StrEnum
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, ConfigDict, Field

from services.contracts.enums import Channel, OutcomeKind
from services.rules.definition_fields import DefinitionPart, Key, Line, Period, TimeOfDay, TimeZone

MOST_ACTIONS = 2_500
MOST_TREATMENTS = 20
MOST_CENTS = 2_000_000_000  # money crosses the graph as a 32-bit Int


class ActionKind(StrEnum):
    """What an action is for. Contact policies can speak of it."""

    OFFER = "OFFER"
    """Something to buy or take up."""
    SERVICE_MESSAGE = "SERVICE_MESSAGE"
    """News the customer needs, such as a late parcel."""
    ADVICE = "ADVICE"
    """Help in using or choosing something, with nothing to sell."""
    REQUEST = "REQUEST"
    """Something asked of the customer, such as a review or consent."""


class ActionStatus(StrEnum):
    """Whether an action takes part in decisions."""

    ACTIVE = "ACTIVE"
    """It can be proposed, if all stages let it through."""
    PAUSED = "PAUSED"
    """It is proposed to nobody and falls out at VALIDITY; its counts are kept."""


class Unit(StrEnum):
    """What a contact policy counts contacts of."""

    ACTION = "action"
    GROUP = "group"
    ISSUE = "issue"
    ALL = "all"


def _wrap_in_list(value: Any) -> Any:
    """One value stands for a list of one."""
    return [value] if isinstance(value, str | int | float | bool) else value


def _parse_moment(value: Any) -> Any:
    """A date is its first moment; a moment without a time zone is in UTC."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if isinstance(value, datetime) and value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    return value


Keys = Annotated[tuple[Key, ...], BeforeValidator(_wrap_in_list)]
Channels = Annotated[tuple[Channel, ...], BeforeValidator(_wrap_in_list)]
Conditions = Annotated[tuple[str, ...], BeforeValidator(_wrap_in_list), Field(max_length=10)]
Moment = Annotated[datetime, BeforeValidator(_parse_moment)]


class CataloguePart(DefinitionPart):
    """A part of the catalogue; YAML names its fields by their aliases only."""

    model_config = ConfigDict(populate_by_name=False)


class Placement(CataloguePart):
    """A spot where treatments appear; `limit` is how many fit."""

    key: Key
    channels: Channels = Field(min_length=1)
    limit: int = Field(default=3, ge=1, le=30)


class ConditionalValue(CataloguePart):
    when: str
    cents: int = Field(ge=0, le=MOST_CENTS)


class ContextWeight(CataloguePart):
    """How much more an action fits the moment where a condition holds: 55 means x 1.55."""

    when: str
    weight: float = Field(ge=-100, le=1_000)
    because: Line | None = None
    """Ends the sentence "…, because", for the agent."""


class Treatment(CataloguePart):
    """How an action looks on one channel, in one or more placements."""

    key: Key
    channel: Channel
    placements: Keys = Field(min_length=1)
    content: dict[str, Any]


class Action(CataloguePart):
    key: Key
    name: Line
    kind: ActionKind
    issue: Key
    group: Key
    status: ActionStatus = ActionStatus.ACTIVE
    valid_from: Moment | None = None
    valid_until: Moment | None = None
    value_cents: int = Field(ge=0, le=MOST_CENTS)
    value_by: tuple[ConditionalValue, ...] = Field(default=(), max_length=20)
    consent: Keys = ()
    eligibility: Conditions = ()
    applicability: Conditions = ()
    suitability: Conditions = ()
    context_weights: tuple[ContextWeight, ...] = Field(default=(), max_length=20)
    lever: float = Field(default=1.0, ge=0, le=1_000)
    propensity: float | None = Field(default=None, gt=0, lt=1)
    reason: Line | None = None
    treatments: tuple[Treatment, ...] = Field(default=(), max_length=MOST_TREATMENTS)


class Scope(CataloguePart):
    """Which actions a policy is about: those that fit every field set; all where none is set."""

    kind: Annotated[tuple[ActionKind, ...], BeforeValidator(_wrap_in_list)] = ()
    issue: Keys = ()
    group: Keys = ()
    action: Keys = ()

    def has_action(self, action: Action) -> bool:
        fields = (
            (self.kind, action.kind),
            (self.issue, action.issue),
            (self.group, action.group),
            (self.action, action.key),
        )
        return all(not allowed or value in allowed for allowed, value in fields)


EVERYTHING = Scope()


class Cap(CataloguePart):
    """At most so many presentations of an action, group, issue or all within a period.

    With a channel, only presentations on it count, and only those on it are refused.
    """

    key: Key
    per: Unit
    at_most: int = Field(ge=1, le=1_000)
    within: Period
    channel: Channel | None = None
    only: Scope = EVERYTHING


class Suppression(CataloguePart):
    """Silence about an action, group or issue for a period after an outcome."""

    key: Key
    per: Unit = Unit.ACTION
    after: Annotated[tuple[OutcomeKind, ...], BeforeValidator(_wrap_in_list)] = Field(min_length=1)
    period: Period = Field(alias="for")
    channel: Channel | None = None
    only: Scope = EVERYTHING


class QuietHours(CataloguePart):
    """Hours of the day in which a channel stays silent, over midnight if they begin later."""

    key: Key
    channels: Channels = Field(min_length=1)
    start: TimeOfDay = Field(alias="from")
    end: TimeOfDay = Field(alias="until")
    time_zone: TimeZone
    only: Scope = EVERYTHING


class ContactPolicies(CataloguePart):
    caps: tuple[Cap, ...] = Field(default=(), max_length=100)
    suppressions: tuple[Suppression, ...] = Field(default=(), max_length=100)
    quiet_hours: tuple[QuietHours, ...] = Field(default=(), max_length=100)


def _parse_scope(value: Any) -> Any:
    return {} if value == "all" else value


class ControlGroup(CataloguePart):
    """A lasting, random share of customers from whom actions are withheld, to measure them."""

    key: Key
    share_percent: float = Field(gt=0, lt=100)
    salt: str = Field(default="", max_length=64)
    withholds: Annotated[Scope, BeforeValidator(_parse_scope)]


class Learning(CataloguePart):
    """How outcomes become propensities."""

    strength: float = Field(default=20, gt=0, le=100_000)
    """How many presentations a level's own evidence needs to weigh as much as the one above."""
    default_propensity: float = Field(default=0.05, gt=0, lt=1)


class Catalogue(CataloguePart):
    """Everything that can be said, with the rules about it. One document is one version."""

    currency: str = Field(pattern=r"^[A-Z]{3}$")
    time_zone: TimeZone = ZoneInfo("UTC")
    """Where `hour` and `weekday` are read."""
    placements: tuple[Placement, ...] = Field(max_length=500)
    actions: tuple[Action, ...] = Field(max_length=MOST_ACTIONS)
    contact_policies: ContactPolicies = ContactPolicies()
    control_groups: tuple[ControlGroup, ...] = Field(default=(), max_length=20)
    learning: Learning = Learning()
