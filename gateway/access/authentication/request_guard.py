"""Limits by client address, for every protocol, before any of a request is read.

It counts failed authentications by client address, whatever the protocol (an answer 401, or a
websocket closed as unauthorized), and limits requests without a credential by address too. The
caller behind a credential has limits of its own, in the same `Admission`. Health and metrics pass
unguarded.
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

from gateway.access.authentication.attempts import (
    AuthenticationAttempt,
    FailedAuthentications,
    current_attempt,
)
from gateway.access.limits.load_shedding import Admission, WorkClass, Workload
from gateway.access.limits.rate_limits import TryLater
from services.chassis.bodies import read_headers
from services.chassis.errors import RaakError
from services.chassis.graphql_http.media_types import LEGACY, negotiate_media_type
from services.chassis.graphql_http.response import HttpResponse, format_error, refusal_headers

Network = IPv4Network | IPv6Network

UNGUARDED = ("/health", "/metrics")
INGEST_PATH = "/v1/"
INGEST = Workload(WorkClass.INGEST, INGEST_PATH)
"""What comes to the surface that takes in events."""

CREDENTIALS = (b"authorization", b"x-api-key")
UNAUTHORIZED = (4401, 4403)
"""What graphql-transport-ws closes with when a client does not authenticate, or fails to."""


class ClientAddresses:
    """Finds the address a request came from.

    `X-Forwarded-For` counts as far as it was written by proxies of the networks `trusted`,
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


class RequestGuard:
    """ASGI middleware before everything else."""

    def __init__(
        self,
        app: ASGIApp,
        admission: Admission,
        failures: FailedAuthentications,
        addresses: ClientAddresses,
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
        address, has_credential = self._addresses.of(scope), bool(_header(scope, *CREDENTIALS))
        is_ingest = scope["path"].startswith(INGEST_PATH)
        try:
            self._check(address, has_credential=has_credential, is_ingest=is_ingest)
        except TryLater as refusal:
            await refuse(scope, send, refusal)
            return
        attempt = AuthenticationAttempt(address, self._failures.is_suspect(address))
        current_attempt.set(attempt)
        may_guess = has_credential or is_ingest
        watch = _ResponseWatch(scope, send, attempt, self._failures, may_guess=may_guess)
        await self._app(scope, receive, watch)

    def _check(self, address: str, *, has_credential: bool, is_ingest: bool) -> None:
        """Raise RateLimited for too much without a credential, or Overloaded for ingest. No place
        is held before a request has been read, since a slow sender would take it from others.
        """
        if not has_credential:
            self._admission.arrive(("ingest" if is_ingest else "nobody", address))
        if is_ingest:
            self._admission.check(INGEST)


class _ResponseWatch:
    """Passes an answer on, unless it refuses one bad credential too many: that one has to wait."""

    __slots__ = ("_attempt", "_failures", "_is_over", "_may_guess", "_scope", "_send")

    def __init__(
        self,
        scope: Scope,
        send: Send,
        attempt: AuthenticationAttempt,
        failures: FailedAuthentications,
        *,
        may_guess: bool,
    ) -> None:
        self._scope = scope
        self._send = send
        self._attempt = attempt
        self._failures = failures
        self._may_guess = may_guess
        """Ingest may carry its key in the body, everybody else's is in a header."""
        self._is_over = False

    async def __call__(self, message: Message) -> None:
        if self._is_over:
            return
        kind = message["type"]
        if kind == "http.response.start" and message["status"] == 401 and self._may_guess:
            if (refusal := self._failed()) is not None:
                self._is_over = True
                await refuse(self._scope, self._send, refusal)
                return
        elif kind == "websocket.close" and message.get("code") in UNAUTHORIZED:
            self._failed()
        await self._send(message)

    def _failed(self) -> TryLater | None:
        return None if self._attempt.is_genuine else self._failures.failed(self._attempt.address)


async def refuse(scope: Scope, send: Send, refusal: TryLater) -> None:
    """Answer a request with a refusal, in the form of its protocol."""
    if scope["type"] == "websocket":
        extension = "websocket.http.response"
        if extension not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1013, "reason": refusal.code})
            return
        answer = HttpResponse(refusal.status, b"", LEGACY, refusal_headers(refusal))
        await answer.send(lambda message: send({**message, "type": f"websocket.{message['type']}"}))
    elif scope["path"].startswith("/graphql"):
        body = orjson.dumps({"errors": [format_error(refusal)]})
        await HttpResponse(refusal.status, body, _media_type(scope), refusal_headers(refusal)).send(
            send
        )
    else:
        body = orjson.dumps({"success": False, "error": refusal.as_json()})
        await HttpResponse(refusal.status, body, LEGACY, refusal_headers(refusal)).send(send)


def _media_type(scope: Scope) -> str:
    try:
        return negotiate_media_type(read_headers(scope))
    except RaakError:
        return LEGACY
