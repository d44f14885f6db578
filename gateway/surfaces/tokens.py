"""`POST /tokens`: a server gets a token for the page or app of one customer.

The server knows who is before the page: a visitor by the id its browser made up, or somebody who
has logged in. The page sends the token to the graph, and reaches that one customer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.access.authentication.caller_tokens import InvalidTokenRequest, issue_token
from gateway.surfaces.json_api import JSON, AuditedCall
from services.chassis.clock import Clock, utc_now
from services.chassis.principal import Principal
from services.contracts.enums import OWN_CUSTOMER_ONLY, Role
from services.contracts.identity import TYPES

PATH = "/tokens"
SCOPE = "tokens:issue"
DEFAULT_MINUTES = 15
MEMBERS = ("role", "customer", "minutes", "scopes")
EXAMPLE = (
    '{"role": "visitor", "customer": {"type": "anonymous_id", "value": "v-42"}, "minutes": 15}'
)
LONGEST_VALUE = 1_024


@dataclass(frozen=True)
class TokensApi:
    """Issues tokens with `key`, None where there is none, that live `longest_s` at most."""

    key: Ed25519PrivateKey | None
    longest_s: int
    clock: Clock = utc_now

    async def issue(self, caller: Principal, value: Any, call: AuditedCall) -> JSON:
        """The token of a visitor or app; raises InvalidTokenRequest."""
        if self.key is None:
            raise InvalidTokenRequest(
                "This gateway issues no tokens.",
                hint="Operators: set RAAK_GATEWAY_TOKEN_SIGNING_KEY_FILE.",
            )
        request = _check_members(value)
        role = _read_role(request.get("role", Role.VISITOR))
        lifetime_s = _read_minutes(request.get("minutes", DEFAULT_MINUTES), self.longest_s) * 60
        now = self.clock()
        token = issue_token(
            self.key,
            role,
            caller.subject.replace(":", "-"),
            customer=_read_customer(request.get("customer")),
            scopes=_read_scopes(request.get("scopes")),
            lifetime_s=lifetime_s,
            now=now.timestamp(),
        )
        call.details["role"] = role.value
        expires_at = datetime.fromtimestamp(int(now.timestamp()), UTC) + timedelta(
            seconds=lifetime_s
        )
        return {"token": token, "expiresAt": expires_at}


def _check_members(value: Any) -> JSON:
    if not isinstance(value, dict):
        raise InvalidTokenRequest("The body is no JSON object.", hint=f"Send {EXAMPLE}.")
    if unknown := sorted(value.keys() - set(MEMBERS)):
        raise InvalidTokenRequest(
            f"The body has {', '.join(map(repr, unknown))[:200]}, which is no part of a request.",
            hint=f"It may have {', '.join(MEMBERS)}: {EXAMPLE}.",
        )
    return value


def _read_role(value: Any) -> Role:
    if not isinstance(value, str) or value not in OWN_CUSTOMER_ONLY:
        raise InvalidTokenRequest(
            f"`role` is {_quote(value)}, and a server gets tokens of pages and apps only.",
            hint="Send `visitor` for a browser, `app` for who has logged in.",
        )
    return Role(value)


def _read_minutes(value: Any, longest_s: int) -> int:
    longest = longest_s // 60
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= longest:
        raise InvalidTokenRequest(
            f"`minutes` is {_quote(value)}.",
            hint=f"Send a whole number from 1 to {longest} (RAAK_GATEWAY_TOKEN_LONGEST_LIFE_S).",
        )
    return value


def _read_customer(value: Any) -> dict[str, str]:
    """The customer of a request; what a token may say of one, `issue_token` checks."""
    is_fitting = (
        isinstance(value, dict)
        and all(isinstance(one, str) and 0 < len(one) <= LONGEST_VALUE for one in value.values())
        and ("id" in value) != (value.get("type") in TYPES and "value" in value)
    )
    if not is_fitting:
        raise InvalidTokenRequest(
            "`customer` names no customer.",
            hint='Send {"id": "…"}, or {"type": "…", "value": "…"} with a type of '
            f"{', '.join(sorted(TYPES))}.",
        )
    return dict(value)


def _read_scopes(value: Any) -> frozenset[str] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise InvalidTokenRequest(
            f"`scopes` is {_quote(value)}.",
            hint="Send a list of scopes to narrow the role to, or leave it out.",
        )
    scopes: Sequence[str] = value
    return frozenset(scopes)


def _quote(value: Any) -> str:
    """A wrong value for a message, which holds nothing long."""
    return repr(value)[:60]
