"""Tokens: only what we signed, for us, for now, is believed."""

import base64
import json
from contextlib import suppress
from time import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jwt.algorithms import OKPAlgorithm

from gateway.access.authentication.api_keys import ApiKeyCache
from gateway.access.authentication.attempts import (
    AuthenticationAttempt,
    SignatureChecks,
    current_attempt,
)
from gateway.access.authentication.authenticator import Authenticator
from gateway.access.authentication.caller_tokens import (
    CallerTokens,
    InvalidTokenRequest,
    TokenRules,
    issue_token,
)
from gateway.access.authentication.service_tokens import ServiceTokens, load_private_key
from gateway.access.authentication.verification_keys import VerificationKey, VerificationKeys
from gateway.access.limits.rate_limits import RateLimits
from services.chassis.principal import NotAuthenticated, Principal, UnusableKey
from services.contracts.enums import Role

KEY = Ed25519PrivateKey.generate()
RSA = generate_private_key(65_537, 2_048)
VISITOR = {"type": "anonymous_id", "value": "v-1"}


def claims(**changed: Any) -> dict[str, Any]:
    """Good claims of an agent, with some changed; None leaves one out."""
    good = {"iss": "raak", "aud": "raak", "sub": "ann", "role": "agent", "exp": time() + 3_600}
    return {name: value for name, value in (good | changed).items() if value is not None}


def signed(key: Any = KEY, algorithm: str = "EdDSA", **changed: Any) -> str:
    return jwt.encode(claims(**changed), key, algorithm=algorithm)


GRANTS = {Role.AGENT: frozenset({"read", "write"}), Role.VISITOR: frozenset({"read"})}


def granted(
    role: Role, narrowed_to: frozenset[str] | None
) -> tuple[frozenset[str], frozenset[str]]:
    scopes = GRANTS.get(role, frozenset())
    return scopes if narrowed_to is None else scopes & narrowed_to, frozenset({f"is {role}"})


def checking(*, key: Any = KEY, rules: TokenRules | None = None, **how: Any) -> CallerTokens:
    """Callers' tokens, checked with one key."""
    keys = VerificationKeys(VerificationKey.of(key.public_key()))
    return CallerTokens(keys, granted, rules, **how)


async def authenticate(token: str) -> Principal:
    return await checking().principal(token)


def somebody(role: Role, subject: str) -> Principal:
    return Principal(role, subject, (), *granted(role, None))


async def test_a_token_we_issued_names_its_caller() -> None:
    token = issue_token(KEY, Role.AGENT, "ann")

    assert await authenticate(token) == somebody(Role.AGENT, "ann")


async def test_a_visitor_comes_with_its_customer() -> None:
    token = issue_token(KEY, Role.VISITOR, "shop", customer=VISITOR)

    assert (await authenticate(token)).customer_ref == VISITOR


async def test_what_other_roles_grant_holds_at_once_for_tokens_known_already() -> None:
    tokens, token = checking(), signed(scope="read")
    await tokens.principal(token)

    tokens.grant_by(lambda role, narrowed_to: (narrowed_to or frozenset(), frozenset({"new"})))

    caller = await tokens.principal(token)
    assert (set(caller.scopes), set(caller.policies)) == ({"read"}, {"new"})


@pytest.mark.parametrize("role", [Role.VISITOR, Role.APP])
def test_a_role_that_speaks_for_one_customer_must_say_for_which(role: Role) -> None:
    with pytest.raises(InvalidTokenRequest, match="which customer it speaks for"):
        issue_token(KEY, role, "shop")


def test_a_role_for_all_customers_speaks_for_no_single_one() -> None:
    with pytest.raises(InvalidTokenRequest, match="speaks for no single customer"):
        issue_token(KEY, Role.AGENT, "ann", customer=VISITOR)


@pytest.mark.parametrize("value", ["undefined", " NULL ", "0", "[object Object]"])
@pytest.mark.parametrize("type", ["anonymous_id", "device", "user_id"])
def test_no_token_speaks_for_a_placeholder(type: str, value: str) -> None:
    with pytest.raises(InvalidTokenRequest, match="stands for nobody"):
        issue_token(KEY, Role.VISITOR, "shop", customer={"type": type, "value": value})


