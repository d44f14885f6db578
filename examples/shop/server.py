"""The shop's server: it serves the page, knows who is logged in, and holds the key to Raak.

The page gets two things of it that only a server may give: a token for the one customer before it
(`POST /token`), and at a login a signed claim that says who now uses this browser (`POST /login`).
"""

import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PAGE = Path(__file__).parent / "page"
COOKIE = "shop_session"
VISITOR_ID = re.compile(r"[0-9a-f]{32}")
E_MAIL = re.compile(r"[\w.+-]{1,64}@[\w-]+(\.[\w-]+)+")
MINUTES = 15


@dataclass(frozen=True)
class Raak:
    """Where Raak is, and what the shop needs of it."""

    url: str
    write_key: str
    """Public: the page sends its events with it."""
    api_key: str = field(repr=False)
    """Secret, with the scope `tokens:issue` and no other."""
    claim_secret: str = field(repr=False)


class Refusal(Exception):
    """A request of the page that the shop does not answer."""


@dataclass
class Shop:
    raak: Raak
    client: httpx.AsyncClient
    sessions: dict[str, str] = field(default_factory=dict)
    """Who is logged in: user ids by the value of the cookie. A real shop has them already."""

    async def show_session(self, request: Request) -> Response:
        """What the page has to know before it begins."""
        user_id = self._find_user(request)
        return JSONResponse(
            {"raakUrl": self.raak.url, "writeKey": self.raak.write_key, "userId": user_id}
        )

    async def give_token(self, request: Request) -> Response:
        visitor = await read_visitor_id(request)
        if user_id := self._find_user(request):
            who = {"role": "app", "customer": {"type": "user_id", "value": user_id}}
        else:
            who = {"role": "visitor", "customer": {"type": "anonymous_id", "value": visitor}}
        answer = await self.client.post(
            f"{self.raak.url}/tokens",
            json={**who, "minutes": MINUTES},
            headers={"X-API-Key": self.raak.api_key},
        )
        if answer.status_code != 200:
            return JSONResponse({"problem": "Raak gives no token now."}, 503)
        return JSONResponse({"token": answer.json()["token"]})

    async def log_in(self, request: Request) -> Response:
        """Pretend to: whoever names an e-mail address is believed. Yours asks for a password."""
        visitor = await read_visitor_id(request)
        email = (await request.json()).get("email")
        if not isinstance(email, str) or not E_MAIL.fullmatch(email):
            raise Refusal("`email` is no e-mail address. Try cdnow-00042@example.com.")
        user_id, session = email.partition("@")[0], secrets.token_urlsafe()
        self.sessions[session] = user_id
        now = datetime.now(UTC)
        claim = {
            "aud": "raak-claim",
            "exp": now + timedelta(minutes=MINUTES),
            "anonymous_id": visitor,
            "user_id": user_id,
        }
        signed = jwt.encode(claim, self.raak.claim_secret, "HS256")
        response = JSONResponse({"userId": user_id, "claim": signed})
        secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, session, httponly=True, samesite="lax", secure=secure)
        return response

    async def log_out(self, request: Request) -> Response:
        self.sessions.pop(request.cookies.get(COOKIE, ""), None)
        response = JSONResponse({})
        response.delete_cookie(COOKIE)
        return response

    def _find_user(self, request: Request) -> str | None:
        return self.sessions.get(request.cookies.get(COOKIE, ""))


async def read_visitor_id(request: Request) -> str:
    """The id of the browser, which its page made; raises Refusal.

    JSON only: a page of another site cannot send it without asking first, and is not allowed to.
    """
    if request.headers.get("content-type") != "application/json":
        raise Refusal("The body is not JSON. Send it as application/json.")
    try:
        value = (await request.json()).get("visitorId")
    except (ValueError, AttributeError):
        raise Refusal("The body is no JSON object.") from None
    if not isinstance(value, str) or not VISITOR_ID.fullmatch(value):
        raise Refusal("`visitorId` is not what the page's client makes: 32 digits of hex.")
    return value


async def refuse(_: Request, refusal: Exception) -> Response:
    return JSONResponse({"problem": str(refusal)}, 400)


class PageSecurity:
    """ASGI middleware: the page loads its own files only, and speaks with the shop and Raak."""

    def __init__(self, app: ASGIApp, raak_url: str) -> None:
        policy = (
            f"default-src 'self'; connect-src 'self' {raak_url}; "
            "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
        )
        self._app = app
        self._headers = [
            (b"content-security-policy", policy.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"same-origin"),
            (b"cache-control", b"no-cache"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._headers]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def create(raak: Raak, client: httpx.AsyncClient) -> Starlette:
    """The shop as an application. `client` sends its requests to Raak."""
    shop = Shop(raak, client)
    posts: dict[str, Callable[[Request], Awaitable[Response]]] = {
        "/token": shop.give_token,
        "/login": shop.log_in,
        "/logout": shop.log_out,
    }
    handlers: dict[Any, Any] = {Refusal: refuse}
    return Starlette(
        routes=[
            Route("/", lambda _: FileResponse(PAGE / "index.html")),
            Route("/session", shop.show_session),
            *(Route(path, endpoint, methods=["POST"]) for path, endpoint in posts.items()),
            Mount("/", StaticFiles(directory=PAGE)),
        ],
        middleware=[Middleware(PageSecurity, raak_url=raak.url)],
        exception_handlers=handlers,
    )
