"""Tokens of identity providers: each example of docs/single-sign-on.md, and what may go wrong."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from time import time
from typing import Any, NamedTuple

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from gateway.access.authentication.caller_tokens import CallerTokens, TokenRules, issue_token
from gateway.access.authentication.verification_keys import VerificationKeys
from gateway.access.authorization.roles import Roles
from gateway.settings import GatewaySettings
from services.chassis.principal import NotAuthenticated
from services.chassis.settings import InvalidSettings
from services.contracts.enums import Role

PAGE = Path(__file__).parents[5] / "docs" / "single-sign-on.md"
OURS = Ed25519PrivateKey.generate()
KEYS: dict[str, Any] = {"ES256": generate_ec(SECP256R1()), "RS256": generate_rsa(65_537, 2_048)}
ROLES = Roles.read()


class Example(NamedTuple):
    settings: dict[str, str]
    claims: dict[str, Any]
    role: str


def examples() -> Iterator[Any]:
    for section in PAGE.read_text().split("\n## ")[1:]:
        provider = section.partition("\n")[0]
        (lines,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
        (claims,) = re.findall(r"```json\n(.*?)```", section, re.DOTALL)
        (role,) = re.findall(r"This is an? `(\w+)`", section)
        settings = dict(line.split("=", 1) for line in lines.splitlines())
        yield pytest.param(Example(settings, json.loads(claims), role), id=provider)


async def _key_set() -> bytes:
    """As providers publish theirs: with members that are nothing to us, and without `alg`."""
    ec = json.loads(ECAlgorithm.to_jwk(KEYS["ES256"].public_key()))
    rsa = json.loads(RSAAlgorithm.to_jwk(KEYS["RS256"].public_key()))
    common = {"use": "sig", "x5t": "nOo3ZDrODXEK1jKWhXslHR_KXEg", "x5c": ["MIIC"]}
    return orjson.dumps({"keys": [ec | common | {"kid": "ES256"}, rsa | common | {"kid": "RS256"}]})


def sign(claims: dict[str, Any], algorithm: str = "RS256") -> str:
    stamped = {"iat": int(time()), "exp": int(time()) + 3_600, **claims}
    return jwt.encode(stamped, KEYS[algorithm], algorithm, headers={"kid": algorithm})


def caller_tokens(rules: TokenRules) -> CallerTokens:
    keys = VerificationKeys(None, _key_set)
    return CallerTokens(keys, ROLES.resolve_grant, rules, own_key=OURS.public_key())


@pytest.mark.parametrize("algorithm", KEYS)
@pytest.mark.parametrize("example", list(examples()))
async def test_an_example_of_the_page_signs_somebody_in(
    example: Example, algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in example.settings.items():
        monkeypatch.setenv(name, value)
    settings = GatewaySettings()

    caller = await caller_tokens(settings.token_rules).principal(sign(example.claims, algorithm))

    assert settings.token_key_set.startswith("https://")
    assert (caller.role, caller.subject) == (example.role, example.claims["sub"])
    assert caller.scopes == ROLES.grants[caller.role].scopes  # `openid` takes nothing away


GROUPS = {"boss": Role.ADMIN, "call centre": Role.AGENT}


@pytest.mark.parametrize(
    ("claims", "rules", "role"),
    [
        ({"role": "agent"}, TokenRules(), "agent"),
        ({"role": ["agent"]}, TokenRules(), "agent"),
        ({"role": ["agent", "staff", 7, None]}, TokenRules(), "agent"),
        ({"a": {"b": {"c": "agent"}}}, TokenRules(role_claim="a.b.c"), "agent"),
        ({"a.b": "agent", "a": {"b": "admin"}}, TokenRules(role_claim="a.b"), "agent"),
        ({"role": ["call centre"]}, TokenRules(roles=GROUPS), "agent"),
        ({"role": ["call centre", "boss"]}, TokenRules(roles=GROUPS), "admin"),
    ],
)
async def test_a_role_is_a_text_a_list_or_at_the_end_of_a_path(
    claims: dict[str, Any], rules: TokenRules, role: str
) -> None:
    token = sign({"iss": "raak", "aud": "raak", "sub": "ann"} | claims)

    assert (await caller_tokens(rules).principal(token)).role == role


@pytest.mark.parametrize(
    ("claims", "rules", "problem"),
    [
        ({"role": ["agent", "admin"]}, TokenRules(), "do not fit.*exactly one of visitor, app"),
        ({"role": ["staff"]}, TokenRules(), "do not fit"),
        ({"role": {"agent": True}}, TokenRules(), "do not fit"),
        ({"a": {"b": 7}}, TokenRules(role_claim="a.b"), "do not fit"),
        ({"a": "b"}, TokenRules(role_claim="a.b"), "lacks a claim.*a.b"),
        ({"a": {}}, TokenRules(role_claim="a.b"), "lacks a claim.*a.b"),
        ({"role": "admin"}, TokenRules(roles=GROUPS), "do not fit.*one of boss, call centre"),
        ({"role": ["Boss"]}, TokenRules(roles=GROUPS), "do not fit"),
    ],
)
async def test_a_role_that_cannot_be_told_is_refused(
    claims: dict[str, Any], rules: TokenRules, problem: str
) -> None:
    token = sign({"iss": "raak", "aud": "raak", "sub": "ann"} | claims)

    with pytest.raises(NotAuthenticated, match=f"(?s){problem}"):
        await caller_tokens(rules).principal(token)


async def test_a_token_of_ours_is_good_beside_those_of_a_provider() -> None:
    rules = TokenRules(issuer="https://sso.example.com", audience="shop", role_claim="groups")

    caller = await caller_tokens(rules).principal(issue_token(OURS, Role.AGENT, "ann"))

    assert (caller.role, caller.subject) == (Role.AGENT, "ann")


async def test_a_provider_cannot_sign_in_our_name() -> None:
    """Its key is checked by its own rules, whatever `kid` and `iss` a token claims."""
    rules = TokenRules(issuer="https://sso.example.com")
    ours = jwt.get_unverified_header(issue_token(OURS, Role.AGENT, "ann"))["kid"]
    claims = {"iss": "raak", "aud": "raak", "sub": "ann", "role": "admin", "exp": time() + 60}

    with pytest.raises(NotAuthenticated, match="another issuer"):
        await caller_tokens(rules).principal(sign(claims))
    with pytest.raises(NotAuthenticated, match=r"not allowed"):
        await caller_tokens(rules).principal(
            jwt.encode(claims, KEYS["RS256"], "RS256", headers={"kid": ours})
        )


@pytest.mark.parametrize("roles", ["agents", "agents=owner", "=agent", "agents="])
def test_a_mapping_to_no_role_of_ours_is_refused(
    roles: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAAK_GATEWAY_TOKEN_ROLES", roles)

    with pytest.raises(InvalidSettings, match="RAAK_GATEWAY_TOKEN_ROLES"):
        GatewaySettings()
