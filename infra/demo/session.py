"""Where the story is told."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from infra.graph_client import Graph

EXAMPLES = Path(__file__).parents[2] / "examples" / "records"
OPERATIONS = EXAMPLES / "operations"
"""All that is asked on it: the documents a shop would register."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the story is told: a gateway, its keys, and somebody listening."""

    url: str
    write_key: str
    """What the pages send with; everybody can read it in them."""
    api_key: str
    """What the shop's server sends with."""
    token: Callable[[str, str, str], str]
    """(role, subject, customer as type=value) to a signed token."""
    claim: Callable[[str, str], str]
    """(anonymous id, user id) to a signed claim, as the shop's server makes it at a login."""
    console: Console

    def as_(self, role: str, customer: str = "") -> Graph:
        """The graph as a role sees it."""
        return Graph(self.url, self.token(role, f"demo {role}", customer))

    def say(self, text: str) -> None:
        """Tell what happens next."""
        self.console.print(f"\n[bold]{text}[/]")
