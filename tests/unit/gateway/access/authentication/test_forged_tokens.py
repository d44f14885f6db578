"""Tokens made to deceive: whatever is sent, nobody comes in who was not let in."""

import asyncio
import base64
import hmac
import json
from time import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.access.authentication.api_keys import ApiKeyCache
from gateway.access.authentication.authenticator import Authenticator
from gateway.access.authentication.caller_tokens import CallerTokens
from gateway.access.authentication.verification_keys import VerificationKey, VerificationKeys
from gateway.access.authorization.roles import Roles
from services.chassis.principal import NotAuthenticated, Principal
from services.contracts.enums import Role

OURS, MALLORYS = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
RSA, MALLORYS_RSA = generate_private_key(65_537, 2_048), generate_private_key(65_537, 2_048)
PUBLIC = [
    key.public_key().public_bytes(encoding, form)
    for key in (OURS, RSA)
    for encoding, form in (
        (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        (Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    )
]
"""What everybody may know, as it could be taken for a secret."""

GOOD = {
    "iss": "raak",
    "aud": "raak",
    "sub": "ann",
    "role": "agent",
    "exp": int(time()) + 3_600,
}
TOKENS = [jwt.encode(GOOD, OURS, "EdDSA", {"kid": "ours"}), jwt.encode(GOOD, RSA, "RS256")]

MUTE = Principal(Role.ADMIN, "a refusal that says nothing")

GRANTED = Roles.read().resolve_grant
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(
    ["kid", "jwk", "jku", "x5u", "x5c", "x5t", "crit", "b64", "zip", "typ", "cty"]
)
ALGORITHMS = (
    st.sampled_from(
        [
            "none",
            "None",
            "nOnE",
            "",
            "HS256",
            "HS384",
            "HS512",
            "EdDSA",
            "RS256",
            "RS512",
            "PS256",
            "ES256",
        ]
    )
    | JSON
)


class Known:
    """The keys that are believed, as a key set would have them."""

    def __init__(self) -> None:
        self.keys = VerificationKeys(VerificationKey.of(RSA.public_key()))
        self.keys._by_name = {"ours": VerificationKey.of(OURS.public_key())}


def verify(authorization: str) -> Principal | None:
    """Who the header is taken for; None when it is refused with a reason."""
    callers = Authenticator(CallerTokens(Known().keys, GRANTED), ApiKeyCache("secret", GRANTED))
    try:
        return asyncio.run(callers.authenticate({"authorization": authorization}))
    except NotAuthenticated as refusal:
        return None if refusal.problem and refusal.hint else MUTE


def part(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def test_the_tokens_that_are_forged_below_are_good_as_they_are() -> None:
    assert all(verify(f"Bearer {token}") for token in TOKENS)


@given(
    head=st.dictionaries(NAMES, JSON, max_size=3),
    algorithm=ALGORITHMS,
    claims=st.dictionaries(st.sampled_from([*GOOD, "nbf", "iat", "customer", "scope"]), JSON),
    secret=st.sampled_from(PUBLIC) | st.binary(max_size=8),
)
@settings(max_examples=200, deadline=None)
def test_a_token_signed_with_what_everybody_knows_is_refused(
    head: dict[str, Any], algorithm: Any, claims: dict[str, Any], secret: bytes
) -> None:
    signed = f"{part({**head, 'alg': algorithm})}.{part({**GOOD, **claims})}"
    digest = "sha512" if algorithm == "HS512" else "sha256"
    signatures = (b"", hmac.digest(secret, signed.encode(), digest), MALLORYS.sign(signed.encode()))

    assert [verify(f"Bearer {signed}.{part(signature)}") for signature in signatures] == [None] * 3


@given(
    token=st.sampled_from(TOKENS),
    place=st.integers(min_value=0, max_value=10_000),
    what=st.characters() | st.sampled_from(["", ".", "=", "A", "-"]),
)
@settings(max_examples=200, deadline=None)
def test_a_token_that_was_changed_anywhere_is_refused_or_means_the_same(
    token: str, place: int, what: str
) -> None:
    at = place % len(token)
    changed = token[:at] + what + token[at + 1 :]

    caller = verify(f"Bearer {changed}")

    # base64 has spare bits at the end of a part: another text for the same bytes is no forgery
    assert caller is None or (_bytes(changed) == _bytes(token) and caller.subject == "ann")


def _bytes(token: str) -> list[bytes]:
    return [base64.urlsafe_b64decode(part + "==") for part in token.split(".")]


@given(claims=st.dictionaries(st.sampled_from([*GOOD, "nbf", "iat", "customer", "scope"]), JSON))
@settings(max_examples=150, deadline=None)
def test_whatever_an_issuer_says_is_understood_or_refused(claims: dict[str, Any]) -> None:
    head = {"alg": "EdDSA", "kid": "ours"}
    signed = f"{part(head)}.{part({**GOOD, **claims})}"

    caller = verify(f"Bearer {signed}.{part(OURS.sign(signed.encode()))}")

    if caller is not None:
        scopes, policies = GRANTED(caller.role, None)
        assert caller.scopes <= scopes
        assert caller.policies <= policies
        assert caller.own_customer_only == bool(caller.customer)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda b: b.decode("latin-1")))
@settings(max_examples=200, deadline=None)
def test_any_header_is_answered(text: str) -> None:
    for header in (text, f"Bearer {text}", f"Bearer raak_{text}", f"bearer {text}.{text}.{text}"):
        assert verify(header) is None


def test_brackets_without_end_are_refused() -> None:
    deep = part(b"[" * 5_000)

    assert verify(f"Bearer {deep}.{deep}.{deep}") is None


def test_a_key_of_one_type_is_never_used_for_the_algorithm_of_another() -> None:
    for head, key in (
        ({"alg": "RS256", "kid": "ours"}, MALLORYS_RSA),
        ({"alg": "RS256"}, MALLORYS_RSA),
        ({"alg": "EdDSA"}, MALLORYS),
    ):
        forged = jwt.encode(GOOD, key, head["alg"], head)
        assert verify(f"Bearer {forged}") is None


def test_a_token_that_asks_for_extensions_is_refused_though_it_is_ours() -> None:
    extras: list[dict[str, Any]] = [{"crit": ["b64"], "b64": True}, {"crit": []}, {"b64": None}]
    for extra in extras:
        signed = f"{part({'alg': 'EdDSA', 'kid': 'ours', **extra})}.{part(GOOD)}"
        assert verify(f"Bearer {signed}.{part(OURS.sign(signed.encode()))}") is None
