"""Relay connections: opaque cursors over the sort key of the last row seen."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Self

import orjson
import strawberry

from services.chassis.errors import RaakError

LARGEST_PAGE = 100
"""As the gateway's `max_page_size` is, unless it is set otherwise."""

First = Annotated[
    int,
    strawberry.argument(
        description=f"The size of the page, 1 to {LARGEST_PAGE}; otherwise `INVALID_PAGE`."
    ),
]
After = Annotated[
    str | None,
    strawberry.argument(
        description="The `endCursor` of the page before, unchanged; null asks for the first page."
    ),
]


class InvalidPage(RaakError, code="INVALID_PAGE"):
    """`first` or `after` cannot be used."""


@strawberry.federation.type(shareable=True)
class PageInfo:
    """Where a page ends, and whether another one follows. Pages go forwards only."""

    has_next_page: bool
    """Whether there is more to look at after this page."""
    end_cursor: str | None
    """What to send as `after` for the next page; null if this page looked at nothing."""

    @classmethod
    def from_edges(cls, edges: Sequence[Any], has_more: bool) -> Self:
        """The page that ends with the last of these edges."""
        return cls(has_next_page=has_more, end_cursor=edges[-1].cursor if edges else None)


def page_size(first: int) -> int:
    """`first`, if a page may be that large; raises InvalidPage."""
    if not 1 <= first <= LARGEST_PAGE:
        raise InvalidPage(
            f"first is {first!r}.", hint=f"Ask for 1 to {LARGEST_PAGE}, then for the next page."
        )
    return first


def encode_cursor(*key: Any) -> str:
    """The cursor of the row with this sort key (datetimes and UUIDs are written out)."""
    return urlsafe_b64encode(orjson.dumps(key, default=str)).decode()


def decode_cursor(after: str | None, *kinds: Callable[[str], Any]) -> Any:
    """The sort key a cursor holds, as a tuple with each part read by its kind; None without one.

    Raises InvalidPage for a cursor we did not make.
    """
    if after is None:
        return None
    try:
        key = orjson.loads(urlsafe_b64decode(after.encode()))
        return tuple(kind(part) for kind, part in zip(kinds, key, strict=True))
    except (ValueError, TypeError, AttributeError):
        raise InvalidPage(
            f"after is {after!r}, which is not a cursor of this list.",
            hint="Pass the endCursor of the page before, unchanged.",
        ) from None
