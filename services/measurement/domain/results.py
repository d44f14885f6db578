"""Results: counts of propositions by any of five dimensions, over whole days."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Any

from services.chassis.errors import RaakError


class Dimension(StrEnum):
    """What results can be grouped by."""

    ACTION = "action"
    """The action that was proposed."""
    TREATMENT = "treatment"
    """The treatment it was shown with, within its action."""
    CHANNEL = "channel"
    """The channel it was decided for."""
    PLACEMENT = "placement"
    """The placement it was decided for."""
    DAY = "day"
    """The UTC day of the decision, also for outcomes of a later day."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many propositions had each outcome, each counted once."""

    decided: int
    presented: int
    clicked: int
    accepted: int
    rejected: int
    converted: int
    dismissed: int


@dataclass(frozen=True, slots=True)
class Result:
    """One row of results: the values of its dimensions, counts, and money."""

    key: Mapping[Dimension, Any]
    counts: Counts
    values: Mapping[tuple[str, str], int]
    """(outcome kind, currency) to the sum in minor units."""


class InvalidPeriod(RaakError, code="MEASUREMENT_INVALID_PERIOD"):
    """`from` and `to` do not make a period."""


class TooManyResults(RaakError, code="MEASUREMENT_TOO_MANY_RESULTS"):
    """There are more results than can be sent."""

    def __init__(self, most: int) -> None:
        super().__init__(
            f"There are more than {most!r} rows of results.",
            hint="Ask for fewer days or fewer dimensions, or name one action or channel.",
        )


def to_whole_days(start: datetime | None, end: datetime | None) -> tuple[date | None, date | None]:
    """The first UTC day of a period and the first one after it; None where it is open.

    Every day the period touches counts whole, so midnight to midnight is exactly the days between.

    Raises:
        InvalidPeriod: A time has no offset, or `end` is not after `start`.
    """
    first = _utc(start).date() if start else None
    after = _day_from(_utc(end)) if end else None
    if start and end and end <= start:
        raise InvalidPeriod(
            f"to ({end.isoformat()!r}) is not after from ({start.isoformat()!r}).",
            hint="Send two different times, the earlier one as from.",
        )
    return first, after


def _day_from(moment: datetime) -> date:
    """The first day that begins at or after a moment."""
    begun = moment.timetz() != time(tzinfo=UTC)
    return moment.date() + timedelta(days=int(begun))


def _utc(moment: datetime) -> datetime:
    try:
        if moment.tzinfo is not None and moment.year < 9999:
            return moment.astimezone(UTC)
    except OverflowError:
        pass
    raise InvalidPeriod(
        f"{moment.isoformat()!r} is not a moment.",
        hint="Write times before the year 9999 with their offset: 2026-11-22T00:00:00Z, say.",
    )