@pytest.mark.parametrize(
    ("token", "problem"),
    [
        (signed(exp=time() - 60), "has expired, [0-9]+ s ago by the gateway's clock"),
        (signed(nbf=time() + 3_000), "not valid yet: it begins [0-9]{4} s from now"),
        (signed(iat=time() + 3_000), "not valid yet: it begins [0-9]{4} s from now"),
        (signed(exp=time() - 60, aud="others"), "has another audience"),
        (signed(exp=time() + 90_000), "86400 are the most"),
        (signed(iat=time() - 86_400, exp=time() + 7_200), "86400 are the most"),
        (signed(aud="raak-profile"), "has another audience"),
        (signed(iss="mallory"), "another issuer"),
        (signed(exp=None), "lacks a claim"),
        (signed(role=None), "lacks a claim"),
        (signed(key=Ed25519PrivateKey.generate()), "not signed with our key"),
        (signed(sub=""), "do not fit"),
        (signed(sub="key:0123456789abcdef"), "do not fit"),
        (signed(role="owner"), "do not fit"),
        (signed(role="visitor"), "do not fit"),
        (signed(role="visitor", customer="v-1"), "do not fit"),
        (signed(role="visitor", customer={"id": 7}), "do not fit"),
        (signed(role="app", customer={"type": "device", "value": "null"}), "do not fit"),
        (signed(role="visitor", customer={"id": ""}), "do not fit"),
        (signed(role="agent", customer=VISITOR), "do not fit"),
        (signed(role="visitor", customer={"id": "\ud800"}), "do not fit"),
        (signed(sub="\ud800"), "do not fit"),
        (signed(role=["owner"]), "do not fit"),
        (signed(role=["agent", "admin"]), "do not fit"),
        (signed(role=[]), "do not fit"),
        (signed(role={}), "do not fit"),
        (signed(scope=7), "do not fit"),
        (signed(scope=["read", 7]), "do not fit"),
        (signed(sub=7), "can be read"),
        (signed(exp=float("inf")), "can be read"),
        (signed(exp=float("nan")), "can be read"),
        (signed(exp=[]), "can be read"),
        (signed(nbf="soon"), "can be read"),
        (jwt.encode(claims(), KEY, "EdDSA", headers={"crit": ["b64"]}), "can be read"),
        (jwt.encode(claims(), KEY, "EdDSA", headers={"crit": ["exp"], "exp": 1}), "can be read"),
        (signed(key="secret" * 8, algorithm="HS256"), "algorithm that is not allowed"),
        (jwt.encode(claims(), "", algorithm="none"), "algorithm that is not allowed"),
        ("x.y.z", "can be read"),
        ("nonsense", "can be read"),
    ],
)
async def test_any_other_token_is_refused_and_told_why(token: str, problem: str) -> None:
    with pytest.raises(NotAuthenticated, match=problem) as refusal:
        await authenticate(token)

    assert refusal.value.hint
    assert refusal.value.code == "UNAUTHENTICATED"
    assert token not in str(refusal.value)


async def test_our_public_key_is_no_shared_secret() -> None:
    """Key confusion: whoever knows the public key signs with it as if it were an HMAC secret."""
    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    forged = _hs256(claims(role="admin"), pem)

    with pytest.raises(NotAuthenticated, match="algorithm that is not allowed"):
        await authenticate(forged)


