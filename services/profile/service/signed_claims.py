"""Signed claims: a server says of its visitor who uses this browser, and the browser hands it on.

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
from services.profile.domain.identities import LONGEST_VALUE, Identity, identity

ALGORITHM = "HS256"
AUDIENCE = "raak-claim"
LONGEST_CLAIM = 4_096
"""Characters of a claim."""
CLOCKS_DIFFER = timedelta(seconds=10)
"""How far the clock of who made a claim may differ from ours."""


def make_claim(
    secret: str, browser: str, identities: Mapping[str, str], now: datetime, lifetime: timedelta
) -> str:
    """A claim that whoever uses the browser with this anonymous id holds these identities."""
    said = {"aud": AUDIENCE, "iat": now, "exp": now + lifetime, "anonymous_id": browser}
    return jwt.encode({**identities, **said}, secret, ALGORITHM)


@dataclass(frozen=True, slots=True)
class ClaimVerifier:
    """Reads claims. Each of the secrets is good, so that one can take another's place."""

    secrets: tuple[str, ...] = ()
    longest_life: timedelta = timedelta(hours=1)

    def verify(self, text: object, now: datetime) -> SignedClaim:
        """What a claim says, if it can be believed at this moment; raises InvalidClaim."""
        if not self.secrets:
            return refuse_claim(text, now)
        if not isinstance(text, str) or len(text) > LONGEST_CLAIM:
            raise _invalid(f"is not text of at most {LONGEST_CLAIM} characters")
        said = _read(self.secrets, text)
        self._check_time(said, now)
        return SignedClaim(_browser(said), _persons(said))

    def _check_time(self, said: Mapping[str, Any], now: datetime) -> None:
        begin = max(_moment(said, "iat", now), _moment(said, "nbf", now))
        end = _moment(said, "exp")
        if not end > now.timestamp():  # so that NaN has passed, too
            raise ClaimExpired(
                "The signed claim has expired.", hint="Fetch a new one from your server."
            )
        if begin > (now + CLOCKS_DIFFER).timestamp():
            raise _invalid("is not valid yet")
        issued = min(_moment(said, "iat", now), (now + CLOCKS_DIFFER).timestamp())
        if not end - issued <= self.longest_life.total_seconds():
            raise _invalid(f"is valid for longer than {self.longest_life}")


@lru_cache(maxsize=1_024)
def _read(secrets: Sequence[str], text: str) -> Mapping[str, Any]:
    """What a claim says, whoever's it is; signatures that are good are remembered."""
    wrong = "cannot be read"
    for secret in secrets:
        try:
            said: Mapping[str, Any] = jwt.decode(
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
            return said
        except jwt.InvalidSignatureError:
            wrong = "is not signed with our secret"
        except jwt.InvalidAlgorithmError:
            raise _invalid(f"is not signed with {ALGORITHM}") from None
        except jwt.InvalidAudienceError:
            raise _invalid(f"has another audience than {AUDIENCE}") from None
        except jwt.MissingRequiredClaimError as error:
            raise _invalid(f"has no {error.claim}") from None
        except (jwt.InvalidTokenError, ValueError, RecursionError):
            break
    raise _invalid(wrong)


def _moment(said: Mapping[str, Any], name: str, unsaid: datetime | None = None) -> float:
    """A moment as seconds since 1970."""
    value = said.get(name)
    if value is None and unsaid is not None:
        return unsaid.timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _invalid(f"has an {name} that is no number")
    return float(value)


def _browser(said: Mapping[str, Any]) -> Identity:
    found = _identity(said, "anonymous_id")
    if found is None:
        raise _invalid("has no anonymous_id")
    return found


def _persons(said: Mapping[str, Any]) -> frozenset[Identity]:
    """The identities of a person in it; raises InvalidClaim for none, or one that cannot be."""
    found = set()
    for kind in sorted(KNOWN_TYPES & said.keys()):
        one = _identity(said, kind)
        if one is None or len(one.value) > LONGEST_VALUE or not one.value.isprintable():
            raise _invalid(f"has a {kind} that names nobody")
        found.add(one)
    if not found:
        raise _invalid(f"names nobody by {', '.join(sorted(KNOWN_TYPES))}")
    return frozenset(found)


def _identity(said: Mapping[str, Any], kind: str) -> Identity | None:
    value = said.get(kind)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return identity(kind, value) if isinstance(value, str) else None


def _invalid(what: str) -> InvalidClaim:
    """Without a word of the claim itself, which is as good as a password while it lasts."""
    return InvalidClaim(
        f"The signed claim {what}.",
        hint=f"Sign it with {ALGORITHM} and RAAK_PROFILE_CLAIM_SECRETS: see docs/profile.md.",
    )
