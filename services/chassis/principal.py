"""Who is asking: the gateway says it in a short-lived signed token, and nobody else is believed."""

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
CLOCKS_DIFFER_S = 10
"""How far the clock of who issued a token may differ from ours."""


WITH_THE_TIME = (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError)
"""What is wrong with a token at this moment only."""
SHARED = "Gateway and service must share one key pair, and their clocks must agree."

SUBJECT_OF_KEYS = "key:"
"""What the subject of an API key begins with, and that of a token does not."""
IDENTITIES = "identities:read"
"""The scope without which nobody is shown who a customer is."""
LOOKUP_POLICY = "lookup"
"""Holds for roles that may name customers by what identifies them: whoever is known by an address
is told by the answer, and which id they have. A narrowed token or key keeps it."""
SERVER_POLICY = "server"
"""Holds for who sends events with an API key: a page's write key is public, its is not."""


def audience_of(service: str) -> str:
    """`aud` of the internal tokens for one service; no other takes them."""
    return f"raak-{service}"


class NotAuthenticated(RaakError):
    """A request reached a service without a token of the gateway."""

    code = "UNAUTHENTICATED"
    status = 401


class UnusableKey(RaakError):
    """A key file holds something else than the key that is needed."""

    code = "UNUSABLE_KEY"
    status = 500


class Forbidden(RaakError):
    """The caller is known, but may not have this."""

    code = "FORBIDDEN"
    status = 403


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller: his role, his name, and for roles that speak for one customer, which one.

    `customer` is `{"id": …}` or `{"type": …, "value": …}`.
    """

    role: Role
    subject: str
    customer: tuple[tuple[str, str], ...] = ()
    scopes: frozenset[str] = frozenset()
    """What he may do, as @requiresScopes names it: the scopes of his role, or fewer."""
    policies: frozenset[str] = frozenset()
    """The policies that hold for him, as @policy names them."""

    @property
    def own_customer_only(self) -> bool:
        """Whether everything but his own customer is closed to him."""
        return self.role in OWN_CUSTOMER_ONLY

    @property
    def can_identify(self) -> bool:
        """Whether it is shown who somebody is: by its scope, or because it speaks for that one."""
        return self.own_customer_only or IDENTITIES in self.scopes

    def check_lookup(self, type: str) -> None:
        """Raise Forbidden if it may not name customers by identities of this type."""
        if type in KNOWN_TYPES and not (self.own_customer_only or LOOKUP_POLICY in self.policies):
            raise Forbidden(
                f"The role {self.role.value!r} may not name a customer by {type}: the answer would "
                "tell who somebody is.",
                hint="Name the customer by id, or use a role with the policy `lookup`.",
            )

    @property
    def customer_ref(self) -> dict[str, str] | None:
        """The customer he speaks for, if his role speaks for one."""
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
        """What an internal token says of him."""
        return {
            "role": self.role.value,
            "sub": self.subject,
            "customer": dict(self.customer),
            "scope": " ".join(sorted(self.scopes)),
            "policies": sorted(self.policies),
        }

    @classmethod
    def from_claims(cls, claims: dict[str, Any]) -> "Principal":
        """Read him back; raises KeyError or ValueError when the claims do not fit."""
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


class Verifier:
    """Checks internal tokens for one service, and remembers those it has checked until they expire.

    A signature costs about 100 µs to check; the gateway sends the same token many times. Raises
    UnusableKey when the file holds no public key of the kind the gateway signs with.
    """

    def __init__(
        self, key_file: Path, service: str, remembered: int = 10_000, clock: Clock = utc_now
    ) -> None:
        self._key = _public_key(key_file)
        self._audience = audience_of(service)
        self._remembered = remembered
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, Principal]] = OrderedDict()

    def principal(self, authorization: str | None) -> Principal:
        """The caller behind an `Authorization` header; raises NotAuthenticated."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise NotAuthenticated(
                "This service answers the gateway only, and the request carries no token of it.",
                hint="Send the request to the gateway.",
            )
        known = self._known.get(token)
        if known and known[0] > self._clock().timestamp():
            return known[1]
        return self._checked(token)

    def _checked(self, token: str) -> Principal:
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[ALGORITHM],
                audience=self._audience,
                issuer=ISSUER,
                leeway=CLOCKS_DIFFER_S,
                options={"require": ["exp", "sub"]},
            )
            if claims["exp"] <= self._clock().timestamp():
                raise jwt.ExpiredSignatureError
            principal = Principal.from_claims(claims)
        except WITH_THE_TIME as error:
            raise self._of_another_time(token, error) from None
        except (jwt.InvalidTokenError, KeyError, ValueError, TypeError, OverflowError) as error:
            raise NotAuthenticated(
                f"The internal token is not valid ({type(error).__name__}).",
                hint=SHARED,
            ) from None
        self._known[token] = (float(claims["exp"]), principal)
        if len(self._known) > self._remembered:
            self._known.popitem(last=False)
        return principal

    def _of_another_time(self, token: str, error: Exception) -> NotAuthenticated:
        """By how much two clocks differ. The signature was the gateway's, so it can be believed."""
        claims = jwt.decode(token, options={"verify_signature": False})
        now = round(self._clock().timestamp())
        if isinstance(error, jwt.ExpiredSignatureError):
            differ = f"it expired {now - int(claims['exp'])} s ago"
        else:
            begins = max(int(claims.get(name) or 0) for name in ("iat", "nbf"))
            differ = f"it begins {begins - now} s from now"
        fields = {"because": differ}
        log.warning("a token of the gateway is of another time", extra={"fields": fields})
        return NotAuthenticated(
            f"The internal token is not valid ({type(error).__name__}): {differ} by this service's "
            "clock.",
            hint=SHARED,
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
