"""What browsers and caches may keep of an answer, and how they ask whether it still holds.

Nothing may be kept but the answer to a GET that has no errors. It has a validator: the client who
got it may keep it, and asks every time whether it has changed. An answer is the same for everyone
only where every field it could touch is tagged as cacheable by its service: then caches may keep it
for a while, for each token and form apart.
"""

from collections.abc import Collection, Mapping

from xxhash import xxh3_128_hexdigest

from gateway.supergraph.schema_metadata import NOT_IDEMPOTENT
from services.chassis.graphql_http import Answer

CACHEABLE = "cacheable"
"""The tag of a type or field (`@tag(name: "cacheable")`) that is the same for every caller."""

VARY = (b"vary", b"Accept, Accept-Encoding, Authorization, Origin, X-API-Key")


def cache_seconds(
    coordinates: Collection[str], tags: Mapping[str, frozenset[str]], keep_s: int
) -> int | None:
    """For how many seconds an answer with these fields (`Type.field`) may be kept unasked.

    0: its client may keep it, and must ask; None: nobody may keep it. `keep_s` is for what is the
    same for everyone.
    """
    tagged = [_tags(coordinate, tags) for coordinate in coordinates]
    if any(NOT_IDEMPOTENT in given for given in tagged):
        return None
    return keep_s if tagged and all(CACHEABLE in given for given in tagged) else 0


def _tags(coordinate: str, tags: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Those of a field and of its type."""
    own, types = tags.get(coordinate), tags.get(coordinate.partition(".")[0])
    return (own or frozenset()) | (types or frozenset())


def add_validator(answer: Answer, if_none_match: str | None, keep_s: int) -> Answer:
    """The same answer with what caches need, or 304 if the client has it already.

    `keep_s` is how long any cache may keep it unasked; 0: the client alone may, and must ask.
    """
    tag = f'W/"{xxh3_128_hexdigest(answer.body)}"'
    keep = f"public, max-age={keep_s}" if keep_s else "private, no-cache"
    headers = [(b"etag", tag.encode()), (b"cache-control", keep.encode()), VARY]
    if if_none_match is not None and _holds(tag, if_none_match):
        return Answer(304, b"", "", headers)
    answer.headers += headers
    return answer


def _holds(tag: str, if_none_match: str) -> bool:
    opaque = tag.removeprefix("W/")
    given = (entry.strip().removeprefix("W/") for entry in if_none_match.split(","))
    return any(entry in ("*", opaque) for entry in given)
