"""Signed claims: a server signs who uses a browser now, and the browser sends that on.

A claim is a JWT (HS256) with the audience `raak-claim`: `anonymous_id` names the browser;
`user_id`, `email` and other identities of a person name who uses it, until `exp`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import jwt

from services.contracts.identity import KNOWN_TYPES
from services.profile.domain.calls import ClaimExpired, InvalidClaim, SignedClaim, refuse_claim
from services.profile.domain.identities import LONGEST_VALUE, Identity, normalise_identity

ALGORITHM = "HS256"
AUDIENCE = "raak-claim"
LONGEST_CLAIM = 4_096
"""Characters of a claim."""
CLOCKS_DIFFER = timedelta(seconds=10)
"""How far the clock of who signed a claim may differ from ours."""


def make_claim(
    secret: str, browser: str, identities: Mapping[str, str], now: datetime, lifetime: timedelta
) -> str:
    """A claim that the person who uses the browser with this anonymous id has these identities."""
    fields = {"aud": AUDIENCE, "iat": now, "exp": now + lifetime, "anonymous_id": browser}
    return jwt.encode({**identities, **fields}, secret, ALGORITHM)


@dataclass(frozen=True, slots=True)
class ClaimVerifier:
    """Verifies claims. Each of the secrets is valid, so that they can be rotated."""

    secrets: tuple[str, ...] = ()
    longest_life: timedelta = timedelta(hours=1)

    def verify(self, text: object, now: datetime) -> SignedClaim:
        """What a claim says, if it is valid at this moment; raises InvalidClaim."""
        if not self.secrets:
            return refuse_claim(text, now)
        if not isinstance(text, str) or len(text) > LONGEST_CLAIM:
            raise _invalid(f"is not text of at most {LONGEST_CLAIM} characters")
        fields = _decode(self.secrets, text)
        self._check_time(fields, now)
        browser = _read_identity(fields, "anonymous_id")
        if browser is None:
            raise _invalid("has no anonymous_id")
        return SignedClaim(browser, _read_persons(fields))

    def _check_time(self, fields: Mapping[str, Any], now: datetime) -> None:
        begin = max(_read_moment(fields, "iat", now), _read_moment(fields, "nbf", now))
        end = _read_moment(fields, "exp")
        if not end > now.timestamp():  # so that NaN has passed, too
            raise ClaimExpired(
                "The signed claim has expired.", hint="Fetch a new one from your server."
            )
        if begin > (now + CLOCKS_DIFFER).timestamp():
            raise _invalid("is not valid yet")
        issued = min(_read_moment(fields, "iat", now), (now + CLOCKS_DIFFER).timestamp())
        if not end - issued <= self.longest_life.total_seconds():
            raise _invalid(f"is valid for longer than {self.longest_life}")


@lru_cache(maxsize=1_024)
def _decode(secrets: Sequence[str], text: str) -> Mapping[str, Any]:
    """The fields of a claim with a valid signature, whose time is not checked here."""
    problem = "cannot be read"
    for secret in secrets:
        try:
            fields: Mapping[str, Any] = jwt.decode(
                text,
                secret,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                options={
                    "require": ["exp", "aud"],
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
            return fields
        except jwt.InvalidSignatureError:
            problem = "is not signed with our secret"
        except jwt.InvalidAlgorithmError:
            raise _invalid(f"is not signed with {ALGORITHM}") from None
        except jwt.InvalidAudienceError:
            raise _invalid(f"has another audience than {AUDIENCE}") from None
        except jwt.MissingRequiredClaimError as error:
            raise _invalid(f"has no {error.claim}") from None
        except (jwt.InvalidTokenError, ValueError, RecursionError):
            break
    raise _invalid(problem)


def _read_moment(fields: Mapping[str, Any], name: str, default: datetime | None = None) -> float:
    """A moment as seconds since 1970."""
    value = fields.get(name)
    if value is None and default is not None:
        return default.timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _invalid(f"has an {name} that is not a number")
    return float(value)


def _read_persons(fields: Mapping[str, Any]) -> frozenset[Identity]:
    """The identities of a person; raises InvalidClaim if there are none, or one names nobody."""
    identities = set()
    for kind in sorted(KNOWN_TYPES & fields.keys()):
        identity = _read_identity(fields, kind)
        is_valid = identity and len(identity.value) <= LONGEST_VALUE
        if not (identity and is_valid and identity.value.isprintable()):
            raise _invalid(f"has a {kind} that names nobody")
        identities.add(identity)
    if not identities:
        raise _invalid(f"names nobody by {', '.join(sorted(KNOWN_TYPES))}")
    return frozenset(identities)


def _read_identity(fields: Mapping[str, Any], kind: str) -> Identity | None:
    value = fields.get(kind)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return normalise_identity(kind, value) if isinstance(value, str) else None


def _invalid(what: str) -> InvalidClaim:
    """The message quotes nothing of the claim, which is as good as a password while it lasts."""
    return InvalidClaim(
        f"The signed claim {what}.",
        hint=f"Sign it with {ALGORITHM} and RAAK_PROFILE_CLAIM_SECRETS: see docs/profile.md.",
    )
