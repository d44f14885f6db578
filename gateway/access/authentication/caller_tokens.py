"""Callers' tokens: JSON Web Tokens that are checked here, and issued for local use."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from time import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from gateway.access.authentication.attempts import SignatureChecks, mark_genuine
from gateway.access.authentication.service_tokens import sign
from gateway.access.authentication.verification_keys import (
    ALGORITHMS,
    VerificationKey,
    VerificationKeys,
)
from gateway.access.limits.rate_limits import RateLimits
from gateway.supergraph.lru import Lru
from services.chassis.errors import RaakError
from services.chassis.principal import (
    CLOCK_SKEW_S,
    ISSUER,
    SUBJECT_OF_KEYS,
    TIME_ERRORS,
    NotAuthenticated,
    Principal,
)
from services.contracts.enums import OWN_CUSTOMER_ONLY, Role
from services.contracts.identity import is_placeholder

CALLER_AUDIENCE = "raak"
MAX_TOKEN_CHARS = 8_192
LONGEST_LIFE_S = 86_400
REMEMBERED = 10_000
REMEMBERED_REFUSALS = 1_000
REFUSED_S = 5.0
"""How long a refused token is not looked at again: it may become valid, or its key be found."""

ALLOWED = tuple(sorted(ALGORITHMS.values()))
ROLES = ", ".join(role.value for role in Role)
OPENID_SCOPES = frozenset(("openid", "profile", "email", "address", "phone", "offline_access"))
"""What OpenID Connect puts into a scope claim: it says nothing of what a caller may do here."""
RENEW = "Get a new one; locally: `raak token ROLE`."

ResolveGrant = Callable[[Role, frozenset[str] | None], tuple[frozenset[str], frozenset[str]]]
"""The scopes and policies of a role that is narrowed to some scopes (None: it is not narrowed)."""


class InvalidTokenRequest(RaakError, code="INVALID_TOKEN_REQUEST"):
    """A token that no role could use cannot be issued."""


class TokenOutOfTime(NotAuthenticated):
    """A token of whom we believe has expired, or is not valid yet: it is no guess."""


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What callers' tokens must say, and under which names.

    The name of a claim may be a path: `realm_access.roles` is `roles` in `realm_access`, unless a
    claim has that whole name.
    """

    issuer: str = ISSUER
    audience: str = CALLER_AUDIENCE
    role_claim: str = "role"
    customer_claim: str = "customer"
    scope_claim: str = "scope"
    roles: Mapping[str, Role] = field(default_factory=dict)
    """The issuer's names (groups, say) for our roles: the first that a token has counts. Empty: a
    token names our roles themselves.
    """
    longest_life_s: int = LONGEST_LIFE_S
    """From `iat` to `exp`; from now where there is no `iat`."""


Refusals = Mapping[type[jwt.InvalidTokenError], tuple[str, str]]
"""What is wrong with a token and how to mend it, by what PyJWT raises; the first that fits."""


def _refusals(rules: TokenRules) -> Refusals:
    return {
        jwt.InvalidAudienceError: (
            "The token has another audience.",
            f"Its `aud` must be {rules.audience!r}.",
        ),
        jwt.InvalidIssuerError: (
            "The token has another issuer.",
            f"Its `iss` must be {rules.issuer!r}.",
        ),
        jwt.MissingRequiredClaimError: (
            "The token lacks a claim.",
            f"It needs iss, aud, exp and sub, and {rules.role_claim}.",
        ),
        jwt.InvalidAlgorithmError: (
            "The token is signed with an algorithm that is not allowed.",
            f"Sign it with {' or '.join(ALLOWED)}, as the type of the key wants.",
        ),
        jwt.InvalidSignatureError: ("The token is not signed with our key.", RENEW),
    }


BUT_THE_TIME = dict.fromkeys(("verify_aud", "verify_iss"), True) | dict.fromkeys(
    ("verify_signature", "verify_iat", "verify_nbf", "verify_exp"), False
)
SET_CLOCK = "Wait that long, or set the clock of who issued it, or the gateway's."

UNREADABLE = ("The token is not a JSON Web Token that can be read.", RENEW)

BROKEN = (jwt.InvalidTokenError, ValueError, TypeError, OverflowError, RecursionError)
"""What PyJWT raises for tokens; the last four for values its own checks do not foresee."""


def issue_token(
    key: Ed25519PrivateKey,
    role: Role,
    subject: str,
    *,
    customer: Mapping[str, str] | None = None,
    scopes: frozenset[str] | None = None,
    lifetime_s: int = 3_600,
    now: float | None = None,
) -> str:
    """A caller's token. `customer` is whom a visitor or app speaks for.

    It is `{"id": …}` or `{"type": …, "value": …}`; other roles have none. `scopes` narrow what the
    role may do. `now` is in seconds since the epoch. Raises InvalidTokenRequest.
    """
    _check_customer(role, customer or {})
    claims: dict[str, Any] = {"role": role.value, "sub": subject, "customer": dict(customer or {})}
    if scopes is not None:
        claims["scope"] = " ".join(sorted(scopes))
    issued_at = time() if now is None else now
    kid = own_key_id(key.public_key())
    return sign(key, claims, CALLER_AUDIENCE, issued_at, lifetime_s, kid=kid)


