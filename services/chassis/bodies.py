"""Reading a request's body without letting it grow, or take longer, than is allowed."""

import asyncio
import json
import re
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import isinf
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.types import Receive, Scope

from services.chassis.errors import RaakError

GZIP = 16 + zlib.MAX_WBITS
FORM = "application/x-www-form-urlencoded"
DISCARD_BYTES = 16 * 1024 * 1024
"""How much is read and discarded of a body that is too large. A connection that is closed while
its client still sends is reset, and few clients then look for an answer: Node's do not.
"""
MAX_PENDING_BYTES = 64 * 1024 * 1024
"""In total, of bodies that are being read: more would be a way to fill the memory."""
MAX_FORM_FIELDS = 20
"""Fields of a form: a client that puts JSON in one needs a few."""


class BodyTooLarge(RaakError, code="BODY_TOO_LARGE", status=413):
    """A body is larger than this endpoint takes."""


class BodyTooSlow(RaakError, code="BODY_TOO_SLOW", status=408):
    """A body did not arrive in the time it may take."""


class BodyEncoded(RaakError, code="BODY_ENCODED", status=415):
    """A body has a content encoding that this endpoint does not read."""


class BodyIncomplete(RaakError, code="BODY_INCOMPLETE"):
    """A body broke off, or is not the gzip it claims to be."""


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """How large a body may be, as it comes and when it is unpacked, and how long it may take."""

    size: int
    """In bytes."""
    setting: str
    """The name of the setting, for error messages."""
    within_s: float


class PendingBodies:
    """Bodies that are being read; when they hold too much memory, the oldest are evicted."""

    def __init__(self, most_bytes: int = MAX_PENDING_BYTES) -> None:
        self._most = most_bytes
        self._sizes: dict[asyncio.Timeout, int] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._sizes)

    def begin(self, until: asyncio.Timeout) -> None:
        self._sizes[until] = 0

    def end(self, until: asyncio.Timeout) -> bool:
        """Remove a body; False if it was evicted."""
        size = self._sizes.pop(until, None)
        self._bytes -= size or 0
        return size is not None

    def add(self, until: asyncio.Timeout, size: int, largest: int) -> None:
        """Count bytes of a body; it may grow to `largest`, whatever others hold."""
        if until in self._sizes:
            self._sizes[until] += size
            self._bytes += size
        while self._bytes > max(self._most, largest):
            oldest = next(iter(self._sizes))
            self.end(oldest)
            oldest.reschedule(asyncio.get_running_loop().time())


pending_bodies = PendingBodies()
"""Those of this process."""


def read_headers(scope: Scope) -> dict[str, str]:
    """A request's headers by lower-case name; repeated ones are joined by commas, as HTTP says."""
    raw: list[tuple[bytes, bytes]] = scope["headers"]
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in raw}
    return headers if len(headers) == len(raw) else _join_values(raw)


