"""Tokens by which the gateway authenticates to services: short-lived, each for one service.

They are JSON Web Tokens as callers' are, of another audience, so neither passes for the other: a
caller cannot take its token past the gateway, and a service's token opens neither the gateway nor
another service.
"""

from collections.abc import Callable
from time import time
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.supergraph.lru import Lru
from services.chassis.principal import ALGORITHM, ISSUER, Principal, UnusableKey, audience_of

SERVICE_TOKEN_S = 60
REMEMBERED = 40_000
"""Tokens that are used again: some four for each caller, one a service."""


def load_private_key(pem: str) -> Ed25519PrivateKey:
    """The signing key in a PEM text; raises UnusableKey."""
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise UnusableKey(
            "The signing key is not an Ed25519 private key in PEM without a password.",
            hint="Make a key pair with `raak keys init`.",
        )
    return key


def sign(
    key: Ed25519PrivateKey,
    claims: dict[str, Any],
    audience: str,
    now: float,
    lifetime_s: int,
    kid: str | None = None,
) -> str:
    """A token with these claims, good from now on. `kid` names its key, if there are several."""
    whole = int(now)
    stamped = {
        **claims,
        "iss": ISSUER,
        "aud": audience,
        "iat": whole,
        "nbf": whole,
        "exp": whole + lifetime_s,
    }
    return jwt.encode(stamped, key, ALGORITHM, headers={"kid": kid} if kid else None)


class ServiceTokens:
    """Makes the tokens for services.

    Each is used for half its life, so that it never expires on its way:
    signing costs 50 µs, the look-up one.
    """

    def __init__(
        self,
        key: Ed25519PrivateKey,
        remembered: int = REMEMBERED,
        clock: Callable[[], float] = time,
    ) -> None:
        self._clock = clock
        self._key = key
        self._headers: Lru[tuple[str, float]] = Lru(remembered)
        """By caller and service, each with the moment until which it is used."""

    def authorization(self, principal: Principal, service: str) -> str:
        """The `Authorization` header for a request to a service on behalf of this caller."""
        now = self._clock()
        header, use_until = self._headers.get((principal, service)) or ("", now)
        if now >= use_until:
            claims, audience = principal.claims(), audience_of(service)
            header = f"Bearer {sign(self._key, claims, audience, now, SERVICE_TOKEN_S)}"
            self._headers.put((principal, service), (header, now + SERVICE_TOKEN_S / 2))
        return header
