"""What browsers are told with every answer: what may not be done with it, and who may read it."""

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.graphql_http.preflight import PREFLIGHT_HEADERS

SAFE: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
)
UNLESS_SAID: tuple[tuple[bytes, bytes], ...] = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""An endpoint that knows better says so itself."""

ALLOWED_HEADERS = [
    *PREFLIGHT_HEADERS,
    "content-type",
    "content-encoding",
    "if-none-match",
    "traceparent",
    "x-retry-count",  # of analytics.js: without it what had to be sent again would never arrive
]
EXPOSED_HEADERS = ["ETag", "Retry-After", "WWW-Authenticate"]
REMEMBER_S = 600
"""How long a browser may remember that a page may call."""


class SecurityHeaders:
    """ASGI middleware: every answer says that it is no page, is not to be framed, kept or guessed.

    `https_only_s` is how long browsers are to come by HTTPS only; 0: nothing is said of that.
    """

    def __init__(self, app: ASGIApp, https_only_s: int = 0) -> None:
        self._app = app
        hsts = (b"strict-transport-security", b"max-age=%d; includeSubDomains" % https_only_s)
        self._always = (*SAFE, hsts) if https_only_s else SAFE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and add to its answer."""

        async def safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = self._with_ours(message.get("headers", ()))
            await send(message)

        await self._app(scope, receive, safely if scope["type"] == "http" else send)

    def _with_ours(self, given: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        said = {name for name, _ in given}
        return [*given, *self._always, *(pair for pair in UNLESS_SAID if pair[0] not in said)]


def add_security_headers(app: ASGIApp, origins: Sequence[str], https_only_s: int) -> ASGIApp:
    """The application as browsers may use it; pages of these origins may call it (`*`: of all).

    They call with a token, never with what the browser keeps by itself: credentials are not let in.
    """
    safe = SecurityHeaders(app, https_only_s)
    if not origins:
        return safe
    return CORSMiddleware(
        safe,
        allow_origins=list(origins),
        allow_methods=["GET", "POST"],
        allow_headers=ALLOWED_HEADERS,
        expose_headers=EXPOSED_HEADERS,
        max_age=REMEMBER_S,
    )
