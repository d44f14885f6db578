"""`/v1/*`: the Segment HTTP tracking API, so that existing libraries work by changing one address.

The gateway checks the write key and the size, and hands the bytes to profile as they came: what an
event may hold is profile's to say.
"""

from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import aiohttp
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.access.tokens import ServiceTokens
from services.chassis import telemetry
from services.chassis.bodies import BodyLimits, headers_of, read_body
from services.chassis.errors import RaakError, Unavailable
from services.chassis.principal import Principal
from services.contracts.words import Role

CALLS: Mapping[str, str] = {
    "track": "track",
    "identify": "identify",
    "alias": "alias",
    "group": "group",
    "page": "page",
    "screen": "screen",
    "batch": "batch",
    "t": "track",
    "i": "identify",
    "a": "alias",
    "g": "group",
    "p": "page",
    "s": "screen",
    "b": "batch",
}
"""Profile's call for each name; libraries for browsers and phones use the letters."""

SENDER = Principal(Role.APP, "segment")
"""Who profile sees behind a write key: an app that speaks for no customer, so it reads none."""


class InvalidWriteKey(RaakError):
    """Events came with a write key that is not one of ours, or with none."""

    code = "INVALID_WRITE_KEY"
    status = 401


class UnreadableBody(RaakError):
    """A body had to be read for its write key, and cannot be."""

    code = "UNREADABLE_BODY"


class ProfileUnavailable(Unavailable):
    """Profile cannot take events now."""

    code = "PROFILE_UNAVAILABLE"


class WriteKeys:
    """The keys that may send events; kept as digests, so that how long a look-up takes says
    nothing of them.
    """

    def __init__(self, keys: tuple[str, ...]) -> None:
        self._digests = frozenset(map(_digest, keys))

    def check(self, key: str | None) -> None:
        """Raise InvalidWriteKey unless it is one of them."""
        if key is None:
            raise InvalidWriteKey(
                "The request carries no write key.",
                hint="Send it as the user name of Basic authentication, or as `writeKey`.",
            )
        if _digest(key) not in self._digests:
            raise InvalidWriteKey(
                "The write key is not known here.",
                hint="Use one of RAAK_GATEWAY_WRITE_KEYS; `raak up` prints its own.",
            )


def _digest(key: str) -> bytes:
    return sha256(key.encode(errors="surrogatepass")).digest()


class Profile:
    """Profile's door for events. `session` may keep connections; `within_s` is for one call."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, tokens: ServiceTokens, within_s: float
    ) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._tokens = tokens
        self._timeout = aiohttp.ClientTimeout(total=within_s)

    async def collect(self, call: str, body: bytes, content_type: str) -> Response:
        """Hand one call over and give profile's answer back; raises ProfileUnavailable."""
        try:
            async with self._session.post(
                f"{self._url}/collect/v1/{call}",
                data=body,
                headers=self._headers(content_type),
                timeout=self._timeout,
                allow_redirects=False,
            ) as answer:
                return _passed_on(answer.status, await answer.read(), answer.content_type)
        except TimeoutError:
            raise ProfileUnavailable(
                "Profile did not store the events in time.", hint="Send them again shortly."
            ) from None
        except (aiohttp.ClientError, OSError):
            raise ProfileUnavailable(
                "Profile does not answer; nothing was stored.",
                hint="Send the events again shortly.",
            ) from None

    def _headers(self, content_type: str) -> dict[str, str]:
        headers = {
            "Authorization": self._tokens.authorization(SENDER),
            "Content-Type": content_type,
        }
        traceparent = telemetry.traceparent()
        return headers | {"traceparent": traceparent} if traceparent else headers


def _passed_on(status: int, body: bytes, content_type: str) -> Response:
    """Profile's answer, except one that libraries would take for a reason to drop their events."""
    if status in (401, 403, 404):
        raise ProfileUnavailable(
            "Profile does not take events from this gateway.",
            hint="Both need one key pair and one release. Send the events again later.",
        )
    headers = {"Retry-After": "1"} if status in (429, 503) else None
    return Response(body, status, headers, content_type)


class Segment:
    """The surface: one route for all calls."""

    def __init__(self, keys: WriteKeys, profile: Profile, limits: BodyLimits) -> None:
        self._keys = keys
        self._profile = profile
        self._limits = limits

    def routes(self) -> list[Route]:
        """A route for each name a call has."""
        return [Route(f"/v1/{name}", self._collect, methods=["POST"]) for name in CALLS]

    async def _collect(self, request: Request) -> Response:
        try:
            return await self._collected(request)
        except RaakError as refusal:
            return _refused(refusal)

    async def _collected(self, request: Request) -> Response:
        headers = headers_of(request.scope)
        authorization = headers.get("authorization")
        if authorization is not None:
            self._keys.check(_user_name(authorization))
        body = await read_body(request.receive, headers, self._limits)
        if authorization is None:
            self._keys.check(_key_inside(body))
        call = CALLS[request.url.path.rpartition("/")[2]]
        content_type = headers.get("content-type", "application/json")
        return await self._profile.collect(call, body, content_type)


def _user_name(authorization: str) -> str | None:
    """The user name of Basic authentication; None if the header holds something else."""
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return b64decode(credentials, validate=True).decode().partition(":")[0]
    except (NotBase64, ValueError):
        return None


def _key_inside(body: bytes) -> str | None:
    """The `writeKey` of a body; raises UnreadableBody."""
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UnreadableBody(
            f"The body is not JSON in UTF-8 (line {error.lineno}, column {error.colno}), and there "
            "is no Authorization header.",
            hint="Send JSON, whatever the content type says, and the write key with it.",
        ) from None
    key = document.get("writeKey") if isinstance(document, dict) else None
    return key if isinstance(key, str) else None


def _refused(refusal: RaakError) -> Response:
    headers = {
        401: {"WWW-Authenticate": 'Basic realm="write key"'},
        503: {"Retry-After": "1"},
    }.get(refusal.status)
    body = orjson.dumps({"success": False, "error": refusal.as_json()})
    return Response(body, refusal.status, headers, "application/json")
