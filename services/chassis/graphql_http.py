"""GraphQL over HTTP: what its specification asks of any endpoint, the gateway's and the services'.

Reads what a request asks, agrees on the form of the answer, and finds the status that fits.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from math import ceil
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import orjson
from starlette.types import Send

from services.chassis.errors import RaakError

JSON = dict[str, Any]

MODERN = "application/graphql-response+json"
LEGACY = "application/json"

MAX_DEPTH = 100
"""How deep a request's JSON may nest; orjson reads 1,024 levels, but writes no more than 254."""

MASKED: JSON = {
    "message": "Something went wrong in this service; it has been logged.",
    "extensions": {
        "code": "INTERNAL",
        "hint": "Try again; if it lasts, tell the operator the time.",
    },
}
"""What is told of a failure of ours."""


class NotAcceptable(RaakError):
    """The client takes nothing we could answer with."""

    code = "NOT_ACCEPTABLE"
    status = 406


class UnsupportedContent(RaakError):
    """A body is labelled as something else than JSON."""

    code = "UNSUPPORTED_CONTENT_TYPE"
    status = 415


class MethodNotAllowed(RaakError):
    """Neither GET nor POST."""

    code = "METHOD_NOT_ALLOWED"
    status = 405


class MutationNotAllowed(RaakError):
    """A mutation came by a way that must not change anything."""

    code = "MUTATION_NOT_ALLOWED"
    status = 405


class MalformedRequest(RaakError):
    """A request cannot be understood, whatever its operation."""

    code = "MALFORMED_REQUEST"


class AddressTooLong(RaakError):
    """A GET carries more than an address may."""

    code = "ADDRESS_TOO_LONG"
    status = 414


# --- the form of the answer -------------------------------------------------------------------


@lru_cache(maxsize=256)
def preferred(accept: str, offers: tuple[str, ...] = (LEGACY, MODERN)) -> str | None:
    """Which of these media types an Accept header likes best; None if it leaves none of them.

    Of a type its most exact entry counts. Of types that are equally welcome it is the one that is
    named first, or offered first: who takes anything gets the older form, which every client reads.
    """
    entries = {name: (quality, -at) for at, (name, quality) in enumerate(qualities(accept))}
    best = max(offers, key=lambda offer: _welcome(offer, entries))
    return best if _welcome(best, entries)[0] > 0 else None


def _welcome(media_type: str, entries: Mapping[str, tuple[float, int]]) -> tuple[float, int]:
    group, _, _ = media_type.partition("/")
    ranges = (media_type, f"{group}/*", "*/*")
    return next((entries[name] for name in ranges if name in entries), (0.0, 0))


def media_type_for(headers: Mapping[str, str]) -> str:
    """The media type to answer a request with; raises NotAcceptable."""
    accept = headers.get("accept", "*/*")
    media_type = preferred(accept)
    if media_type is None:
        raise NotAcceptable(
            f"The client accepts only {accept!r}.", hint=f"Accept {MODERN} or {LEGACY}."
        )
    return media_type


def qualities(header: str) -> Iterator[tuple[str, float]]:
    """The entries of a header such as Accept, in small letters, with how welcome each is."""
    for entry in header.lower().split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        yield name, _quality(parameters)


def _quality(parameters: list[str]) -> float:
    given = next((parameter[2:] for parameter in parameters if parameter.startswith("q=")), "1")
    try:
        quality = float(given)
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0


@dataclass(slots=True)
class Answer:
    """What is answered to a request."""

    status: int
    body: bytes
    media_type: str
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)

    async def send(self, send: Send) -> None:
        """Hand it to the server."""
        headers = self.headers
        if self.status != 304:
            headers = [
                (b"content-type", b"%b; charset=utf-8" % self.media_type.encode()),
                (b"content-length", b"%d" % len(self.body)),
                *headers,
            ]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