def _join_values(raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
    values: dict[str, list[str]] = {}
    for name, value in raw:
        values.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    return {name: ", ".join(each) for name, each in values.items()}


async def read_body(
    receive: Receive,
    headers: Mapping[str, str],
    limits: BodyLimits,
    pending: PendingBodies = pending_bodies,
) -> bytes:
    """The whole body, unpacked if it is gzip; never holds more than the limit.

    Raises BodyTooLarge, BodyTooSlow, BodyEncoded, BodyIncomplete.
    """
    is_packed = _is_packed(headers.get("content-encoding", ""))
    content_length = _content_length(headers)
    if "expect" in headers:
        _check(content_length, limits)
    body = await _collect(receive, limits, content_length, pending)
    return _unpack(body, limits) if is_packed else body


def _is_packed(encoding: str) -> bool:
    kinds = {"": False, "identity": False, "gzip": True, "x-gzip": True}
    is_packed = kinds.get(encoding.strip().lower())
    if is_packed is None:
        raise BodyEncoded(
            f"The body is encoded as {encoding!r}.", hint="Send it as it is, or by gzip."
        )
    return is_packed


def _content_length(headers: Mapping[str, str]) -> int:
    content_length = headers.get("content-length", "")
    return int(content_length) if content_length.isdecimal() and len(content_length) < 20 else 0


async def _collect(
    receive: Receive, limits: BodyLimits, content_length: int, pending: PendingBodies
) -> bytes:
    """Read a body; one that is too large is discarded, up to DISCARD_BYTES and its time."""
    body, size, has_more, is_evicted = bytearray(), 0, True, False
    with suppress(TimeoutError):
        async with asyncio.timeout(limits.within_s) as until:
            pending.begin(until)
            try:
                while has_more and size <= limits.size + DISCARD_BYTES:
                    piece, has_more = await _receive_chunk(receive)
                    size += len(piece)
                    if size <= limits.size:
                        body += piece
                        pending.add(until, len(piece), limits.size)
            finally:
                is_evicted = not pending.end(until)
    _check(max(size, content_length), limits)
    if has_more:
        why = "; it gave way to quicker ones" if is_evicted else f" within {limits.within_s:g} s"
        raise BodyTooSlow(f"The body did not arrive{why}.", hint="Send it faster.")
    return bytes(body)


async def _receive_chunk(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise BodyIncomplete("The request broke off.", hint="Send it again.")
    return message.get("body", b""), message.get("more_body", False)


def _unpack(packed: bytes, limits: BodyLimits) -> bytes:
    """Unpack up to the limit: a few bytes can stand for gigabytes."""
    unpacking = zlib.decompressobj(wbits=GZIP)
    try:
        body = unpacking.decompress(packed, limits.size + 1)
    except zlib.error:
        raise _invalid_gzip() from None
    _check(len(body), limits)
    if not unpacking.eof or unpacking.unused_data:
        raise _invalid_gzip()
    return body


def _invalid_gzip() -> BodyIncomplete:
    return BodyIncomplete(
        "The body says it is packed by gzip, and is not.",
        hint="Send it whole and packed once, or without `Content-Encoding`.",
    )


def _check(size: int, limits: BodyLimits) -> None:
    if size > limits.size:
        raise BodyTooLarge(
            f"The body has more than {limits.size / 1024:.0f} KB ({limits.setting}).",
            hint="Send less at a time, in several requests.",
        )


def json_in(body: bytes, content_type: str) -> bytes:
    """The JSON text of a body, also if it is labelled as a form or is a field of one."""
    is_form = content_type.lower().startswith(FORM)
    return _form_field(body) if is_form and not body.lstrip().startswith((b"{", b"[")) else body


def _form_field(body: bytes) -> bytes:
    try:
        fields = parse_qsl(body, keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS)
    except ValueError:
        return body
    if len(fields) == 1 and not fields[0][1]:
        return fields[0][0]
    return dict(fields).get(b"data", fields[0][1] if fields else b"")


MAX_DEPTH = 200
"""Levels of JSON that `parse_json` reads; far more than may be stored."""
MAX_DIGITS = 20
"""Of a whole number of 64 bits, with its sign."""
_MARKS = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


class NotANumber:
    """Takes the place of what looks like a number and is none: NaN, 1e999."""


def parse_json(text: bytes) -> Any:
    """A JSON value that may be flawed in one place, so that the events beside it can be read.

    May hold half a surrogate pair, NotANumber, and null for what is deeper than MAX_DEPTH. Raises
    orjson.JSONDecodeError.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        try:
            return json.loads(
                _flatten(text.decode()),
                parse_int=_parse_integer,
                parse_float=_parse_float,
                parse_constant=_parse_constant,
            )
        except (ValueError, RecursionError):
            raise error from None


def _parse_integer(number: str) -> Any:
    """As orjson reads it: what has more than 64 bits is a float."""
    value = int(number) if len(number) <= MAX_DIGITS else 0
    is_exact = len(number) <= MAX_DIGITS and -(2**63) <= value < 2**64
    return value if is_exact else _parse_float(number)


def _parse_float(number: str) -> Any:
    value = float(number)
    return NotANumber() if isinf(value) else value


def _parse_constant(constant: str) -> NotANumber:
    return NotANumber()


def _flatten(text: str) -> str:
    """The text with null in the place of what is deeper than MAX_DEPTH."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return text
    pieces, start, level = [], 0, 0
    for mark in _MARKS.finditer(text):
        if mark[0] in ("[", "{"):
            level += 1
            if level == MAX_DEPTH + 1:
                pieces += [text[start : mark.start()], "null"]
        elif mark[0] in ("]", "}"):
            if level == MAX_DEPTH + 1:
                start = mark.end()
            level -= 1
    return "".join(pieces) + text[start:] if level <= MAX_DEPTH else text
