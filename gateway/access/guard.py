"""The guard at the door of every protocol: it knows addresses and credentials, not their meaning.

It counts failed authentications by client address, whatever the protocol (an answer 401, or a
websocket closed as unauthorized), limits what comes without a credential by address too, and lets
ingest in as such. Who is behind a credential, and what he asks, the graph finds out; it asks the
same `Admission`. Health and metrics pass unguarded.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.access.rates import FailedAuthentications, TryLater
from gateway.access.shedding import Admission, Class, Ticket, Work
from services.chassis.bodies import headers_of
from services.chassis.errors import RaakError
from services.chassis.graphql_http import LEGACY, Answer, extra_headers, media_type_for, told

Network = IPv4Network | IPv6Network

UNGUARDED = ("/health", "/metrics")
INGEST_PATH = "/v1/"
INGEST = Work(Class.INGEST, INGEST_PATH)
"""What comes to the surface that takes in events."""

CREDENTIALS = (b"authorization", b"x-api-key")
UNAUTHORIZED = (4401, 4403)
"""What graphql-transport-ws closes with when it is not told who asks, or does not believe it."""
LET_IN = "raak.let_in"
"""True in the scope of a websocket whose client was believed: what he brought may expire, which is
no guess at a token."""


class Addresses:
    """Finds out from which address a request really came.

    `X-Forwarded-For` is believed as far as it was written by proxies of the networks `trusted`,
    since anybody can send it. Addresses of IPv6 count by /64, which is what one customer gets.
    """

    def __init__(self, trusted: Sequence[str] = (), remembered: int = 10_000) -> None:
        self._trusted = tuple(ip_network(network, strict=False) for network in trusted)
        self._read: Callable[[str, str], str] = lru_cache(maxsize=remembered)(self._find)

    def of(self, scope: Scope) -> str:
        """The address of a request's client, or its network."""
        peer = (scope.get("client") or ("unknown",))[0]
        forwarded = _header(scope, b"x-forwarded-for") if self._trusted else b""
        return self._read(peer, forwarded.decode("latin-1"))

    def _find(self, peer: str, forwarded: str) -> str:
        found = _address(peer)
        for written in reversed(forwarded.split(",") if forwarded else ()):
            before = _address(written.strip())
            if found is None or before is None or not self._is_trusted(found):
                break
            found = before
        if isinstance(found, IPv6Address):
            return str(ip_network((found, 64), strict=False))
        return peer if found is None else str(found)

    def _is_trusted(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._trusted)


def _address(written: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(written)
    except ValueError:
        return None


def _header(scope: Scope, *names: bytes) -> bytes:
    for name, value in scope["headers"]:
        if name in names:
            return bytes(value)
    return b""


class Guard:
    """ASGI middleware before everything else."""

    def __init__(
        self,
        app: ASGIApp,
        admission: Admission,
        failures: FailedAuthentications,
        addresses: Addresses,
    ) -> None:
        self._app = app
        self._admission = admission
        self._failures = failures
        self._addresses = addresses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it before any of it is read."""
        if scope["type"] == "lifespan" or scope["path"].startswith(UNGUARDED):
            await self._app(scope, receive, send)
            return
        address, credential = self._addresses.of(scope), _header(scope, *CREDENTIALS)
        is_ingest = scope["path"].startswith(INGEST_PATH)
        try:
            ticket = self._let_in(address, credential, is_ingest=is_ingest)
        except TryLater as refusal:
            await refuse(scope, send, refusal)
            return
        watch = _Watch(scope, send, address, credential, self._failures, is_ingest=is_ingest)
        if ticket is None:
            await self._app(scope, receive, watch)
            return
        with ticket:
            await self._app(scope, receive, watch)
            ticket.is_whole = watch.status < 400

    def _let_in(self, address: str, credential: bytes, *, is_ingest: bool) -> Ticket | None:
        """A ticket for what is known to be ingest; raises RateLimited or Overloaded."""
        self._failures.check(address, credential)
        if is_ingest or not credential:
            self._admission.arrive(address)
        return self._admission.enter(address, INGEST) if is_ingest else None


class _Watch:
    """Passes an answer on, and notes whether the credential was good."""

    __slots__ = ("_address", "_credential", "_failures", "_is_ingest", "_scope", "_send", "status")

    def __init__(
        self,
        scope: Scope,
        send: Send,
        address: str,
        credential: bytes,
        failures: FailedAuthentications,
        *,
        is_ingest: bool,
    ) -> None:
        self._scope = scope
        self._send = send
        self._address = address
        self._credential = credential
        self._failures = failures
        self._is_ingest = is_ingest
        self.status = 500

    async def __call__(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            self.status = message["status"]
            self._note()
        elif kind == "websocket.close" and self._is_refused(message):
            self._failures.failed(self._address, self._credential)
        await self._send(message)

    def _is_refused(self, closing: Message) -> bool:
        return closing.get("code") in UNAUTHORIZED and not self._scope.get(LET_IN)

    def _note(self) -> None:
        """Ingest may carry its key in the body, everybody else's is in a header."""
        if self.status == 401 and (self._credential or self._is_ingest):
            self._failures.failed(self._address, self._credential)
        elif self.status < 300 and self._credential:
            self._failures.passed(self._address, self._credential)


async def refuse(scope: Scope, send: Send, refusal: TryLater) -> None:
    """Answer a request with a refusal, in the way of who was asked."""
    if scope["type"] == "websocket":
        extension = "websocket.http.response"
        if extension not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1013, "reason": refusal.code})
            return
        answer = Answer(refusal.status, b"", LEGACY, extra_headers(refusal))
        await answer.send(lambda message: send({**message, "type": f"websocket.{message['type']}"}))
    elif scope["path"].startswith("/graphql"):
        body = orjson.dumps({"errors": [told(refusal)]})
        await Answer(refusal.status, body, _media_type(scope), extra_headers(refusal)).send(send)
    else:
        body = orjson.dumps({"success": False, "error": refusal.as_json()})
        await Answer(refusal.status, body, LEGACY, extra_headers(refusal)).send(send)


def _media_type(scope: Scope) -> str:
    try:
        return media_type_for(headers_of(scope))
    except RaakError:
        return LEGACY
