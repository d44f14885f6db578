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
HEARD_OUT_BYTES = 16 * 1024 * 1024
"""How much is read, and forgotten, of a body that is too large. A connection that is closed while
its client still sends is reset, and few clients then look for an answer: Node's do not.
"""
MOST_UNFINISHED_BYTES = 64 * 1024 * 1024
"""Of bodies that have not come to their end, together: more would be a way to fill the memory."""
MOST_FIELDS = 20
"""Of a form that is read: whoever puts JSON in one needs a few."""


class BodyTooLarge(RaakError):
    """A request carries more than this door takes."""

    code = "BODY_TOO_LARGE"
    status = 413


class BodyTooSlow(RaakError):
    """A body did not arrive in the time it may take."""

    code = "BODY_TOO_SLOW"
    status = 408


class BodyEncoded(RaakError):
    """A body is encoded in a way that this door cannot undo."""

    code = "BODY_ENCODED"
    status = 415


class BodyBroken(RaakError):
    """A body is not what it says it is, or stopped short."""

    code = "BODY_BROKEN"


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """How large a body may be, as it comes and when it is unpacked, and how long it may take."""

    size: int
    """In bytes."""
    setting: str
    """The name of the setting, for who is refused."""
    within_s: float


class Unfinished:
    """The bodies that are being read. When they hold too much together, those give way that began
    longest ago: quick ones are there within milliseconds, so these are the slow.
    """

    def __init__(self, most_bytes: int = MOST_UNFINISHED_BYTES) -> None:
        self._most = most_bytes
        self._sizes: dict[asyncio.Timeout, int] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._sizes)

    def begin(self, until: asyncio.Timeout) -> None:
        """A body is being read, from now until `end`."""
        self._sizes[until] = 0

    def end(self, until: asyncio.Timeout) -> bool:
        """It is no longer; False if it had to give way."""
        size = self._sizes.pop(until, None)
        self._bytes -= size or 0
        return size is not None

    def add(self, until: asyncio.Timeout, size: int, largest: int) -> None:
        """A body has grown by so many bytes; it may grow to `largest`, whatever others hold."""
        if until in self._sizes:
            self._sizes[until] += size
            self._bytes += size
        while self._bytes > max(self._most, largest):
            oldest = next(iter(self._sizes))
            self.end(oldest)
            oldest.reschedule(asyncio.get_running_loop().time())


unfinished = Unfinished()
"""Those of this process."""


def headers_of(scope: Scope) -> dict[str, str]:
    """A request's headers by their names in small letters; one that is repeated is a list, as
    HTTP says, so that nobody sees another value of it than we do.
    """
    raw: list[tuple[bytes, bytes]] = scope["headers"]
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in raw}
    return headers if len(headers) == len(raw) else _joined(raw)


