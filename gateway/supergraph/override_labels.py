"""The labels of a progressive @override: where a field is resolved while they are active."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

LABEL = re.compile(r"[A-Za-z][A-Za-z0-9_\-:./]*|percent\((100(\.0+)?|[0-9]{1,2}(\.[0-9]{1,8})?)\)")
"""What composers accept as a label."""
PERCENT = re.compile(r"percent\((\d+(?:\.\d+)?)\)")


@dataclass(frozen=True, slots=True)
class OverrideLabel:
    """A progressive @override: the field is resolved here only while `name` is (not) active."""

    name: str
    active: bool

    def holds(self, labels: frozenset[str]) -> bool:
        """Whether the field is resolved here while these labels are active."""
        return (self.name in labels) == self.active


def active_labels(
    labels: Iterable[str],
    draw: Callable[[str], float],
    externally_active: frozenset[str] = frozenset(),
) -> frozenset[str]:
    """Those of a graph's labels that are active for one request.

    Args:
        draw: A number in [0, 1) for each label of the form `percent(x)`, which is active where
            the number is below x / 100. Drawn by request, or by caller to be steady for it.
        externally_active: The other labels that are switched on.
    """
    return frozenset(
        label for label in labels if label in externally_active or draw(label) < _share(label)
    )


def _share(label: str) -> float:
    found = PERCENT.fullmatch(label)
    return float(found[1]) / 100 if found else 0.0
