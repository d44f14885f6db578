"""Tokens for whoever looks at the explorer, in development.

A page of another origin must not get one, nor may a page whose name was made to point here (DNS
rebinding), nor a client of another machine. So a request passes only if all of this holds:

- its peer is in a network of the setting, by default this machine, and no proxy says it stands
  between;
- `Host` is `localhost` or an address: those cannot be made to point elsewhere;
- `Origin` is that host, and `Sec-Fetch-Site`, which pages cannot set, says so where it is sent;
- the body is JSON, for which a browser asks before it sends it for another origin.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address, ip_network
from time import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.access.authentication.caller_tokens import InvalidTokenRequest, issue_token
from services.chassis.bodies import BodyLimits, read_headers
from services.chassis.errors import RaakError, nearest
from services.chassis.graphql_http.request import read_request
from services.contracts.enums import Role

log = logging.getLogger(__name__)

PATH = "/graphql/token"
SUBJECT = "explorer"
LIFETIME_S = 3_600
PROXY_HEADERS = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
"""What proxies add: then the peer is not who asks."""


class TokenNotOffered(RaakError, code="TOKEN_NOT_OFFERED", status=403):
    """The explorer makes no token for this client, or for this page."""


class TokenEndpoint:
    """`POST /graphql/token`. `key` signs callers' tokens; clients of `networks` may have one."""

    def __init__(
        self,
        key: Ed25519PrivateKey,
        networks: Sequence[str],
        limits: BodyLimits,
        lifetime_s: int = LIFETIME_S,
        clock: Callable[[], float] = time,
    ) -> None:
        self._key = key
        self._networks = [ip_network(network, strict=False) for network in networks]
        self._limits = limits
        self._lifetime_s = lifetime_s
        self._clock = clock

    def routes(self) -> list[Route]:
        return [Route(PATH, self._respond, methods=["POST"])]

    async def _respond(self, request: Request) -> Response:
        headers = read_headers(request.scope)
        self._check_peer(request.client.host if request.client else "", headers)
        check_page(headers)
        value = await read_request(request.scope, request.receive, headers, self._limits)
        role, customer = _read_token_request(value)
        now = self._clock()
        token = issue_token(
            self._key, role, SUBJECT, customer=customer, lifetime_s=self._lifetime_s, now=now
        )
        log.info("the explorer made a token", extra={"fields": {"role": role.value}})
        expires_at = datetime.fromtimestamp(now + self._lifetime_s, UTC)
        return JSONResponse({"token": token, "expiresAt": expires_at.isoformat()})

    def _check_peer(self, peer: str, headers: Mapping[str, str]) -> None:
        address = _address(peer)
        if address is None or not any(address in network for network in self._networks):
            raise TokenNotOffered(
                f"The explorer makes no tokens for clients at {peer!r}.",
                hint="Make one by `raak token ROLE`, or add the network to "
                "RAAK_GATEWAY_EXPLORER_TOKEN_NETWORKS.",
            )
        if between := [name for name in PROXY_HEADERS if name in headers]:
            raise TokenNotOffered(
                f"The request came through a proxy (`{between[0]}`), for nobody knows whom.",
                hint="Open the gateway itself, or make a token by `raak token ROLE`.",
            )


def check_page(headers: Mapping[str, str]) -> None:
    """Raise TokenNotOffered unless the explorer of this very gateway sent the request."""
    host, origin = headers.get("host", ""), headers.get("origin", "")
    if not _is_unmistakable(host):
        raise TokenNotOffered(
            f"The gateway was reached as {host[:100]!r}, a name that may point anywhere.",
            hint="Open the explorer at http://localhost or at the gateway's address.",
        )
    is_same = origin in (f"http://{host}", f"https://{host}")
    if not is_same or headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise TokenNotOffered(
            f"The page at {origin[:100]!r} is not the explorer of {host!r}.",
            hint="Only the explorer is given tokens here; make one by `raak token ROLE`.",
        )


def _is_unmistakable(host: str) -> bool:
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        name, port = host, "0"
    if not port.isdecimal():
        return False
    if name.startswith("[") and name.endswith("]"):
        return isinstance(_address(name[1:-1]), IPv6Address)
    return name == "localhost" or (":" not in name and _address(name) is not None)


def _address(text: str) -> Any:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _read_token_request(value: Any) -> tuple[Role, dict[str, str]]:
    if not isinstance(value, dict):
        raise InvalidTokenRequest(
            "The body is not an object.", hint='Send one like {"role": "agent"}.'
        )
    role, customer = value.get("role"), value.get("customer") or {}
    if role not in tuple(Role):
        raise InvalidTokenRequest(
            f"`role` is {str(role)[:60]!r}, which is no role.", hint=nearest(str(role), Role)
        )
    if not isinstance(customer, dict) or not all(
        isinstance(text, str) and text for text in customer.values()
    ):
        raise InvalidTokenRequest(
            "`customer` is not an object of texts that are not empty.",
            hint='Send {"id": …}, or {"type": …, "value": …}.',
        )
    return Role(role), customer