EXTRA_HEADERS: Mapping[str, list[tuple[bytes, bytes]]] = {
    "UNAUTHENTICATED": [(b"www-authenticate", b"Bearer")],
    "METHOD_NOT_ALLOWED": [(b"allow", b"GET, POST")],
    "MUTATION_NOT_ALLOWED": [(b"allow", b"POST")],
    "BODY_ENCODED": [(b"accept-encoding", b"gzip")],
    "UNSUPPORTED_CONTENT_TYPE": [(b"accept-post", LEGACY.encode())],
    "BODY_TOO_LARGE": [(b"connection", b"close")],
    "BODY_TOO_SLOW": [(b"connection", b"close")],
}
"""What else is said with a refusal, by its code. Where a body may not have been read to its end,
its connection cannot be used again."""


def extra_headers(refusal: RaakError) -> list[tuple[bytes, bytes]]:
    """The headers a refusal comes with."""
    headers = list(EXTRA_HEADERS.get(refusal.code, ()))
    if refusal.status in (429, 503):
        seconds = max(1, ceil(getattr(refusal, "retry_after_s", 1)))
        headers.append((b"retry-after", b"%d" % seconds))
    return headers


def status_of(refusal: RaakError, media_type: str, *, is_understood: bool) -> int:
    """The status a refusal is answered with.

    In the older form, well-formed requests get 200, and what is wrong with their operation is told
    in the body only.
    """
    is_well_formed = is_understood and not isinstance(refusal, MalformedRequest)
    is_told_in_body = is_well_formed and media_type == LEGACY and refusal.status in (400, 403)
    return 200 if is_told_in_body else refusal.status


def told(refusal: RaakError, path: list[str | int] | None = None) -> JSON:
    """An error of ours as an entry of `errors`."""
    extensions = refusal.as_json()
    entry: JSON = {"message": extensions.pop("problem"), "extensions": extensions}
    return entry | {"path": path} if path else entry


# --- what is asked ----------------------------------------------------------------------------


class Parameters(NamedTuple):
    """What a request asks, by the names of the specification."""

    query: str | None
    operation_name: str | None
    variables: JSON
    extensions: JSON
    document_id: str | None

    @property
    def document(self) -> str:
        """The text of `query`; raises MalformedRequest if there is none."""
        if self.query is None:
            raise _no_document()
        return self.query


def _no_document() -> MalformedRequest:
    return MalformedRequest(
        "The request has no `query`.", hint="Put the GraphQL document there, as a string."
    )


KINDS: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "query": (str, "a string"),
    "operationName": ((str, type(None)), "a string or null"),
    "variables": ((dict, type(None)), "an object or null"),
    "extensions": ((dict, type(None)), "an object or null"),
    "documentId": (str, "a string"),
}


def read_parameters(value: Any) -> Parameters:
    """What is asked, from the JSON of a request; raises MalformedRequest."""
    if not isinstance(value, dict):
        raise MalformedRequest(
            f"The request is {_kind(value)}, not an object.",
            hint='Send an object like {"query": "…", "variables": {…}}.',
        )
    for name in value.keys() & KINDS.keys():
        kinds, said = KINDS[name]
        if not isinstance(value[name], kinds):
            raise MalformedRequest(f"`{name}` is {_kind(value[name])}.", hint=f"It must be {said}.")
    get = value.get
    extensions = get("extensions") or {}
    if "query" not in value and "documentId" not in value and "persistedQuery" not in extensions:
        raise _no_document()
    return Parameters(
        get("query"),
        get("operationName") or None,
        get("variables") or {},
        extensions,
        get("documentId"),
    )


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return "null" if value is None else names.get(type(value), "a number")


def check_content_type(content_type: str) -> None:
    """Raise UnsupportedContent unless a body is labelled as JSON in UTF-8."""
    if not _is_json(content_type):
        raise UnsupportedContent(
            f"The content type is {content_type!r}.",
            hint="Send JSON in UTF-8 as `Content-Type: application/json`.",
        )


@lru_cache(maxsize=256)
def _is_json(content_type: str) -> bool:
    name, *parameters = (part.strip() for part in content_type.lower().split(";"))
    charsets = [p[8:].strip('"') for p in parameters if p.startswith("charset=")]
    return name == LEGACY and all(charset in ("utf-8", "utf8") for charset in charsets)


