"""Fields of an event of the Segment spec, read one by one or refused with a remedy."""

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

from services.profile.domain.calls import InvalidEvent
from services.profile.domain.identities import LONGEST_VALUE

LONGEST_NAME = 255

_LEAP = re.compile(r"(T\d\d:\d\d:)60")

AnyEnum = TypeVar("AnyEnum", bound=StrEnum)


def read_object(event: dict[str, Any], field: str) -> dict[str, Any]:
    """A JSON object; an empty list counts as one, as PHP writes it so."""
    value = event.get(field)
    if value is None or value == []:
        return {}
    if not isinstance(value, dict):
        raise InvalidEvent(
            f"{field} is {quote(value)}, not an object.", hint=f"Send {field} as a JSON object."
        )
    return value


def read_name(event: dict[str, Any], field: str) -> str:
    value = event.get(field)
    if not isinstance(value, str) or not value.strip():
        raise InvalidEvent(
            f"{field} is {quote(value)}.", hint=f"Name what happened in {field}, as text."
        )
    return check_length(field, value, LONGEST_NAME)


def read_id(event: dict[str, Any], field: str) -> str | None:
    """An id as text; some senders send whole numbers."""
    value = event.get(field)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, str):
        raise InvalidEvent(f"{field} is {quote(value)}.", hint=f"Send {field} as text.")
    return check_length(field, value.strip(), LONGEST_VALUE)


def require_id(event: dict[str, Any], field: str) -> str:
    value = read_id(event, field)
    if value is None:
        raise InvalidEvent(f"{field} is missing.", hint=f"Send {field} as text.")
    return value


def check_names(values: dict[str, Any]) -> dict[str, Any]:
    for name in values:
        if not name:
            raise InvalidEvent("A name is blank.", hint="Give every trait a name.")
        check_length("a name", name, LONGEST_NAME)
    return values


def check_length(field: str, value: str, limit: int) -> str:
    if len(value) > limit:
        raise InvalidEvent(
            f"{field} has {len(value)} characters ({quote(value)}).",
            hint=f"Use at most {limit} characters.",
        )
    return value


def read_enum(enum: type[AnyEnum], value: object, field: str) -> AnyEnum:
    try:
        return enum(str(value).upper())
    except ValueError:
        raise InvalidEvent(
            f"{field} is {quote(value)}.", hint=f"Use one of {', '.join(enum)}."
        ) from None


def correct_clock(stated: datetime, sent_at: datetime | None, received_at: datetime) -> datetime:
    """`stated` on our clock, given what the sender's clock said when ours said `received_at`.

    Source: Segment, "Timestamps in Segment": timestamp = receivedAt - (sentAt - original).
    """
    if sent_at is None:
        return stated
    try:
        return received_at - (sent_at - stated)
    except OverflowError:
        raise InvalidEvent(
            f"sentAt {sent_at.isoformat()} and timestamp {stated.isoformat()} are too far apart.",
            hint="Send both by the same clock.",
        ) from None


def read_sent_at(value: object) -> datetime | None:
    """When the sender sent, by its own clock; None for what is not a time."""
    try:
        return read_time(value, "sentAt")
    except InvalidEvent:
        return None


def read_time(value: object, field: str) -> datetime | None:
    """An ISO 8601 text as an aware UTC datetime; one without a zone is UTC.

    As in RFC 3339 its letters may be small, and a leap second `:60` is the first second of the
    next minute.
    """
    if value is None:
        return None
    try:
        if not isinstance(value, str):
            raise ValueError
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            usual, leaps = _LEAP.subn(r"\g<1>59", value.upper())
            moment = datetime.fromisoformat(usual) + timedelta(seconds=leaps)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidEvent(
            f"{field} is {quote(value)}, not a time.",
            hint='Send ISO 8601 text such as "2026-11-22T05:30:00.000Z".',
        ) from None


def quote(value: object) -> str:
    """A value as a message quotes it, at most 60 characters."""
    text = "missing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
