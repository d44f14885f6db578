"""The names a condition may use where it is written, and the limits of its size."""

from dataclasses import dataclass, field

ROOTS = frozenset(
    {
        "traits",
        "segments",
        "consent",
        "context",
        "event",
        "journey",
        "events",
        "now",
        "hour",
        "weekday",
    }
)
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True)
class Vocabulary:
    """The names a condition may use.

    `roots` are the names an expression may begin with. The sets of known names catch
    typing errors when a condition is published; None accepts any name.
    """

    title: str = "a condition"
    roots: frozenset[str] = ROOTS
    traits: frozenset[str] | None = None
    segments: frozenset[str] | None = None
    purposes: frozenset[str] | None = None
    journeys: frozenset[str] | None = None
    bare_properties: bool = field(default=False, kw_only=True)
    """A bare name is a property of the event: true only inside an aggregate's filter."""

    def known_names(self, root: str) -> frozenset[str] | None:
        """The names accepted after `root`; None where any is."""
        return {
            "traits": self.traits,
            "segments": self.segments,
            "consent": self.purposes,
            "journey": self.journeys,
        }.get(root)


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
