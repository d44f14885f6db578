"""The names a condition may use where it is written, and the limits of its size."""

from dataclasses import dataclass

ROOT_HINTS = {
    "traits": "Name a trait: `traits.city`.",
    "consent": "Name a purpose: `consent.email`.",
    "context": "Name a key: `context.page`.",
    "event": "Name a property: `event.product`, or `event.name` or `event.at`.",
    "journey": "Name a journey and a field: `journey.welcome.phase`.",
    "segments": 'Ask whether it holds one: `"vip" in segments`.',
    "events": 'Call an aggregate: `events.count("product_viewed", last="7d")`.',
    "now": "It has nothing below it.",
    "hour": "It has nothing below it.",
    "weekday": "It has nothing below it.",
}
"""What expressions may begin with, and how it becomes a value."""
ROOTS = frozenset(ROOT_HINTS)
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True)
class Vocabulary:
    """Where a condition is written, and the names its expressions may begin with there."""

    title: str
    roots: frozenset[str] = ROOTS
    bare_properties: bool = False
    """A bare name is a property of the event: true only inside an aggregate's filter."""


@dataclass(frozen=True)
class ConditionLimits:
    """Bounds that keep every condition readable, and cheap to compile and to run."""

    characters: int = 2_000
    depth: int = 25
    nodes: int = 400
    series: int = 12
    list_items: int = 200
    window_days: int = 1_100


DECISION = Vocabulary(title="a policy")
JOURNEY = Vocabulary(title="a journey")
# Nothing here changes by time alone except an entry leaving a window, so a segment's next
# change is known and segments are exact without being recomputed by a clock.
SEGMENT = Vocabulary(title="a segment", roots=frozenset({"traits", "consent", "events"}))
FILTER = Vocabulary(title="an event filter", roots=frozenset({"properties"}), bare_properties=True)