def _hs256(body: dict[str, Any], secret: bytes) -> str:
    """By hand: PyJWT itself refuses to sign with a public key."""
    import hmac

    def part(data: bytes) -> bytes:
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    head = part(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    message = head + b"." + part(json.dumps(body).encode())
    return (message + b"." + part(hmac.digest(secret, message, "sha256"))).decode()


async def test_a_changed_claim_breaks_the_signature() -> None:
    head, body, signature = signed().split(".")
    changed = json.loads(base64.urlsafe_b64decode(body + "==")) | {"role": "admin"}
    forged = base64.urlsafe_b64encode(json.dumps(changed).encode()).rstrip(b"=").decode()

    with pytest.raises(NotAuthenticated, match="not signed with our key"):
        await authenticate(f"{head}.{forged}.{signature}")


@pytest.mark.parametrize("stamps", [{"iat": time()}, {}, {"iat": time() - 80_000}])
async def test_a_token_may_live_as_long_as_its_rules_say(stamps: dict[str, Any]) -> None:
    whole = signed(**stamps, exp=int(stamps.get("iat", time())) + 86_400)
    half = TokenRules(longest_life_s=43_200)

    assert await authenticate(whole) == somebody(Role.AGENT, "ann")
    with pytest.raises(NotAuthenticated, match=r"43200 are the most \(token_longest_life_s\)"):
        await checking(rules=half).principal(whole)


@pytest.mark.parametrize(
    ("token", "is_genuine"),
    [
        (signed(), True),
        (signed(exp=time() - 60), True),
        (signed(nbf=time() + 3_000), True),
        (signed(exp=time() - 60, aud="others"), False),
        (signed(exp=time() - 60, key=Ed25519PrivateKey.generate()), False),
        ("guess", False),
    ],
)
async def test_only_what_was_signed_for_us_is_no_guess(token: str, is_genuine: bool) -> None:
    current_attempt.set(tried := AuthenticationAttempt("203.0.113.9"))
    keys = VerificationKeys(VerificationKey.of(KEY.public_key()))
    callers = Authenticator(CallerTokens(keys, granted), ApiKeyCache("", granted))

    for _ in range(2):  # the second time from memory
        tried.is_genuine = False
        with suppress(NotAuthenticated):
            await callers.authenticate({"authorization": f"Bearer {token}"})
        assert tried.is_genuine == is_genuine


async def test_tokens_that_are_known_wait_for_no_turn() -> None:
    checks = SignatureChecks(RateLimits(signature_checks_per_s=10), lambda: 0.0)
    callers = checking(checks=checks)
    known = signed()
    await callers.principal(known)
    for n in range(9):
        await callers.principal(signed(sub=f"caller {n}"))

    for _ in range(100):
        assert await callers.principal(known) == somebody(Role.AGENT, "ann")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens whose signature was checked, in order."""
    tokens: list[str] = []
    decode = jwt.decode

    def counting(token: str, *arguments: Any, **options: Any) -> Any:
        if options["options"].get("verify_signature", True):
            tokens.append(token)
        return decode(token, *arguments, **options)

    monkeypatch.setattr(jwt, "decode", counting)
    return tokens


async def test_a_token_is_checked_once_and_again_when_it_has_expired(decoded: list[str]) -> None:
    now = time()
    callers = checking(clock=lambda: now)
    token = issue_token(KEY, Role.AGENT, "ann", now=now, lifetime_s=100)

    for wait in (0, 50, 49, 2):  # PyJWT has a clock of its own, to which all is well
        now += wait
        await callers.principal(token)

    assert decoded == [token, token]


async def test_only_so_many_tokens_and_refusals_are_remembered() -> None:
    callers = checking(remembered=3)

    for number in range(10):
        await callers.principal(issue_token(KEY, Role.AGENT, str(number)))
    for number in range(1_100):
        with pytest.raises(NotAuthenticated):
            await callers.principal(f"x.y.{number}")

    assert len(callers._valid) == 3
    assert len(callers._refused) == 1_000


async def test_what_is_too_long_to_be_a_token_takes_no_memory() -> None:
    callers = checking()

    with pytest.raises(NotAuthenticated, match="more than 8192 characters"):
        await callers.principal("x" * 8_193)

    assert len(callers._refused) == 0


async def test_a_refusal_is_remembered_for_five_seconds_and_then_tried_again(
    decoded: list[str],
) -> None:
    now = time()
    callers = checking(clock=lambda: now)
    early = signed(nbf=time() + 3_000)

    for wait in (0, 4, 2):
        now += wait
        with pytest.raises(NotAuthenticated, match="not valid yet"):
            await callers.principal(early)

    assert decoded == [early, early]


@pytest.mark.parametrize(
    ("scope", "left"),
    [
        (None, {"read", "write"}),
        ("read", {"read"}),
        ("read profile openid", {"read"}),
        ("openid profile", {"read", "write"}),
        (["write", "everything"], {"write"}),
        ("", set()),
        ([], set()),
    ],
)
async def test_a_scope_claim_narrows_what_the_role_may_and_gives_nothing(
    scope: Any, left: set[str]
) -> None:
    caller = await authenticate(signed(scope=scope, scopes=["admin"], policies=["staff"]))

    assert caller.scopes == left
    assert caller.policies == {"is agent"}


async def test_a_token_is_issued_with_the_scopes_it_is_narrowed_to() -> None:
    narrowed = issue_token(KEY, Role.AGENT, "ann", scopes=frozenset({"read"}))
    none_left = issue_token(KEY, Role.AGENT, "ann", scopes=frozenset())

    assert (await authenticate(narrowed)).scopes == {"read"}
    assert (await authenticate(none_left)).scopes == set()


async def test_an_issuer_may_have_its_own_names_for_things() -> None:
    rules = TokenRules(
        "https://id.example", "shop-api", "raak_role", "raak_customer", "permissions"
    )
    theirs = claims(
        iss="https://id.example",
        aud=["account", "shop-api"],
        role="admin",
        raak_role="visitor",
        raak_customer={"id": "7"},
        permissions=["read"],
    )

    caller = await checking(rules=rules).principal(jwt.encode(theirs, KEY, "EdDSA"))

    assert (caller.role, caller.customer_ref) == (Role.VISITOR, {"id": "7"})
    assert caller.scopes == {"read"}
    with pytest.raises(NotAuthenticated, match=r"iss.*https://id\.example"):
        await checking(rules=rules).principal(signed(aud="shop-api", raak_role="agent"))
    with pytest.raises(NotAuthenticated, match="raak_role"):
        await checking(rules=rules).principal(
            signed(iss="https://id.example", aud="shop-api", raak_role=None)
        )


async def test_a_token_signed_with_rsa_is_good_where_the_key_is_rsa() -> None:
    token = signed(RSA, "RS256")

    assert (await checking(key=RSA).principal(token)).subject == "ann"
    with pytest.raises(NotAuthenticated, match="algorithm that is not allowed"):
        await checking(key=KEY).principal(token)
    with pytest.raises(NotAuthenticated, match="algorithm that is not allowed"):
        await checking(key=RSA).principal(signed())
    for algorithm in ("RS512", "PS256"):
        with pytest.raises(NotAuthenticated, match="algorithm that is not allowed"):
            await checking(key=RSA).principal(signed(RSA, algorithm))


async def test_a_key_that_comes_with_the_token_is_not_believed() -> None:
    mallory = Ed25519PrivateKey.generate()
    own = json.loads(OKPAlgorithm.to_jwk(mallory.public_key()))
    for said in ({"jwk": own}, {"jku": "https://mallory.example"}, {"x5u": "https://m.example"}):
        with pytest.raises(NotAuthenticated, match="not signed with our key"):
            await authenticate(jwt.encode(claims(), mallory, "EdDSA", headers=said))


async def test_a_services_token_says_who_asks_and_is_not_a_callers() -> None:
    pairs = tuple(sorted(VISITOR.items()))
    asking = Principal(Role.VISITOR, "shop", pairs, frozenset({"read"}), frozenset({"kind"}))

    header = ServiceTokens(KEY).authorization(asking, "profile")

    read = jwt.decode(header[7:], KEY.public_key(), algorithms=["EdDSA"], audience="raak-profile")
    assert Principal.from_claims(read) == asking
    assert read["exp"] - read["iat"] == 60
    with pytest.raises(NotAuthenticated, match="has another audience"):
        await authenticate(header[7:])


def test_a_services_token_is_used_for_half_its_life() -> None:
    now = time()
    tokens = ServiceTokens(KEY, clock=lambda: now)
    agent = Principal(Role.AGENT, "ann")
    first = tokens.authorization(agent, "profile")

    now += 29
    assert tokens.authorization(agent, "decision") != first
    assert tokens.authorization(agent, "profile") == first
    now += 2
    assert tokens.authorization(agent, "profile") != first
    assert tokens.authorization(Principal(Role.AGENT, "bob"), "profile") != tokens.authorization(
        agent, "profile"
    )


def test_a_file_that_holds_no_such_key_is_refused() -> None:
    locked = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    private = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    for pem in ("", "nonsense", locked.decode(), public.decode()):
        with pytest.raises(UnusableKey, match="raak keys init"):
            load_private_key(pem)
    for pem in ("", "nonsense", private.decode()):
        with pytest.raises(UnusableKey, match="public half"):
            VerificationKey.from_pem(pem)
