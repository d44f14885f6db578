"""Which internal tokens a service accepts, and what it knows of their caller."""

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from gateway.access.authentication.caller_tokens import issue_token
from infra.instance import make_keys
from services.chassis.masking import USUAL
from services.chassis.principal import (
    ALGORITHM,
    LOOKUP_POLICY,
    Forbidden,
    NotAuthenticated,
    Principal,
    ServiceTokenVerifier,
    UnusableKey,
)
from services.contracts.enums import Role
from services.contracts.identity import ANONYMOUS_TYPES, KNOWN_TYPES

Keys = tuple[Path, Path]

AGENT = Principal(
    Role.AGENT, "desk 7", (), frozenset({"customers:read", "results:read"}), frozenset({"staff"})
)
VISITOR = Principal(Role.VISITOR, "site", (("type", "anonymous_id"), ("value", "v-1")))
SERVER = Principal(Role.AGENT, "key:0123456789abcdef", (), frozenset({"customers:read"}))


def token(keys: Keys, principal: Principal = AGENT, **changed: Any) -> str:
    """An internal token as the gateway makes it, but for what is changed (None: left out)."""
    claims = {
        **principal.claims(),
        "iss": "raak",
        "aud": "raak-profile",
        "exp": datetime.now(UTC) + timedelta(minutes=1),
        **changed,
    }
    present = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(present, keys[0].read_text(), algorithm=ALGORITHM)


def part(content: dict[str, Any]) -> str:
    """One part of a token made by hand."""
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("type", sorted(KNOWN_TYPES))
def test_what_is_hidden_when_it_is_shown_names_nobody_either(type: str) -> None:
    allowed = replace(AGENT, policies=frozenset({LOOKUP_POLICY}), scopes=frozenset())

    with pytest.raises(Forbidden, match=f"'agent' may not name a customer by {type}"):
        AGENT.check_lookup(type)

    assert USUAL.identifies(type)
    allowed.check_lookup(type)
    VISITOR.check_lookup(type)


@pytest.mark.parametrize("type", sorted(ANONYMOUS_TYPES))
def test_a_browser_or_device_may_be_named_by_anybody(type: str) -> None:
    AGENT.check_lookup(type)

    assert not USUAL.identifies(type)


def test_a_caller_is_who_the_gateway_says(key_files: Keys) -> None:
    verifier = ServiceTokenVerifier(key_files[1], "profile")

    assert verifier.principal(f"Bearer {token(key_files)}") == AGENT
    assert verifier.principal(f"bearer {token(key_files, VISITOR)}") == VISITOR
    assert verifier.principal(f"Bearer {token(key_files, SERVER)}") == SERVER


def test_what_a_caller_may_do_comes_with_him_and_nothing_is_added() -> None:
    assert Principal.from_claims(AGENT.claims()) == AGENT
    assert Principal.from_claims({"role": "admin", "sub": "root"}).scopes == frozenset()
    assert Principal.from_claims({"role": "admin", "sub": "root"}).policies == frozenset()


def test_a_token_narrowed_to_less_is_another_caller(key_files: Keys) -> None:
    verifier = ServiceTokenVerifier(key_files[1], "profile")
    narrowed = token(key_files, scope="results:read", policies=[])

    verifier.principal(f"Bearer {token(key_files)}")

    assert verifier.principal(f"Bearer {narrowed}").scopes == {"results:read"}
    assert verifier.principal(f"Bearer {narrowed}").policies == frozenset()


def test_a_visitor_speaks_for_one_customer_and_an_agent_for_none() -> None:
    assert VISITOR.own_customer_only
    assert VISITOR.customer_ref == {"type": "anonymous_id", "value": "v-1"}
    assert not AGENT.own_customer_only
    assert AGENT.customer_ref is None


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": datetime(2026, 11, 22, tzinfo=UTC)},
        {"exp": None},
        {"sub": None},
        {"role": None},
        {"role": "king"},
        {"aud": "raak-gateway"},
        {"aud": "raak-decision"},
        {"aud": "raak-service"},
        {"aud": None},
        {"iss": "somebody"},
        {"iss": None},
        {"customer": "v-1"},
        {"policies": 7},
        {"exp": float("inf")},
        {"aud": "raak"},
        {"aud": ["raak"]},
    ],
    ids=str,
)
def test_a_token_with_a_wrong_or_missing_claim_is_refused(
    key_files: Keys, changed: dict[str, Any]
) -> None:
    with pytest.raises(NotAuthenticated, match="must share one key pair"):
        ServiceTokenVerifier(key_files[1], "profile").principal(
            f"Bearer {token(key_files, **changed)}"
        )


def test_the_public_key_is_no_shared_secret(key_files: Keys) -> None:
    claims = jwt.decode(token(key_files), options={"verify_signature": False})
    signed = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(claims)}"
    mac = hmac.new(key_files[1].read_bytes(), signed.encode(), hashlib.sha256).digest()
    forged = f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"

    with pytest.raises(NotAuthenticated, match="InvalidAlgorithmError"):
        ServiceTokenVerifier(key_files[1], "profile").principal(f"Bearer {forged}")


