"""The offer card: a page that hosts of MCP Apps show the results of next best actions with."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True)
class AppPage:
    """A page of an assistant's host: it loads nothing, and speaks with the host only."""

    uri: str
    name: str
    description: str
    shows: str
    """The root field whose tools it shows, as `Type.field`."""
    file: Path

    @cached_property
    def html(self) -> str:
        return self.file.read_text(encoding="utf-8")


OFFER_CARD = AppPage(
    uri="ui://raak/offer-card",
    name="offer_card",
    description="The offers for a customer, each with Accept, Not now and Decline.",
    shows="Query.nextBestActions",
    file=Path(__file__).with_name("offer_card.html"),
)
