"""Which media types a request and its response have."""

from collections.abc import Iterator, Mapping
from functools import lru_cache

from services.chassis.errors import RaakError

MODERN = "application/graphql-response+json"
LEGACY = "application/json"


class NotAcceptable(RaakError, code="NOT_ACCEPTABLE", status=406):
    """The client accepts no media type of ours."""


class UnsupportedContentType(RaakError, code="UNSUPPORTED_CONTENT_TYPE", status=415):
    """A body is labelled as something else than JSON."""


@lru_cache(maxsize=256)
def choose_media_type(accept: str, offers: tuple[str, ...] = (LEGACY, MODERN)) -> str | None:
    """The media type an Accept header prefers; None if it accepts none of the offers.

    The most exact entry counts; of equal quality the one named, then offered, first. A client that
    accepts anything gets the legacy type.
    """
    entries = {
        name: (quality, -index)
        for index, (name, quality) in enumerate(parse_quality_values(accept))
    }
    best = max(offers, key=lambda offer: _preference(offer, entries))
    return best if _preference(best, entries)[0] > 0 else None


def _preference(media_type: str, entries: Mapping[str, tuple[float, int]]) -> tuple[float, int]:
    group, _, _ = media_type.partition("/")
    ranges = (media_type, f"{group}/*", "*/*")
    return next((entries[name] for name in ranges if name in entries), (0.0, 0))


def negotiate_media_type(headers: Mapping[str, str]) -> str:
    """The media type to answer a request with; raises NotAcceptable."""
    accept = headers.get("accept", "*/*")
    media_type = choose_media_type(accept)
    if media_type is None:
        raise NotAcceptable(
            f"The client accepts only {accept!r}.", hint=f"Accept {MODERN} or {LEGACY}."
        )
    return media_type


def parse_quality_values(header: str) -> Iterator[tuple[str, float]]:
    """The entries of a header such as Accept, in lower case, with their quality from 0 to 1."""
    for entry in header.lower().split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        yield name, _quality(parameters)


def _quality(parameters: list[str]) -> float:
    text = next((parameter[2:] for parameter in parameters if parameter.startswith("q=")), "1")
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0


def check_content_type(content_type: str) -> None:
    """Raise UnsupportedContentType unless a body is labelled as JSON in UTF-8."""
    if not _is_json(content_type):
        raise UnsupportedContentType(
            f"The content type is {content_type!r}.",
            hint="Send JSON in UTF-8 as `Content-Type: application/json`.",
        )


@lru_cache(maxsize=256)
def _is_json(content_type: str) -> bool:
    name, *parameters = (part.strip() for part in content_type.lower().split(";"))
    charsets = [p[8:].strip('"') for p in parameters if p.startswith("charset=")]
    return name == LEGACY and all(charset in ("utf-8", "utf8") for charset in charsets)
