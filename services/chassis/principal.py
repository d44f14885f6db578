"""The caller: the gateway names it in a short-lived signed token, which services verify."""

import logging
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from services.chassis.clock import Clock, utc_now
from services.chassis.errors import RaakError
from services.contracts.enums import OWN_CUSTOMER_ONLY, Role, SenderClass
from services.contracts.identity import KNOWN_TYPES

log = logging.getLogger(__name__)

ISSUER = "raak"
ALGORITHM = "EdDSA"
CLOCK_SKEW_S = 10
"""How far the clock of who issued a token may differ from ours."""


TIME_ERRORS = (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError)
"""Errors of a token that depend on the time."""
KEY_PAIR_HINT = "Gateway and service must share one key pair, and their clocks must agree."

SUBJECT_OF_KEYS = "key:"
"""Prefix of an API key's subject."""
IDENTITIES = "identities:read"
"""The scope to read identities."""
LOOKUP_POLICY = "lookup"
"""The policy of roles that may look customers up by an identity such as an e-mail address. A token
or key with fewer scopes has it too."""
SERVER_POLICY = "server"
"""The policy of servers that send events with an API key, which is secret."""


def audience_of(service: str) -> str:
    """`aud` of the internal tokens for one service; no other takes them."""
    return f"raak-{service}"


class NotAuthenticated(RaakError, code="UNAUTHENTICATED", status=401):
    """A request reached a service without a token of the gateway."""


class UnusableKey(RaakError, code="UNUSABLE_KEY", status=500):
    """A key file holds something else than the key that is needed."""


class Forbidden(RaakError, code="FORBIDDEN", status=403):
    """The caller is known, but may not have this."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller: its role, its name, and the customer it speaks for, where its role has one.

    `customer` is `{"id": …}` or `{"type": …, "value": …}`.
    """

    role: Role
    subject: str
    customer: tuple[tuple[str, str], ...] = ()
    scopes: frozenset[str] = frozenset()
    """What it may do, as @requiresScopes names it: the scopes of its role, or fewer."""
    policies: frozenset[str] = frozenset()
    """The policies that hold for it, as @policy names them."""

    @property
    def own_customer_only(self) -> bool:
        return self.role in OWN_CUSTOMER_ONLY

    @property
    def can_identify(self) -> bool:
        """Whether it may read identities: by its scope, or because it speaks for that customer."""
        return self.own_customer_only or IDENTITIES in self.scopes

    def check_lookup(self, type: str) -> None:
        """Raise Forbidden if it may not name customers by identities of this type."""
        if type in KNOWN_TYPES and not (self.own_customer_only or LOOKUP_POLICY in self.policies):
            raise Forbidden(
                f"The role {self.role.value!r} may not name a customer by {type}: the answer would "
                "reveal who they are.",
                hint="Name the customer by id, or use a role with the policy `lookup`.",
            )

    @property
    def customer_ref(self) -> dict[str, str] | None:
        return dict(self.customer) or None

    @property
    def sender_class(self) -> SenderClass:
        """How far its word is believed."""
        if self.role is Role.VISITOR:
            return SenderClass.VISITOR
        if self.role is Role.APP and SERVER_POLICY not in self.policies:
            return SenderClass.APP if self.customer else SenderClass.WRITE_KEY
        is_key = self.subject.startswith(SUBJECT_OF_KEYS)
        return SenderClass.SERVER if is_key else SenderClass.STAFF

    def claims(self) -> dict[str, Any]:
        return {
            "role": self.role.value,
            "sub": self.subject,
            "customer": dict(self.customer),
            "scope": " ".join(sorted(self.scopes)),
            "policies": sorted(self.policies),
        }

    @classmethod
    def from_claims(cls, claims: dict[str, Any]) -> "Principal":
        """The principal of claims; raises KeyError or ValueError when the claims do not fit."""
        customer = claims.get("customer") or {}
        if not isinstance(customer, dict):
            raise ValueError("customer")
        pairs = tuple(sorted((str(k), str(v)) for k, v in customer.items()))
        return cls(
            role=Role(claims["role"]),
            subject=str(claims["sub"]),
            customer=pairs,
            scopes=frozenset(str(claims.get("scope") or "").split()),
            policies=frozenset(map(str, claims.get("policies") or ())),
        )


class ServiceTokenVerifier:
    """Verifies internal tokens for one service, and caches them until they expire.

    Checking a signature takes 100 µs. Raises UnusableKey.
    """

    def __init__(
        self, key_file: Path, service: str, max_cached: int = 10_000, clock: Clock = utc_now
    ) -> None:
        self._key = _public_key(key_file)
        self._audience = audience_of(service)
        self._max_cached = max_cached
        self._clock = clock
        self._cache: OrderedDict[str, tuple[float, Principal]] = OrderedDict()

    def principal(self, authorization: str | None) -> Principal:
        """The caller behind an `Authorization` header; raises NotAuthenticated."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise NotAuthenticated(
                "This service answers the gateway only, and the request carries no token of it.",
                hint="Send the request to the gateway.",
            )
        cached = self._cache.get(token)
        if cached and cached[0] > self._clock().timestamp():
            return cached[1]
        return self._verify(token)

    def _verify(self, token: str) -> Principal:
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[ALGORITHM],
                audience=self._audience,
                issuer=ISSUER,
                leeway=CLOCK_SKEW_S,
                options={"require": ["exp", "sub"]},
            )
            if claims["exp"] <= self._clock().timestamp():
                raise jwt.ExpiredSignatureError
            principal = Principal.from_claims(claims)
        except TIME_ERRORS as error:
            raise self._clock_skew_error(token, error) from None
        except (jwt.InvalidTokenError, KeyError, ValueError, TypeError, OverflowError) as error:
            raise NotAuthenticated(
                f"The internal token is not valid ({type(error).__name__}).",
                hint=KEY_PAIR_HINT,
            ) from None
        self._cache[token] = (float(claims["exp"]), principal)
        if len(self._cache) > self._max_cached:
            self._cache.popitem(last=False)
        return principal

    def _clock_skew_error(self, token: str, error: Exception) -> NotAuthenticated:
        """The error for an expired or future token, with the difference of the clocks."""
        claims = jwt.decode(token, options={"verify_signature": False})
        now = round(self._clock().timestamp())
        if isinstance(error, jwt.ExpiredSignatureError):
            differ = f"it expired {now - int(claims['exp'])} s ago"
        else:
            begins = max(int(claims.get(name) or 0) for name in ("iat", "nbf"))
            differ = f"it begins {begins - now} s from now"
        fields = {"because": differ}
        log.warning("a token of the gateway is expired or not yet valid", extra={"fields": fields})
        return NotAuthenticated(
            f"The internal token is not valid ({type(error).__name__}): {differ} by this service's "
            "clock.",
            hint=KEY_PAIR_HINT,
        )


def _public_key(file: Path) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(file.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise UnusableKey(
            f"{str(file)!r} holds no Ed25519 public key in PEM.",
            hint="Name the public half of the pair the gateway signs with (`raak keys init`).",
        )
    return key
