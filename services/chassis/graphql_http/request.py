"""The parameters of a request, from a body, a query string or a websocket message."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import orjson
from starlette.types import Receive, Scope

from services.chassis.bodies import BodyLimits, read_body
from services.chassis.errors import RaakError
from services.chassis.graphql_http.media_types import check_content_type

JSON = dict[str, Any]

MAX_DEPTH = 100
"""How deep a request's JSON may nest; orjson reads 1,024 levels, but writes no more than 254."""


class MethodNotAllowed(RaakError, code="METHOD_NOT_ALLOWED", status=405):
    """Neither GET nor POST."""


class MutationNotAllowed(RaakError, code="MUTATION_NOT_ALLOWED", status=405):
    """A mutation came by a method that must not change anything."""


class MalformedRequest(RaakError, code="MALFORMED_REQUEST"):
    """A request cannot be understood, whatever its operation."""


class UrlTooLong(RaakError, code="ADDRESS_TOO_LONG", status=414):
    """A GET carries more than a URL may."""


class RequestParameters(NamedTuple):
    """The parameters of a request, by the names of the specification."""

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


PARAMETER_TYPES: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "query": (str, "a string"),
    "operationName": ((str, type(None)), "a string or null"),
    "variables": ((dict, type(None)), "an object or null"),
    "extensions": ((dict, type(None)), "an object or null"),
    "documentId": (str, "a string"),
    "doc_id": (str, "a string"),
}
"""`doc_id` is what Relay's documentation calls `documentId`."""


def read_parameters(value: Any) -> RequestParameters:
    """The parameters of a request, from its JSON; raises MalformedRequest."""
    if not isinstance(value, dict):
        raise MalformedRequest(
            f"The request is {_describe_type(value)}, not an object.",
            hint='Send an object like {"query": "…", "variables": {…}}.',
        )
    for name in value.keys() & PARAMETER_TYPES.keys():
        types, description = PARAMETER_TYPES[name]
        if not isinstance(value[name], types):
            raise MalformedRequest(
                f"`{name}` is {_describe_type(value[name])}.", hint=f"It must be {description}."
            )
    get = value.get
    extensions, document_id = get("extensions") or {}, get("documentId", get("doc_id"))
    if "query" not in value and document_id is None and "persistedQuery" not in extensions:
        raise _no_document()
    return RequestParameters(
        get("query"),
        get("operationName") or None,
        get("variables") or {},
        extensions,
        document_id,
    )


def _describe_type(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return "null" if value is None else names.get(type(value), "a number")


def _read_json(text: bytes | str, source: str) -> Any:
    """A JSON value; raises MalformedRequest for bad UTF-8 or bad JSON."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        _check_utf8(text, source)
        raise MalformedRequest(
            f"The {source} is not valid JSON: line {error.lineno}, column {error.colno}.",
            hint='Send an object like {"query": "…", "variables": {…}}.',
        ) from None
    _check_depth(value, text, source)
    return value


def _check_utf8(text: bytes | str, source: str) -> None:
    try:
        text.encode() if isinstance(text, str) else text.decode()
    except UnicodeError as error:
        at = getattr(error, "start", 0)
        raise MalformedRequest(
            f"The {source} is not valid UTF-8 (byte {at}).", hint="Encode it as UTF-8."
        ) from None


def _check_depth(value: Any, text: bytes | str, source: str) -> None:
    """Raise MalformedRequest if it nests too deep; what has few brackets cannot."""
    data = text.encode() if isinstance(text, str) else text
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [child for value in level for child in _children(value)]
    if level:
        raise MalformedRequest(
            f"The {source} nests deeper than {MAX_DEPTH} levels.", hint="Send flatter variables."
        )


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


@dataclass(frozen=True, slots=True)
class RequestFormat:
    """What a request comes in: the body of HTTP, or a message of another protocol."""

    name: str
    unique_names: frozenset[str]
    """Each of these may be there once: in the object, or each object of the list, and in what it
    has under `nested_name`."""
    nested_name: str | None = None
    quoted_names: tuple[bytes, ...] = field(init=False)

    def __post_init__(self) -> None:
        quoted = tuple(f'"{name}"'.encode() for name in self.unique_names)
        object.__setattr__(self, "quoted_names", quoted)


BODY = RequestFormat("body", frozenset(PARAMETER_TYPES))


def parse_body(body: bytes, format: RequestFormat = BODY) -> Any:
    """The JSON of a body in which no parameter is sent twice; raises MalformedRequest.

    A cache or firewall before us might read the other of two equal names.
    """
    value = _read_json(body, format.name)
    if b"\\u" in body or any(body.count(name) > 1 for name in format.quoted_names):
        _check_unique_names(body, format)
    return value


class _Pairs(list[tuple[str, Any]]):
    """An object of JSON, with each of its names as often as it is there."""


def _check_unique_names(body: bytes, format: RequestFormat) -> None:
    outermost = json.loads(body, object_pairs_hook=_Pairs, parse_int=float)
    values = outermost if type(outermost) is list else [outermost]
    objects = [value for value in values if isinstance(value, _Pairs)]
    objects += [
        value
        for pairs in objects
        for name, value in pairs
        if name == format.nested_name and isinstance(value, _Pairs)
    ]
    for pairs in objects:
        _refuse_repeated_names(pairs, format.unique_names)


def _refuse_repeated_names(pairs: Iterable[tuple[str, Any]], unique_names: frozenset[str]) -> None:
    times = Counter(name for name, _ in pairs if name in unique_names)
    repeated = [name for name in times if times[name] > 1]
    if repeated:
        raise MalformedRequest(
            f"`{repeated[0]}` is sent twice.", hint="Send each part of a request once."
        )


async def read_request(
    scope: Scope, receive: Receive, headers: Mapping[str, str], limits: BodyLimits
) -> Any:
    """The JSON of a request, from its query string or its body; raises RaakError."""
    if scope["method"] == "GET":
        return _parse_query_string(scope["query_string"], limits)
    if scope["method"] != "POST":
        raise MethodNotAllowed(
            f"{scope['method']} is not allowed.", hint="Send queries by GET or POST."
        )
    check_content_type(headers.get("content-type", ""))
    return parse_body(await read_body(receive, headers, limits))


def _parse_query_string(query_string: bytes, limits: BodyLimits) -> JSON:
    if len(query_string) > limits.size:
        raise UrlTooLong(
            f"The URL has more than {limits.size / 1024:.0f} KB ({limits.setting}).",
            hint="Send the request by POST.",
        )
    pairs = _pairs(query_string)
    _refuse_repeated_names(pairs, BODY.unique_names)
    parameters: JSON = dict(pairs)
    for name in ("variables", "extensions"):
        if name in parameters:
            parameters[name] = _read_json(parameters[name], name)
    return parameters


def _pairs(query_string: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query_string.decode("ascii"), keep_blank_values=True, errors="strict")
    except UnicodeError:
        raise MalformedRequest(
            "The URL is not UTF-8 in percent-encoding.",
            hint="Encode the parameters as `application/x-www-form-urlencoded`.",
        ) from None
