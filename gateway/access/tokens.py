"""Tokens: callers' ones are checked here, those for the services are made here.

Both are JSON Web Tokens signed with Ed25519. They differ in audience, so neither passes for the
other: a caller cannot take his token past the gateway, and a service's token opens no door.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from time import time
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from services.chassis.errors import RaakError
from services.chassis.principal import ALGORITHM, ISSUER, NotAuthenticated, Principal
from services.chassis.principal import AUDIENCE as SERVICE_AUDIENCE
from services.contracts.words import OWN_CUSTOMER_ONLY, Role

CALLER_AUDIENCE = "raak"
SERVICE_TOKEN_S = 60
CLOCKS_DIFFER_S = 10
"""How far the clock of who issued a token may differ from ours."""
MAX_TOKEN_CHARS = 4_096
REMEMBERED = 10_000

RENEW = "Get a new one; locally: `raak token ROLE`."

REFUSALS: Mapping[type[jwt.InvalidTokenError], tuple[str, str]] = {
    jwt.ExpiredSignatureError: ("The token has expired.", RENEW),
    jwt.ImmatureSignatureError: (
        "The token is not valid yet.",
        "Wait for its `nbf`, or set the clock of who issued it.",
    ),
    jwt.InvalidAudienceError: (
        "The token is meant for someone else.",
        f"Its `aud` must be {CALLER_AUDIENCE!r}.",
    ),
    jwt.InvalidIssuerError: ("The token has another issuer.", f"Its `iss` must be {ISSUER!r}."),
    jwt.MissingRequiredClaimError: (
        "The token lacks a claim.",
        "It needs iss, aud, exp, sub and role.",
    ),
    jwt.InvalidAlgorithmError: (
        "The token is signed with an algorithm that is not allowed.",
        f"Only {ALGORITHM} is.",
    ),
    jwt.InvalidSignatureError: ("The token is not signed with our key.", RENEW),
}
"""What is wrong with a token and how to mend it; the first class that fits."""

UNREADABLE = ("The token is not a JSON Web Token that can be read.", RENEW)


class UnusableKey(RaakError):
    """A key file holds something else than the key that is needed."""

    code = "UNUSABLE_KEY"
    status = 500


class TokenCannotBe(RaakError):
    """A token is asked for that no role could use."""

    code = "TOKEN_CANNOT_BE"


def private_key(pem: str) -> Ed25519PrivateKey:
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


def public_key(pem: str) -> Ed25519PublicKey:
    """The checking key in a PEM text; raises UnusableKey."""
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise UnusableKey(
            "The key for callers' tokens is not an Ed25519 public key in PEM.",
            hint="Name the public half of the pair that signs them.",
        )
    return key


def issue_token(
    key: Ed25519PrivateKey,
    role: Role,
    subject: str,
    *,
    customer: Mapping[str, str] | None = None,
    lifetime_s: int = 3_600,
    now: float | None = None,
) -> str:
    """A caller's token. `customer` is whom a visitor or app speaks for.

    It is `{"id": …}` or `{"type": …, "value": …}`; other roles have none. `now` is in seconds
    since the epoch. Raises TokenCannotBe.
    """
    _check_customer(role, customer or {})
    claims = Principal(role, subject, tuple(sorted((customer or {}).items()))).claims()
    return _signed(key, claims, CALLER_AUDIENCE, time() if now is None else now, lifetime_s)


def _check_customer(role: Role, customer: Mapping[str, str]) -> None:
    if role in OWN_CUSTOMER_ONLY and set(customer) not in ({"id"}, {"type", "value"}):
        raise TokenCannotBe(
            f"A token of the role {role.value!r} must say which customer it speaks for.",
            hint="Give the customer's id, or the type and value of an identity.",
        )
    if role not in OWN_CUSTOMER_ONLY and customer:
        raise TokenCannotBe(
            f"A token of the role {role.value!r} speaks for no single customer.",
            hint="Leave the customer out, or take the role visitor or app.",
        )


def _signed(
    key: Ed25519PrivateKey, claims: dict[str, Any], audience: str, now: float, lifetime_s: int
) -> str:
    whole = int(now)
    stamped = {
        **claims,
        "iss": ISSUER,
        "aud": audience,
        "iat": whole,
        "nbf": whole,
        "exp": whole + lifetime_s,
    }
    return jwt.encode(stamped, key, algorithm=ALGORITHM)


class CallerTokens:
    """Checks callers' tokens, and remembers the good ones until they expire."""

    def __init__(self, key: Ed25519PublicKey, remembered: int = REMEMBERED) -> None:
        self._key = key
        self._remembered = remembered
        self._known: OrderedDict[str, tuple[float, Principal]] = OrderedDict()

    def principal(self, authorization: str) -> Principal:
        """The caller behind an `Authorization` header; raises NotAuthenticated."""
        known = self._known.get(authorization)
        if known and known[0] > time():
            return known[1]
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN_CHARS:
            raise NotAuthenticated(
                "The Authorization header holds no bearer token.",
                hint="Send `Authorization: Bearer <token>`; locally: `raak token ROLE`.",
            )
        expires, principal = self._checked(token)
        self._known[authorization] = (expires, principal)
        if len(self._known) > self._remembered:
            self._known.popitem(last=False)
        return principal

    def _checked(self, token: str) -> tuple[float, Principal]:
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[ALGORITHM],
                audience=CALLER_AUDIENCE,
                issuer=ISSUER,
                leeway=CLOCKS_DIFFER_S,
                options={"require": ["exp", "iss", "aud", "sub", "role"]},
            )
        except jwt.InvalidTokenError as error:
            problem, hint = _refusal(error)
            raise NotAuthenticated(problem, hint=hint) from None
        return float(claims["exp"]), _caller(claims)


def _refusal(error: jwt.InvalidTokenError) -> tuple[str, str]:
    return next((said for kind, said in REFUSALS.items() if isinstance(error, kind)), UNREADABLE)


def _caller(claims: dict[str, Any]) -> Principal:
    try:
        principal = Principal.from_claims(claims)
        _check_customer(principal.role, dict(principal.customer))
    except (AttributeError, ValueError, TokenCannotBe):
        roles = ", ".join(role.value for role in Role)
        raise NotAuthenticated(
            "The token's role and customer do not fit.",
            hint=f"`role` is one of {roles}; visitor and app name their `customer`, others none.",
        ) from None
    return principal


class ServiceTokens:
    """Makes the short-lived tokens by which services believe the gateway.

    One is used for half its life, so that it never expires on its way: signing costs 50 µs, the
    look-up one.
    """

    def __init__(
        self,
        key: Ed25519PrivateKey,
        remembered: int = REMEMBERED,
        clock: Callable[[], float] = time,
    ) -> None:
        self._clock = clock
        self._made = lru_cache(maxsize=remembered)(lambda principal: _Made())
        self._key = key

    def authorization(self, principal: Principal) -> str:
        """The `Authorization` header for a request made on behalf of this caller."""
        made = self._made(principal)
        now = self._clock()
        if now >= made.use_until:
            token = _signed(self._key, principal.claims(), SERVICE_AUDIENCE, now, SERVICE_TOKEN_S)
            made.header = f"Bearer {token}"
            made.use_until = now + SERVICE_TOKEN_S / 2
        return made.header


@dataclass(slots=True)
class _Made:
    header: str = ""
    use_until: float = 0.0
