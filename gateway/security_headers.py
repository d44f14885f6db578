"""Headers of every response that restrict browsers, and CORS: which pages may call."""

import re
from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
)
DEFAULT_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""Where an endpoint has not set its own."""

EXPOSED_HEADERS = ["ETag", "Retry-After", "WWW-Authenticate", "X-Raak-In-Production"]
PREFLIGHT_MAX_AGE_S = 600
"""How long a browser may remember that a page may call."""

LOCAL_ORIGINS = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"
"""Pages under development, on the machine of whoever looks at them."""


def allows_origin(origins: Sequence[str], origin: str, *, allows_local_pages: bool) -> bool:
    """Whether pages of an origin may call."""
    is_local = allows_local_pages and re.fullmatch(LOCAL_ORIGINS, origin) is not None
    return is_local or origin in origins or "*" in origins


class SecurityHeaders:
    """ASGI middleware: no response is to be framed, cached, or taken for a page.

    `https_only_s` is how long browsers are to use HTTPS only; 0: no such header.
    """

    def __init__(self, app: ASGIApp, https_only_s: int = 0) -> None:
        self._app = app
        hsts = (b"strict-transport-security", b"max-age=%d; includeSubDomains" % https_only_s)
        self._always = (*SECURITY_HEADERS, hsts) if https_only_s else SECURITY_HEADERS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = self._add(message.get("headers", ()))
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)

    def _add(self, headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        names = {name for name, _ in headers}
        defaults = (pair for pair in DEFAULT_HEADERS if pair[0] not in names)
        return [*headers, *self._always, *defaults]


def add_security_headers(
    app: ASGIApp, origins: Sequence[str], https_only_s: int, *, allows_local_pages: bool = False
) -> ASGIApp:
    """The application with its security headers; pages of these origins may call it (`*`: of all).

    They call with a token, never with cookies: CORS does not allow credentials, so that any header
    may come, such as those of tracing and of GraphQL clients.
    """
    app = SecurityHeaders(app, https_only_s)
    if not origins and not allows_local_pages:
        return app
    return CORSMiddleware(
        app,
        allow_origins=list(origins),
        allow_origin_regex=LOCAL_ORIGINS if allows_local_pages else None,
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        expose_headers=EXPOSED_HEADERS,
        max_age=PREFLIGHT_MAX_AGE_S,
    )