def from_json(text: bytes | str, what: str) -> Any:
    """A JSON value; raises MalformedRequest, which tells bad UTF-8 from bad JSON."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        _check_utf8(text, what)
        raise MalformedRequest(
            f"The {what} is not valid JSON: line {error.lineno}, column {error.colno}.",
            hint='Send an object like {"query": "…", "variables": {…}}.',
        ) from None
    _check_depth(value, text, what)
    return value


def _check_utf8(text: bytes | str, what: str) -> None:
    try:
        text.encode() if isinstance(text, str) else text.decode()
    except UnicodeError as error:
        at = getattr(error, "start", 0)
        raise MalformedRequest(
            f"The {what} is not valid UTF-8 (byte {at}).", hint="Encode it as UTF-8."
        ) from None


def _check_depth(value: Any, text: bytes | str, what: str) -> None:
    """Raise MalformedRequest if it nests too deep; what has few brackets cannot."""
    data = text.encode() if isinstance(text, str) else text
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [inner for outer in level for inner in _inside(outer)]
    if level:
        raise MalformedRequest(
            f"The {what} nests deeper than {MAX_DEPTH} levels.", hint="Send flatter variables."
        )


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


@dataclass(frozen=True, slots=True)
class Form:
    """What a request comes in: the body of HTTP, or a message of another protocol."""

    what: str
    counts: frozenset[str]
    """The names that may each be there once: in its object, or the objects of its list, and in
    what they have `within`."""
    within: str | None = None
    quoted: tuple[bytes, ...] = field(init=False)

    def __post_init__(self) -> None:
        quoted = tuple(f'"{name}"'.encode() for name in self.counts)
        object.__setattr__(self, "quoted", quoted)


BODY = Form("body", frozenset(KINDS))


def from_body(body: bytes, form: Form = BODY) -> Any:
    """The JSON of a body in which nothing that counts is said twice; raises MalformedRequest.

    JSON leaves open which of two equal names counts. A cache or firewall before us may see the
    other one, so the request is refused.
    """
    value = from_json(body, form.what)
    if b"\\u" in body or any(body.count(name) > 1 for name in form.quoted):
        _check_said_once(body, form)
    return value


class _Pairs(list[tuple[str, Any]]):
    """An object of JSON, with each of its names as often as it is there."""


def _check_said_once(body: bytes, form: Form) -> None:
    outermost = json.loads(body, object_pairs_hook=_Pairs, parse_int=float)
    said = outermost if type(outermost) is list else [outermost]
    objects = [value for value in said if isinstance(value, _Pairs)]
    objects += [
        value
        for pairs in objects
        for name, value in pairs
        if name == form.within and isinstance(value, _Pairs)
    ]
    for pairs in objects:
        _refuse_repeated(pairs, form.counts)


def _refuse_repeated(pairs: Iterable[tuple[str, Any]], counts: frozenset[str]) -> None:
    times = Counter(name for name, _ in pairs if name in counts)
    repeated = [name for name in times if times[name] > 1]
    if repeated:
        raise MalformedRequest(
            f"`{repeated[0]}` is there twice.", hint="Send each part of a request once."
        )


def from_url(query_string: bytes, max_bytes: int, setting: str) -> JSON:
    """The parameters of a GET, the maps among them read as JSON.

    Raises AddressTooLong, MalformedRequest.
    """
    if len(query_string) > max_bytes:
        raise AddressTooLong(
            f"The address has more than {max_bytes / 1024:.0f} KB ({setting}).",
            hint="Send the request by POST.",
        )
    pairs = _pairs(query_string)
    _refuse_repeated(pairs, BODY.counts)
    parameters: JSON = dict(pairs)
    for name in ("variables", "extensions"):
        if name in parameters:
            parameters[name] = from_json(parameters[name], name)
    return parameters


def _pairs(query_string: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query_string.decode("ascii"), keep_blank_values=True, errors="strict")
    except UnicodeError:
        raise MalformedRequest(
            "The address is not UTF-8 in percent-encoding.",
            hint="Encode the parameters as `application/x-www-form-urlencoded`.",
        ) from None
