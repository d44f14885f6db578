"""Tokens: only what we signed, for us, for now, is believed."""

import base64
import json
from time import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gateway.access.tokens import (
    CallerTokens,
    ServiceTokens,
    TokenCannotBe,
    UnusableKey,
    issue_token,
    private_key,
    public_key,
)
from services.chassis.principal import NotAuthenticated, Principal
from services.contracts.words import Role

KEY = Ed25519PrivateKey.generate()
VISITOR = {"type": "anonymous_id", "value": "v-1"}


def claims(**changed: Any) -> dict[str, Any]:
    """Good claims of an agent, with some changed; None leaves one out."""
    good = {"iss": "raak", "aud": "raak", "sub": "ann", "role": "agent", "exp": time() + 3_600}
    return {name: value for name, value in (good | changed).items() if value is not None}


def signed(key: Any = KEY, algorithm: str = "EdDSA", **changed: Any) -> str:
    return jwt.encode(claims(**changed), key, algorithm=algorithm)


def checked(token: str) -> Principal:
    return CallerTokens(KEY.public_key()).principal(f"Bearer {token}")


def test_a_token_we_issued_names_its_caller() -> None:
    token = issue_token(KEY, Role.AGENT, "ann")

    assert checked(token) == Principal(Role.AGENT, "ann")


def test_a_visitor_comes_with_his_customer() -> None:
    token = issue_token(KEY, Role.VISITOR, "shop", customer=VISITOR)

    assert checked(token).customer_ref == VISITOR


@pytest.mark.parametrize("role", [Role.VISITOR, Role.APP])
def test_a_role_that_speaks_for_one_customer_must_say_for_which(role: Role) -> None:
    with pytest.raises(TokenCannotBe, match="which customer it speaks for"):
        issue_token(KEY, role, "shop")


def test_a_role_for_all_customers_speaks_for_no_single_one() -> None:
    with pytest.raises(TokenCannotBe, match="speaks for no single customer"):
        issue_token(KEY, Role.AGENT, "ann", customer=VISITOR)


@pytest.mark.parametrize(
    ("token", "problem"),
    [
        (signed(exp=time() - 60), "has expired"),
        (signed(nbf=time() + 3_000), "not valid yet"),
        (signed(iat=time() + 3_000), "not valid yet"),
        (signed(aud="raak-service"), "meant for someone else"),
        (signed(iss="mallory"), "another issuer"),
        (signed(exp=None), "lacks a claim"),
        (signed(role=None), "lacks a claim"),
        (signed(key=Ed25519PrivateKey.generate()), "not signed with our key"),
        (signed(role="owner"), "role and customer do not fit"),
        (signed(role="visitor"), "role and customer do not fit"),
        (signed(role="visitor", customer="v-1"), "role and customer do not fit"),
        (signed(role="agent", customer=VISITOR), "role and customer do not fit"),
        (signed(role=["agent"]), "role and customer do not fit"),
        (signed(key="secret" * 8, algorithm="HS256"), "algorithm that is not allowed"),
        (jwt.encode(claims(), "", algorithm="none"), "algorithm that is not allowed"),
        ("x.y.z", "can be read"),
        ("nonsense", "can be read"),
    ],
)
def test_any_other_token_is_refused_and_told_why(token: str, problem: str) -> None:
    with pytest.raises(NotAuthenticated, match=problem) as refusal:
        checked(token)

    assert refusal.value.hint
    assert refusal.value.code == "UNAUTHENTICATED"


def test_our_public_key_is_no_shared_secret() -> None:
    """Key confusion: whoever knows the public key signs with it as if it were an HMAC secret."""
    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    forged = _hs256(claims(role="admin"), pem)

    with pytest.raises(NotAuthenticated, match="algorithm that is not allowed"):
        checked(forged)


def _hs256(body: dict[str, Any], secret: bytes) -> str:
    """By hand: PyJWT itself refuses to sign with a public key."""
    import hmac

    def part(data: bytes) -> bytes:
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    head = part(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    message = head + b"." + part(json.dumps(body).encode())
    return (message + b"." + part(hmac.digest(secret, message, "sha256"))).decode()


def test_a_changed_claim_breaks_the_signature() -> None:
    head, body, signature = signed().split(".")
    changed = json.loads(base64.urlsafe_b64decode(body + "==")) | {"role": "admin"}
    forged = base64.urlsafe_b64encode(json.dumps(changed).encode()).rstrip(b"=").decode()

    with pytest.raises(NotAuthenticated, match="not signed with our key"):
        checked(f"{head}.{forged}.{signature}")


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer " + "x" * 5_000])
def test_a_header_without_a_token_is_told_what_to_send(header: str) -> None:
    with pytest.raises(NotAuthenticated, match="Authorization: Bearer"):
        CallerTokens(KEY.public_key()).principal(header)


def test_a_token_that_was_good_is_not_believed_after_it_expired(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    callers = CallerTokens(KEY.public_key())
    header = f"Bearer {issue_token(KEY, Role.AGENT, 'ann', now=time() - 100, lifetime_s=105)}"
    callers.principal(header)
    monkeypatch.setattr("gateway.access.tokens.time", lambda: time() + 60)
    monkeypatch.setattr("gateway.access.tokens.CLOCKS_DIFFER_S", -60)

    with pytest.raises(NotAuthenticated, match="expired"):
        callers.principal(header)


def test_only_so_many_tokens_are_remembered() -> None:
    callers = CallerTokens(KEY.public_key(), remembered=3)

    for number in range(10):
        callers.principal(f"Bearer {issue_token(KEY, Role.AGENT, str(number))}")

    assert len(callers._known) == 3


def test_a_services_token_says_who_asks_and_is_not_a_callers() -> None:
    asking = Principal(Role.VISITOR, "shop", tuple(sorted(VISITOR.items())))

    header = ServiceTokens(KEY).authorization(asking)

    read = jwt.decode(header[7:], KEY.public_key(), algorithms=["EdDSA"], audience="raak-service")
    assert Principal.from_claims(read) == asking
    assert read["exp"] - read["iat"] == 60
    with pytest.raises(NotAuthenticated, match="meant for someone else"):
        checked(header[7:])


def test_a_services_token_is_used_for_half_its_life() -> None:
    now = time()
    tokens = ServiceTokens(KEY, clock=lambda: now)
    agent = Principal(Role.AGENT, "ann")
    first = tokens.authorization(agent)

    now += 29
    assert tokens.authorization(agent) == first
    now += 2
    assert tokens.authorization(agent) != first
    assert tokens.authorization(Principal(Role.AGENT, "bob")) != tokens.authorization(agent)


def test_a_file_that_holds_no_such_key_is_refused() -> None:
    locked = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    private = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    for pem in ("", "nonsense", locked.decode(), public.decode()):
        with pytest.raises(UnusableKey, match="raak keys init"):
            private_key(pem)
    for pem in ("", "nonsense", private.decode()):
        with pytest.raises(UnusableKey, match="public half"):
            public_key(pem)
