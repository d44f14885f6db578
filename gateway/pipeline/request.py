"""One GraphQL request, whatever protocol it came by."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class GraphQLRequest:
    """A document, which of its operations to execute, and the variables of that."""

    query: str
    operation_name: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    may_change: bool = True
    """Whether it came by a way on which mutations are allowed."""
    surface: str | None = None
    """What it came by, if that is to stand in the audit log."""
