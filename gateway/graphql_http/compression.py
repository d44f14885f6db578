"""Responses compressed by gzip, for clients that accept it."""

import asyncio
import zlib
from functools import lru_cache

from services.chassis.bodies import GZIP
from services.chassis.graphql_http.media_types import parse_quality_values
from services.chassis.graphql_http.response import HttpResponse

LEVEL = 4
"""JSON gets five times smaller at 1, six times at 4; beyond, time doubles for a few per cent."""
THREAD_FROM_BYTES = 128 * 1024
"""From here on it takes milliseconds, in which other requests need not wait: zlib frees the GIL."""


@lru_cache(maxsize=256)
def accepts_gzip(accept_encoding: str) -> bool:
    """Whether a client with this Accept-Encoding accepts gzip."""
    qualities = dict(parse_quality_values(accept_encoding))
    return qualities.get("gzip", qualities.get("*", 0)) > 0


async def compress(response: HttpResponse) -> None:
    body = response.body
    if len(body) < THREAD_FROM_BYTES:
        response.body = _gzip(body)
    else:
        response.body = await asyncio.to_thread(_gzip, body)
    response.headers.append((b"content-encoding", b"gzip"))


def _gzip(body: bytes) -> bytes:
    return zlib.compress(body, LEVEL, wbits=GZIP)
