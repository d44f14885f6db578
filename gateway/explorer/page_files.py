"""The explorer's page and its files, for browsers in development."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.graphql_http.compression import accepts_gzip, compress
from services.chassis.bodies import read_headers
from services.chassis.graphql_http.response import HttpResponse

PAGE = Path(__file__).parent / "page"
INDEX = "index.html"

MEDIA_TYPES: Mapping[str, str] = {
    "editor.js": "text/javascript",
    "explorer.js": "text/javascript",
    "explorer.css": "text/css",
    "examples.json": "application/json",
}
"""The files of the page; the page names each as `graphql/NAME`."""

POLICY = (
    b"default-src 'none'; script-src 'self'; connect-src 'self'; img-src data:; "
    b"style-src 'self'; style-src-attr 'unsafe-inline'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Attributes of style come from the browser: it styles what is typed over highlighted text."""
KEEP = (b"cache-control", b"public, max-age=31536000, immutable")
"""A file's address has the hash of its content, so that it never changes."""


class PageFiles:
    """The page as it is sent: each file in it by the hash of its content."""

    def __init__(self, folder: Path = PAGE) -> None:
        self._files = {name: (folder / name).read_bytes() for name in MEDIA_TYPES}
        text = (folder / INDEX).read_text()
        for name, content in self._files.items():
            text = text.replace(f"graphql/{name}", f"graphql/{name}?v={hash_content(content)}")
        self._page = text.encode()

    def before(self, endpoint: ASGIApp) -> ASGIApp:
        """The endpoint, with the page for a browser that asks for one."""

        async def respond(scope: Scope, receive: Receive, send: Send) -> None:
            headers = read_headers(scope)
            if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
                policy = [(b"content-security-policy", POLICY)]
                await HttpResponse(200, self._page, "text/html", policy).send(send)
            else:
                await endpoint(scope, receive, send)

        return respond

    def routes(self) -> list[Route]:
        return [
            Route(f"/graphql/{name}", _File(content, MEDIA_TYPES[name]), methods=["GET"])
            for name, content in self._files.items()
        ]


class _File:
    def __init__(self, content: bytes, media_type: str) -> None:
        self._content = content
        self._media_type = media_type
        self._version = b"v=" + hash_content(content).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_current = scope["query_string"] == self._version
        headers = [(b"vary", b"Accept-Encoding"), *([KEEP] if is_current else [])]
        response = HttpResponse(200, self._content, self._media_type, headers)
        if accepts_gzip(read_headers(scope).get("accept-encoding", "")):
            await compress(response)
        await response.send(send)


def hash_content(content: bytes) -> str:
    return sha256(content).hexdigest()[:16]
