"""`POST /tokens`: what a server may ask for, and what it is told when it may not."""

from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.access.authentication.caller_tokens import InvalidTokenRequest
from gateway.surfaces.json_api import AuditedCall
from gateway.surfaces.tokens import TokensApi
from services.chassis.principal import Principal
from services.contracts.enums import Role

KEY = Ed25519PrivateKey.generate()
NOW = datetime(2026, 11, 30, 12, 0, 0, 700_000, tzinfo=UTC)
SHOP = Principal(Role.AGENT, "key:6f1c09b2a4d7e853")
VISITOR = {"type": "anonymous_id", "value": "v-42"}


async def issue(value: Any, key: Ed25519PrivateKey | None = KEY) -> dict[str, Any]:
    api = TokensApi(key, longest_s=3_600, clock=lambda: NOW)
    return await api.issue(SHOP, value, AuditedCall("/tokens"))


def claims(token: str) -> dict[str, Any]:
    options: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
    checked: dict[str, Any] = jwt.decode(
        token, KEY.public_key(), algorithms=["EdDSA"], audience="raak", options=options
    )
    return checked


async def test_a_page_gets_a_token_of_its_visitor_for_a_quarter_of_an_hour() -> None:
    answer = await issue({"customer": VISITOR})

    said = claims(answer["token"])
    assert said["role"] == "visitor"
    assert said["customer"] == VISITOR
    assert "scope" not in said
    assert answer["expiresAt"] == NOW.replace(microsecond=0) + timedelta(minutes=15)
    assert answer["expiresAt"].timestamp() == said["exp"]


async def test_an_app_gets_what_its_server_asks_for() -> None:
    customer = {"id": "0198a1b2-0000-7000-8000-000000000001"}

    answer = await issue(
        {"role": "app", "customer": customer, "minutes": 60, "scopes": ["decisions:make"]}
    )

    said = claims(answer["token"])
    assert (said["role"], said["customer"], said["scope"]) == ("app", customer, "decisions:make")
    assert said["exp"] - said["iat"] == 3_600


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (None, "no JSON object"),
        ([], "no JSON object"),
        ({"customer": VISITOR, "rôle": "app"}, "'rôle'"),
        ({"customer": VISITOR, "role": "agent"}, "`role` is 'agent'"),
        ({"customer": VISITOR, "role": ["visitor"]}, r"`role` is \['visitor'\]"),
        ({"customer": VISITOR, "role": None}, "`role` is None"),
        ({"customer": VISITOR, "minutes": 61}, "`minutes` is 61"),
        ({"customer": VISITOR, "minutes": 0}, "`minutes` is 0"),
        ({"customer": VISITOR, "minutes": 1.5}, "`minutes` is 1.5"),
        ({"customer": VISITOR, "minutes": True}, "`minutes` is True"),
        ({"customer": VISITOR, "scopes": "decisions:make"}, "`scopes` is"),
        ({"customer": VISITOR, "scopes": [7]}, "`scopes` is"),
        ({}, "names no customer"),
        ({"customer": "v-42"}, "names no customer"),
        ({"customer": {"type": "anonymous_id"}}, "names no customer"),
        ({"customer": {"type": "shoe_size", "value": "42"}}, "names no customer"),
        ({"customer": {"type": "email", "value": ""}}, "names no customer"),
        ({"customer": {"id": ["x"]}}, "names no customer"),
        ({"customer": {"id": "x" * 2_000}}, "names no customer"),
        ({"customer": {"id": "x", "type": "email"}}, "must say which customer"),
        ({"customer": VISITOR | {"id": "x"}}, "names no customer"),
        ({"customer": {"type": "email", "value": "null@null.com"}}, "stands for nobody"),
    ],
)
async def test_any_other_request_is_refused_and_told_why(value: Any, problem: str) -> None:
    with pytest.raises(InvalidTokenRequest, match=problem) as refusal:
        await issue(value)

    assert refusal.value.hint
    assert len(refusal.value.problem) < 300


async def test_a_gateway_without_a_key_of_its_own_issues_none() -> None:
    with pytest.raises(InvalidTokenRequest, match="issues no tokens"):
        await issue({"customer": VISITOR}, key=None)
