"""For how long browsers and caches may keep a response, and how they ask whether it still holds.

Only the response to a GET that has no errors may be cached. It has a validator: the client that
got it may cache it, and asks every time whether it has changed. A response is the same for everyone
only where every field it could touch is tagged as cacheable by its service: then shared caches may
serve it for a while, for each token and media type apart.
"""

from collections.abc import Collection, Mapping

from xxhash import xxh3_128_hexdigest

from gateway.supergraph.schema_metadata import NOT_IDEMPOTENT
from services.chassis.graphql_http.response import HttpResponse

CACHEABLE = "cacheable"
"""The tag of a type or field (`@tag(name: "cacheable")`) that is the same for every caller."""

VARY = (b"vary", b"Accept, Accept-Encoding, Authorization, Origin, X-API-Key")


def cache_seconds(
    coordinates: Collection[str], tags: Mapping[str, frozenset[str]], max_age_s: int
) -> int | None:
    """For how many seconds a response with these fields (`Type.field`) may be served from a cache.

    0: its client may cache it, and must revalidate; None: nobody may cache it. `max_age_s` is for
    what is the same for everyone.
    """
    tags_by_field = [_tags(coordinate, tags) for coordinate in coordinates]
    if any(NOT_IDEMPOTENT in field_tags for field_tags in tags_by_field):
        return None
    is_public = tags_by_field and all(CACHEABLE in field_tags for field_tags in tags_by_field)
    return max_age_s if is_public else 0


def _tags(coordinate: str, tags: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Those of a field and of its type."""
    own, types = tags.get(coordinate), tags.get(coordinate.partition(".")[0])
    return (own or frozenset()) | (types or frozenset())


def add_validator(
    response: HttpResponse, if_none_match: str | None, max_age_s: int
) -> HttpResponse:
    """The same response with the headers caches need, or 304 if the client has it already.

    `max_age_s` is how long any cache may serve it; 0: only the client may, and must revalidate.
    """
    tag = f'W/"{xxh3_128_hexdigest(response.body)}"'
    control = f"public, max-age={max_age_s}" if max_age_s else "private, no-cache"
    headers = [(b"etag", tag.encode()), (b"cache-control", control.encode()), VARY]
    if if_none_match is not None and _matches(tag, if_none_match):
        return HttpResponse(304, b"", "", headers)
    response.headers += headers
    return response


def _matches(tag: str, if_none_match: str) -> bool:
    opaque = tag.removeprefix("W/")
    entries = (entry.strip().removeprefix("W/") for entry in if_none_match.split(","))
    return any(entry in ("*", opaque) for entry in entries)
