"""`raak token`: a signed token for the Authorization header of the gateway; `raak claim`: one that
says who uses a browser.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from gateway.access.authentication.caller_tokens import (
    LONGEST_LIFE_S,
    InvalidTokenRequest,
    issue_token,
)
from gateway.access.authentication.service_tokens import load_private_key
from services.chassis.errors import RaakError
from services.contracts.enums import Role
from services.contracts.identity import KNOWN_TYPES
from services.profile.domain.identities import parse_identity
from services.profile.service.signed_claims import make_claim


class UnknownRole(RaakError, code="NO_SUCH_ROLE"):
    """A token or an API key is to get a role that does not exist."""


class InvalidCustomerReference(RaakError, code="CUSTOMER_NOT_NAMED"):
    """A customer is not written as type=value."""


class EmptyClaim(RaakError, code="CLAIM_SAYS_NOTHING"):
    """A claim names no customer, or there is no secret to sign it with."""


def issue(
    signing: Path,
    role: str,
    subject: str,
    customer: str = "",
    hours: float = 12,
    scopes: Collection[str] = (),
    longest_s: int = LONGEST_LIFE_S,
) -> str:
    """A token; raises RaakError, also for one that would live longer than `longest_s`.

    `customer` is `email=ann@example.com` or `id=…`; `scopes` narrow its role.
    """
    if hours * 3600 > longest_s:
        raise InvalidTokenRequest(
            f"A token cannot be good for {hours:g} hours: {longest_s / 3600:g} are the most "
            "(RAAK_GATEWAY_TOKEN_LONGEST_LIFE_S).",
            hint="Make one for less, or an API key for a server: `raak keys create`.",
        )
    if role not in set(Role):
        raise UnknownRole(f"{role!r} is not a role.", hint=f"There are: {', '.join(Role)}.")
    return issue_token(
        load_private_key(signing.read_text()),
        Role(role),
        subject,
        customer=_parse_customer(customer) if customer else None,
        scopes=frozenset(scopes) if scopes else None,
        lifetime_s=int(hours * 3600),
    )


def _parse_customer(customer: str) -> dict[str, str]:
    kind, separator, value = customer.partition("=")
    if not (separator and value):
        raise InvalidCustomerReference(
            f"{customer!r} names no customer.", hint="Write type=value: email=ann@example.com."
        )
    return {"id": value} if kind == "id" else {"type": kind, "value": value}


def issue_claim(
    secret: str, browser: str, identities: Mapping[str, str], now: datetime, minutes: float
) -> str:
    """A signed claim that the holder of these identities uses the browser with this anonymous id.

    Raises EmptyClaim, or what is wrong with an identity.
    """
    identities = {kind: value for kind, value in identities.items() if value}
    if not (secret and identities):
        raise EmptyClaim(
            "The claim names no customer."
            if secret
            else "There is no secret to sign a claim with.",
            hint=f"Name one by {', '.join(sorted(KNOWN_TYPES))}."
            if secret
            else "Set RAAK_PROFILE_CLAIM_SECRETS.",
        )
    for kind, value in {"anonymous_id": browser, **identities}.items():
        parse_identity(kind, value)
    return make_claim(secret, browser, identities, now, timedelta(minutes=minutes))