def test_an_unsigned_token_is_refused(key_files: Keys) -> None:
    claims = jwt.decode(token(key_files), options={"verify_signature": False})
    unsigned = f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}."

    with pytest.raises(NotAuthenticated, match="not valid"):
        ServiceTokenVerifier(key_files[1], "profile").principal(f"Bearer {unsigned}")


def test_a_callers_own_token_opens_no_service(key_files: Keys) -> None:
    """One key may sign both in development: what tells them apart is whom they are meant for."""
    signing = load_pem_private_key(key_files[0].read_bytes(), password=None)
    assert isinstance(signing, Ed25519PrivateKey)

    with pytest.raises(NotAuthenticated, match="InvalidAudienceError"):
        ServiceTokenVerifier(key_files[1], "profile").principal(
            f"Bearer {issue_token(signing, Role.ADMIN, 'root')}"
        )


def test_a_token_of_another_gateway_is_refused(key_files: Keys, tmp_path: Path) -> None:
    theirs = make_keys(tmp_path)

    with pytest.raises(NotAuthenticated, match="InvalidSignatureError"):
        ServiceTokenVerifier(key_files[1], "profile").principal(f"Bearer {token(theirs[:2])}")


def test_a_token_that_was_changed_under_way_is_refused(key_files: Keys) -> None:
    head, body, signature = token(key_files, VISITOR).split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    for change in ({"role": "admin"}, {"scope": "customers:read"}, {"policies": ["staff"]}):
        promoted = f"{head}.{part(claims | change)}.{signature}"
        with pytest.raises(NotAuthenticated, match="InvalidSignatureError"):
            ServiceTokenVerifier(key_files[1], "profile").principal(f"Bearer {promoted}")


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Basic YTpi", "Bearer x", "Bearer a.b.c", "Bearer é"]
)
def test_what_is_no_token_is_refused(key_files: Keys, header: str | None) -> None:
    with pytest.raises(NotAuthenticated):
        ServiceTokenVerifier(key_files[1], "profile").principal(header)


def test_a_token_is_a_bearers_also_when_it_is_remembered(key_files: Keys) -> None:
    verifier, good = ServiceTokenVerifier(key_files[1], "profile"), token(key_files)
    verifier.principal(f"Bearer {good}")

    with pytest.raises(NotAuthenticated, match="carries no token"):
        verifier.principal(f"Basic {good}")


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_the_gateways_clock_may_be_ahead_a_little(key_files: Keys, claim: str) -> None:
    verifier, now = ServiceTokenVerifier(key_files[1], "profile"), datetime.now(UTC)

    def ahead(seconds: int) -> str:
        changed: dict[str, Any] = {claim: now + timedelta(seconds=seconds)}
        return f"Bearer {token(key_files, **changed)}"

    assert verifier.principal(ahead(5)) == AGENT
    with pytest.raises(
        NotAuthenticated, match=r"begins (29|30) s from now by this service's clock"
    ):
        verifier.principal(ahead(30))


@pytest.mark.parametrize("content", [None, b"", b"\xff", "private", "rsa"])
def test_a_file_without_the_gateways_public_key_is_refused_at_once(
    key_files: Keys, tmp_path: Path, content: bytes | str | None
) -> None:
    file = tmp_path / "key.pem"
    if content is not None:
        file.write_bytes(pem(key_files, content) if isinstance(content, str) else content)

    with pytest.raises(UnusableKey, match=r"key\.pem' holds no Ed25519 public key"):
        ServiceTokenVerifier(file, "profile")


def pem(keys: Keys, kind: str) -> bytes:
    if kind == "private":
        return keys[0].read_bytes()
    public = generate_private_key(65_537, 2_048).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_a_remembered_token_is_forgotten_when_it_expires(key_files: Keys) -> None:
    now = datetime.now(UTC)
    verifier = ServiceTokenVerifier(key_files[1], "profile", clock=lambda: now)
    header = f"Bearer {token(key_files, exp=now + timedelta(seconds=30))}"
    assert verifier.principal(header) == AGENT

    now += timedelta(seconds=29)
    assert verifier.principal(header) == AGENT
    now += timedelta(seconds=1)

    with pytest.raises(NotAuthenticated, match="ExpiredSignatureError"):
        verifier.principal(header)
    now += timedelta(seconds=70)
    with pytest.raises(NotAuthenticated, match=r"expired 7[01] s ago by this service's clock"):
        verifier.principal(header)


def test_a_verifier_checks_a_signature_once_and_remembers_only_so_many(
    key_files: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    decode = jwt.decode

    def counting(token: str, *arguments: Any, **options: Any) -> Any:
        decoded.append(token)
        return decode(token, *arguments, **options)

    monkeypatch.setattr(jwt, "decode", counting)
    verifier = ServiceTokenVerifier(key_files[1], "profile", max_cached=2)
    one, two, three = (token(key_files, sub=f"desk {n}") for n in range(3))

    for each in (one, one, two, three, three, one):  # the third pushes the first one out
        verifier.principal(f"Bearer {each}")

    assert decoded == [one, two, three, one]
