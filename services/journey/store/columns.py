"""Rows as columns, the way `unnest` takes them."""

from collections.abc import Sequence
from typing import Any


def columns(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Rows turned on their side; there must be at least one."""
    return [list(column) for column in zip(*rows, strict=True)]
