"""A demo session: the gateway the scenarios run against, its keys, and the console."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from infra.graph_client import GraphClient

EXAMPLES = Path(__file__).parents[2] / "examples" / "records"
OPERATIONS = EXAMPLES / "operations"
"""The documents a shop would register; the demo sends no others."""
ASSISTANT = EXAMPLES / "assistant"
"""Those that are tools of assistants."""


@dataclass(frozen=True, slots=True)
class DemoSession:
    """A gateway, the keys to it, and the console the demo prints to."""

    url: str
    write_key: str
    """For web pages; it is public."""
    api_key: str
    """For the shop's server."""
    token: Callable[[str, str, str], str]
    """(role, subject, customer as type=value) to a signed token."""
    claim: Callable[[str, str], str]
    """(anonymous id, user id) to a signed claim, as the shop's server makes it at a login."""
    console: Console

    def client_for(self, role: str, customer: str = "") -> GraphClient:
        return GraphClient(self.url, self.token(role, f"demo {role}", customer))

    def announce(self, text: str) -> None:
        self.console.print(f"\n[bold]{text}[/]")
