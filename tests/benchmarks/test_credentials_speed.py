"""Who asks is known at once: a request must not wait for a signature that was checked before.

Measured: from the headers of a request to its caller. Target: 5 µs for a token seen before.
Run: pytest -m benchmark tests/benchmarks/test_credentials_speed.py -s
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from statistics import median
from time import perf_counter, time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from gateway.access.authentication.api_keys import ApiKeyCache, create_key
from gateway.access.authentication.authenticator import Authenticator
from gateway.access.authentication.caller_tokens import CallerTokens
from gateway.access.authentication.verification_keys import VerificationKey, VerificationKeys
from gateway.access.authorization.roles import Roles
from services.chassis.principal import NotAuthenticated
from services.contracts.enums import Role

PrivateKey = Ed25519PrivateKey | RSAPrivateKey

GRANTED = Roles.read().resolve_grant
ED25519, RSA = Ed25519PrivateKey.generate(), generate_private_key(65_537, 2_048)
SECRET = "what the keys are hashed with"
TEXT, KEY = create_key(
    SECRET, GRANTED, name="shop", role=Role.AGENT, scopes=None, now=datetime.now(UTC)
)
ROUNDS, EACH = 9, 2_000


def callers(key: PrivateKey) -> Authenticator:
    keys = ApiKeyCache(SECRET, GRANTED)
    keys.adopt([KEY])
    public = VerificationKey.of(key.public_key())
    return Authenticator(CallerTokens(VerificationKeys(public), GRANTED), keys)


def tokens(key: PrivateKey, algorithm: str, number: int) -> list[str]:
    claims = {"iss": "raak", "aud": "raak", "role": "agent", "exp": int(time()) + 600}
    return [jwt.encode(claims | {"sub": str(n)}, key, algorithm) for n in range(number)]


async def microseconds(known: Authenticator, credentials: Sequence[str]) -> float:
    """What one of these requests takes; the text is a new one each time, as from a socket."""
    raw = [f"Bearer {credential}".encode() for credential in credentials]
    started = perf_counter()
    for header in raw:
        with suppress(NotAuthenticated):
            await known.authenticate({"authorization": header.decode("latin-1")})
    return (perf_counter() - started) / len(raw) * 1e6


async def measured() -> dict[str, float]:
    known = callers(ED25519)
    [good] = tokens(ED25519, "EdDSA", 1)
    await microseconds(known, [good])
    again = {
        "token seen before": [good] * EACH,
        "API key": [TEXT] * EACH,
        "bad token seen before": [f"{good[:-8]}AAAAAAAA"] * EACH,
    }
    figures = {
        what: median([await microseconds(known, many) for _ in range(ROUNDS)])
        for what, many in again.items()
    }
    new: dict[str, tuple[PrivateKey, str]] = {
        "new token, EdDSA": (ED25519, "EdDSA"),
        "new token, RS256": (RSA, "RS256"),
    }
    for what, (key, algorithm) in new.items():
        figures[what] = await microseconds(callers(key), tokens(key, algorithm, 500))
    return figures


@pytest.mark.benchmark
def test_knowing_who_asks() -> None:
    figures = asyncio.run(measured())

    for what, took in figures.items():
        print(f"{what:24} {took:7.1f} µs")
    assert figures["token seen before"] < 5