def own_key_id(key: Ed25519PublicKey) -> str:
    """The `kid` of the tokens that are issued here with this key, not by somebody else."""
    return f"raak-{sha256(key.public_bytes_raw()).hexdigest()[:16]}"


def _check_customer(role: Role, customer: Mapping[str, str]) -> None:
    if role in OWN_CUSTOMER_ONLY and set(customer) not in ({"id"}, {"type", "value"}):
        raise InvalidTokenRequest(
            f"A token of the role {role.value!r} must say which customer it speaks for.",
            hint="Give the customer's id, or the type and value of an identity.",
        )
    if role not in OWN_CUSTOMER_ONLY and customer:
        raise InvalidTokenRequest(
            f"A token of the role {role.value!r} speaks for no single customer.",
            hint="Leave the customer out, or take the role visitor or app.",
        )
    if "type" in customer and is_placeholder(customer["type"], customer["value"]):
        raise InvalidTokenRequest(
            f"{customer['value'][:60]!r} stands for nobody, so no token can speak for it.",
            hint="Give the identity of one customer.",
        )


class CallerTokens:
    """Checks callers' tokens, and remembers the results.

    A good one is valid until it expires or a key comes or goes: checking costs 100 µs, looking
    it up less than one.
    """

    def __init__(
        self,
        keys: VerificationKeys,
        resolve_grant: ResolveGrant,
        rules: TokenRules | None = None,
        *,
        own_key: Ed25519PublicKey | None = None,
        checks: SignatureChecks | None = None,
        remembered: int = REMEMBERED,
        clock: Callable[[], float] = time,
    ) -> None:
        self._keys = keys
        self._resolve_grant = resolve_grant
        self._rules = rules or TokenRules()
        self._own_key = VerificationKey.of(own_key) if own_key else None
        self._own_key_id = own_key_id(own_key) if own_key else ""
        self._own_rules = TokenRules(longest_life_s=self._rules.longest_life_s)
        self._checks = checks or SignatureChecks(RateLimits())
        self._clock = clock
        self._version = keys.version
        self._valid: Lru[tuple[float, Principal]] = Lru(remembered)
        """Callers by their tokens, each until its moment."""
        self._refused: Lru[tuple[float, NotAuthenticated]] = Lru(REMEMBERED_REFUSALS)

    def grant_by(self, resolve_grant: ResolveGrant) -> None:
        """Give callers what is granted by this from now on."""
        self._resolve_grant = resolve_grant
        self._valid.clear()

    async def principal(self, token: str) -> Principal:
        """The caller a token names; raises NotAuthenticated, KeySetUnavailable or RateLimited."""
        if len(token) > MAX_TOKEN_CHARS:  # such a one is not even remembered
            raise NotAuthenticated(
                f"The token has more than {MAX_TOKEN_CHARS} characters.",
                hint="Leave out claims that are not needed here.",
            )
        if self._version != self._keys.version:
            self._version = self._keys.version
            self._valid.clear()
            self._refused.clear()
        now = self._clock()
        until, principal = self._valid.get(token) or (now, None)
        if principal is not None and until > now:
            return principal
        until, refusal = self._refused.get(token) or (now, None)
        if refusal is None or until <= now:
            try:
                until, principal = await self._check_token(token)
            except NotAuthenticated as error:
                self._refused.put(token, (now + REFUSED_S, error))
                refusal = error
            else:
                self._valid.put(token, (until, principal))
                return principal
        if isinstance(refusal, TokenOutOfTime):
            mark_genuine()
        raise type(refusal)(refusal.problem, hint=refusal.hint) from None

    async def _check_token(self, token: str) -> tuple[float, Principal]:
        rules = self._rules
        try:
            kid = _key_id(token)
            if self._own_key is not None and kid == self._own_key_id:
                key, rules = self._own_key, self._own_rules
            else:
                key = await self._keys.key_for(kid)
            await self._checks.turn()
            claims = _claims(token, key, rules)
            self._check_life(claims)
            return float(claims["exp"]), self._caller(claims, rules)
        except TIME_ERRORS:
            raise self._not_now(token, rules) from None
        except BROKEN as error:
            raise _refusal(error, rules) from None

    def _not_now(self, token: str, rules: TokenRules) -> NotAuthenticated:
        """How far the time of a token is from ours, if its audience is the gateway."""
        try:
            claims = _claims(token, None, rules, **BUT_THE_TIME)
            begins = max(int(claims.get("nbf") or 0), int(claims.get("iat") or 0))
            early_s, late_s = begins - self._clock(), self._clock() - int(claims["exp"])
        except BROKEN as error:
            return _refusal(error, rules)
        if early_s > 0:
            return TokenOutOfTime(
                f"The token is not valid yet: it begins {early_s:.0f} s from now by the gateway's "
                "clock.",
                hint=SET_CLOCK,
            )
        return TokenOutOfTime(
            f"The token has expired, {late_s:.0f} s ago by the gateway's clock.", hint=RENEW
        )

    def _check_life(self, claims: Mapping[str, Any]) -> None:
        longest_s = self._rules.longest_life_s
        begins = self._clock() + CLOCK_SKEW_S if claims.get("iat") is None else claims["iat"]
        life_s = int(claims["exp"]) - int(begins)
        if life_s > longest_s:
            raise NotAuthenticated(
                f"The token is good for {life_s} s, and {longest_s} are the most "
                "(token_longest_life_s).",
                hint="Have its issuer make one that ends sooner; locally: `raak token ROLE`.",
            )

    def _caller(self, claims: Mapping[str, Any], rules: TokenRules) -> Principal:
        """Who it is; of what a caller may do its token can only take away."""
        try:
            role, subject = _role(claims, rules), _own_name(claims["sub"])
            customer = _texts(_read_claim(claims, rules.customer_claim) or {})
            _check_customer(role, customer)
            narrowed_to = _scopes(_read_claim(claims, rules.scope_claim))
        except (ValueError, InvalidTokenRequest):
            raise NotAuthenticated(
                "The token's subject, role, customer and scope do not fit.", hint=_wanted(rules)
            ) from None
        pairs = tuple(sorted(customer.items()))
        return Principal(role, subject, pairs, *self._resolve_grant(role, narrowed_to))