def _joined(raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
    values: dict[str, list[str]] = {}
    for name, value in raw:
        values.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    return {name: ", ".join(given) for name, given in values.items()}


async def read_body(
    receive: Receive,
    headers: Mapping[str, str],
    limits: BodyLimits,
    beside: Unfinished = unfinished,
) -> bytes:
    """The whole body, unpacked if it came by gzip.

    Raises BodyTooLarge, BodyTooSlow, BodyEncoded, BodyBroken. No more is kept than may be; who
    waits to be told that he may send is told at once that he sends too much.
    """
    is_packed = _is_packed(headers.get("content-encoding", ""))
    announced = _announced(headers)
    if "expect" in headers:
        _check(announced, limits)
    body = await _collected(receive, limits, announced, beside)
    return _unpacked(body, limits) if is_packed else body


def _is_packed(encoding: str) -> bool:
    kinds = {"": False, "identity": False, "gzip": True, "x-gzip": True}
    is_packed = kinds.get(encoding.strip().lower())
    if is_packed is None:
        raise BodyEncoded(
            f"The body is encoded as {encoding!r}.", hint="Send it as it is, or by gzip."
        )
    return is_packed


def _announced(headers: Mapping[str, str]) -> int:
    announced = headers.get("content-length", "")
    return int(announced) if announced.isdecimal() and len(announced) < 20 else 0


async def _collected(
    receive: Receive, limits: BodyLimits, announced: int, beside: Unfinished
) -> bytes:
    """A body that is too large is heard out, as far as HEARD_OUT_BYTES and its time go."""
    body, size, has_more, gave_way = bytearray(), 0, True, False
    with suppress(TimeoutError):
        async with asyncio.timeout(limits.within_s) as until:
            beside.begin(until)
            try:
                while has_more and size <= limits.size + HEARD_OUT_BYTES:
                    piece, has_more = await _next(receive)
                    size += len(piece)
                    if size <= limits.size:
                        body += piece
                        beside.add(until, len(piece), limits.size)
            finally:
                gave_way = not beside.end(until)
    _check(max(size, announced), limits)
    if has_more:
        why = "; it gave way to quicker ones" if gave_way else f" within {limits.within_s:g} s"
        raise BodyTooSlow(f"The body did not arrive{why}.", hint="Send it faster.")
    return bytes(body)


async def _next(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise BodyBroken("The request broke off.", hint="Send it again.")
    return message.get("body", b""), message.get("more_body", False)


def _unpacked(packed: bytes, limits: BodyLimits) -> bytes:
    """No more is unpacked than may be kept: a few bytes can stand for gigabytes."""
    unpacking = zlib.decompressobj(wbits=GZIP)
    try:
        body = unpacking.decompress(packed, limits.size + 1)
    except zlib.error:
        raise _broken() from None
    _check(len(body), limits)
    if not unpacking.eof or unpacking.unused_data:
        raise _broken()
    return body


def _broken() -> BodyBroken:
    return BodyBroken(
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
    """The JSON of a body, whatever its content type says; not looked at yet.

    Some senders put JSON in the body and call it a form, some in a form's field `data` or in its
    only one.
    """
    is_form = content_type.lower().startswith(FORM)
    return _form_field(body) if is_form and not body.lstrip().startswith((b"{", b"[")) else body


def _form_field(body: bytes) -> bytes:
    try:
        fields = parse_qsl(body, keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        return body
    if len(fields) == 1 and not fields[0][1]:
        return fields[0][0]
    return dict(fields).get(b"data", fields[0][1] if fields else b"")


DEEPEST_READ = 200
"""Levels of JSON that are read where a body is read at any cost; far more than may be kept."""
MOST_DIGITS = 20
"""Of a whole number of 64 bits, with its sign."""
_MARKS = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


class NotANumber:
    """Stands in a value for what is written like a number and is none: NaN, 1e999."""


def parse_json(text: bytes) -> Any:
    """A JSON value, of which one place may be flawed: the events beside it can be read.

    A text may hold half a surrogate pair; NotANumber stands for what is no number, and null for
    what is deeper than DEEPEST_READ. orjson writes neither of the first two.

    Raises orjson.JSONDecodeError.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        try:
            return json.loads(
                _flat(text.decode()), parse_int=_whole, parse_float=_finite, parse_constant=_none
            )
        except (ValueError, RecursionError):
            raise error from None


def _whole(number: str) -> Any:
    """As orjson reads it: what has more than 64 bits is a float."""
    value = int(number) if len(number) <= MOST_DIGITS else 0
    is_exact = len(number) <= MOST_DIGITS and -(2**63) <= value < 2**64
    return value if is_exact else _finite(number)


def _finite(number: str) -> Any:
    value = float(number)
    return NotANumber() if isinf(value) else value


def _none(constant: str) -> NotANumber:
    return NotANumber()


def _flat(text: str) -> str:
    """The text with null in the place of what is deeper than DEEPEST_READ."""
    if text.count("[") + text.count("{") <= DEEPEST_READ:
        return text
    kept, start, level = [], 0, 0
    for mark in _MARKS.finditer(text):
        if mark[0] in ("[", "{"):
            level += 1
            if level == DEEPEST_READ + 1:
                kept += [text[start : mark.start()], "null"]
        elif mark[0] in ("]", "}"):
            if level == DEEPEST_READ + 1:
                start = mark.end()
            level -= 1
    return "".join(kept) + text[start:] if level <= DEEPEST_READ else text
