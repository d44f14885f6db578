"""The response to a GraphQL request: its status, headers and body, and what failed."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from types import TracebackType
from typing import Self

import orjson
from starlette.types import Send

from services.chassis import telemetry
from services.chassis.errors import RaakError
from services.chassis.graphql_http.media_types import LEGACY
from services.chassis.graphql_http.request import JSON, MalformedRequest

log = logging.getLogger(__name__)

MASKED_ERROR: JSON = {
    "message": "Something went wrong in this service; it has been logged.",
    "extensions": {
        "code": "INTERNAL",
        "hint": "Try again; if it lasts, tell the operator the time.",
    },
}
"""What a client learns of a failure of ours."""

REFUSAL_HEADERS: Mapping[str, list[tuple[bytes, bytes]]] = {
    "UNAUTHENTICATED": [(b"www-authenticate", b"Bearer")],
    "METHOD_NOT_ALLOWED": [(b"allow", b"GET, POST")],
    "MUTATION_NOT_ALLOWED": [(b"allow", b"POST")],
    "BODY_ENCODED": [(b"accept-encoding", b"gzip")],
    "UNSUPPORTED_CONTENT_TYPE": [(b"accept-post", LEGACY.encode())],
    "BODY_TOO_LARGE": [(b"connection", b"close")],
    "BODY_TOO_SLOW": [(b"connection", b"close")],
}
"""Headers by the code of a refusal. A connection whose body may not have been read to its end
cannot be used again."""


@dataclass(slots=True)
class HttpResponse:
    """A response as HTTP has it, with `content-type` and `content-length` left to `send`."""

    status: int
    body: bytes
    media_type: str
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)

    async def send(self, send: Send) -> None:
        headers = self.headers
        if self.status != 304:
            headers = [
                (b"content-type", b"%b; charset=utf-8" % self.media_type.encode()),
                (b"content-length", b"%d" % len(self.body)),
                *headers,
            ]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


@dataclass(slots=True)
class GraphQLResponse:
    """The response to one request. As a context manager, it turns what is raised into `errors`."""

    media_type: str = LEGACY
    is_well_formed: bool = False
    """Whether the request was understood: from then on, legacy clients get 200 with `errors`."""
    body: JSON = field(default_factory=dict)
    refusal: RaakError | None = None
    has_failed: bool = False
    """Whether the fault is ours."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if isinstance(error, RaakError):
            self.refusal = error
            self.body = {"errors": self.format_errors(error)}
        elif isinstance(error, Exception):
            self._fail(error)
        return isinstance(error, Exception)

    def format_errors(self, refusal: RaakError) -> list[JSON]:
        return [format_error(refusal)]

    def _fail(self, error: Exception) -> None:
        log.error("a request failed", extra={"fields": {"because": telemetry.describe(error)}})
        self.has_failed = True
        self.body = {"errors": [MASKED_ERROR]}

    def to_http(self) -> HttpResponse:
        text = self._serialize()
        headers = refusal_headers(self.refusal) if self.refusal else []
        return HttpResponse(self._status(), text, self.media_type, headers)

    def _serialize(self) -> bytes:
        """The body as JSON, which data of a service may be too deep or too large for."""
        try:
            return orjson.dumps(self.body)
        except TypeError as error:
            self._fail(error)
            return orjson.dumps(self.body)

    def _status(self) -> int:
        """In the older form a well-formed request gets 200, with what is wrong in the body only."""
        if self.has_failed:
            return 500
        is_legacy = self.media_type == LEGACY
        if self.refusal is None:
            return 200 if is_legacy or "data" in self.body else 400
        is_well_formed = self.is_well_formed and not isinstance(self.refusal, MalformedRequest)
        is_in_body_only = is_well_formed and is_legacy and self.refusal.status in (400, 403)
        return 200 if is_in_body_only else self.refusal.status


def refusal_headers(refusal: RaakError) -> list[tuple[bytes, bytes]]:
    headers = list(REFUSAL_HEADERS.get(refusal.code, ()))
    if refusal.status in (429, 503):
        seconds = max(1, ceil(getattr(refusal, "retry_after_s", 1)))
        headers.append((b"retry-after", b"%d" % seconds))
    return headers


def format_error(refusal: RaakError, path: list[str | int] | None = None) -> JSON:
    extensions = refusal.as_json()
    entry: JSON = {"message": extensions.pop("problem"), "extensions": extensions}
    return entry | {"path": path} if path else entry