def _claims(
    token: str, key: VerificationKey | None, rules: TokenRules, **options: bool
) -> dict[str, Any]:
    """What a token says, checked; without a key its signature has been before."""
    wanted: Any = {"require": ["exp", "iss", "aud", "sub"], **options}
    claims = jwt.decode(
        token,
        key.key if key else "",
        algorithms=[key.algorithm] if key else None,
        audience=rules.audience,
        issuer=rules.issuer,
        leeway=CLOCK_SKEW_S,
        options=wanted,
    )
    if _read_claim(claims, rules.role_claim) is None:
        raise jwt.MissingRequiredClaimError(rules.role_claim)
    return claims


def _refusal(error: Exception, rules: TokenRules) -> NotAuthenticated:
    fitting = (texts for kind, texts in _refusals(rules).items() if isinstance(error, kind))
    problem, hint = next(fitting, UNREADABLE)
    return NotAuthenticated(problem, hint=hint)


def _read_claim(claims: Mapping[str, Any], name: str) -> Any:
    """The claim of this name, else what stands at the path; None if there is neither."""
    if name in claims or "." not in name:
        return claims.get(name)
    value: Any = claims
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _role(claims: Mapping[str, Any], rules: TokenRules) -> Role:
    """The one role a token gives; raises ValueError if it gives none, or several unranked ones."""
    value = _read_claim(claims, rules.role_claim)
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list):
        raise ValueError(rules.role_claim)
    if rules.roles:
        roles = [role for name, role in rules.roles.items() if name in names][:1]
    else:
        roles = [role for role in Role if role.value in names]
    (role,) = roles
    return role


def _key_id(token: str) -> str | None:
    """The key a token names. What else its head says of keys (jwk, jku, x5u, x5c) is not read."""
    head = jwt.get_unverified_header(token)
    if "crit" in head or head.get("b64", True) is not True:
        raise jwt.InvalidTokenError("extensions")
    if head.get("alg") not in ALLOWED:
        raise jwt.InvalidAlgorithmError
    kid: str | None = head.get("kid")
    return kid


def _wanted(rules: TokenRules) -> str:
    names = f"one of {', '.join(rules.roles)}" if rules.roles else f"exactly one of {ROLES}"
    return (
        f"`sub` is a name that does not begin with `{SUBJECT_OF_KEYS}`; `{rules.role_claim}` is or "
        f"lists {names}; visitor and app name their `{rules.customer_claim}`, others none; "
        f"`{rules.scope_claim}` lists scopes."
    )


def _own_name(subject: str) -> str:
    if not _is_text(subject) or subject.startswith(SUBJECT_OF_KEYS):
        raise ValueError("sub")
    return subject


def _texts(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(_is_text(v) for v in value.values()):
        raise ValueError("customer")
    return value


def _is_text(value: Any) -> bool:
    """Whether it says something. Raises ValueError for half a surrogate pair: JSON can hold that,
    nothing it would be written to can.
    """
    return isinstance(value, str) and bool(value.encode())


def _scopes(value: Any) -> frozenset[str] | None:
    """A scope claim: a text with spaces (OAuth 2) or a list. None, which narrows nothing, if there
    is none, or if it has nothing but what OpenID Connect writes there.
    """
    if value is None:
        return None
    names = value.split() if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(scope, str) for scope in names):
        raise ValueError("scope")
    scopes = frozenset(names)
    return None if scopes and scopes <= OPENID_SCOPES else scopes
