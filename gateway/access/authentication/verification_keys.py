"""The public keys callers' tokens are checked with: of a PEM file, and of a JSON Web Key Set.

A key decides by its own type which algorithm it may check; what a token says of that is only
compared with it. Of a key set only the numbers of the public keys are used.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, cast

import httpx
import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import InvalidKeyError
from prometheus_client import Counter

from services.chassis.errors import RaakError, Unavailable
from services.chassis.principal import NotAuthenticated, UnusableKey

log = logging.getLogger(__name__)

PAUSE_S = 10.0
"""How long after a fetch the set is not fetched again for a key that is not in it."""
FETCH_S = 5.0
MOST_WAITING = 1_000
"""Requests that may wait for one fetch: as many as a good issuer keeps in a busy moment, and no
more than a silent one may make us hold.
"""
LARGEST_SET_BYTES = 256 * 1024
MOST_KEYS = 100
SMALLEST_RSA_BITS = 2_048

FETCHES = Counter("raak_key_set_fetches", "Fetches of the key set by outcome", ["outcome"])

PublicKey = Ed25519PublicKey | EllipticCurvePublicKey | RSAPublicKey

ALGORITHMS: Mapping[type, str] = {
    Ed25519PublicKey: "EdDSA",
    EllipticCurvePublicKey: "ES256",
    RSAPublicKey: "RS256",
}
"""The one algorithm each type of key may check."""


class UnusableKeySet(RaakError, code="UNUSABLE_KEY_SET", status=500):
    """A key set is malformed, or cannot be fetched."""


class UnknownKey(NotAuthenticated):
    """A token names a key that is not among those we check with."""


class KeySetUnavailable(Unavailable, code="KEY_SET_UNAVAILABLE"):
    """A token names a key that may be in the key set as it is now, which cannot be read."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key, and the only algorithm it checks."""

    key: PublicKey
    algorithm: str

    @classmethod
    def of(cls, key: object) -> "VerificationKey":
        """A public key as it may be used; raises UnusableKey."""
        algorithm = next((name for kind, name in ALGORITHMS.items() if isinstance(key, kind)), None)
        if algorithm is None:
            raise _unusable("is neither Ed25519 nor EC nor RSA")
        if isinstance(key, EllipticCurvePublicKey) and not isinstance(key.curve, SECP256R1):
            raise _unusable(
                f"is EC on the curve {key.curve.name}, and P-256 is the one that is used"
            )
        if isinstance(key, RSAPublicKey) and key.key_size < SMALLEST_RSA_BITS:
            raise _unusable(f"is RSA of {key.key_size} bits, and {SMALLEST_RSA_BITS} are needed")
        return cls(cast(PublicKey, key), algorithm)

    @classmethod
    def from_pem(cls, pem: str) -> "VerificationKey":
        """The public key in a PEM text; raises UnusableKey."""
        try:
            return cls.of(load_pem_public_key(pem.encode()))
        except (ValueError, UnsupportedAlgorithm):
            raise _unusable("is no public key in PEM") from None


def _unusable(why: str) -> UnusableKey:
    return UnusableKey(
        f"The key for callers' tokens {why}.",
        hint="Name the public half (Ed25519, EC P-256 or RSA, PEM) of the pair that signs them.",
    )


NamedKeys = Mapping[str | None, VerificationKey]
"""Keys by `kid`; None names the one that has no name."""


def read_key_set(document: bytes) -> NamedKeys:
    """The keys of a JSON Web Key Set that can check tokens; the others are passed over.

    Raises UnusableKeySet for what is no key set.
    """
    try:
        entries = orjson.loads(document)["keys"]
        entries = [entry for entry in entries if isinstance(entry, dict)]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise UnusableKeySet(
            "The key set is not JSON with a list of `keys`.",
            hint="Give the address the issuer calls `jwks_uri`.",
        ) from None
    keys: dict[str | None, VerificationKey] = {}
    for name, key in _read_entries(entries[:MOST_KEYS]):
        keys.setdefault(name, key)  # of two with one name the first, wherever the token came from
    return keys


def _read_entries(entries: list[dict[str, Any]]) -> Iterator[tuple[str | None, VerificationKey]]:
    for entry in entries:
        name, form = entry.get("kid"), FORMS.get(str(entry.get("kty")))
        if form is None or not isinstance(name, str | None) or not _is_for_checking(entry):
            continue
        try:
            key = VerificationKey.of(form({part: entry[part] for part in PARTS[entry["kty"]]}))
        except (InvalidKeyError, UnusableKey, KeyError, TypeError, ValueError):
            continue
        if entry.get("alg", key.algorithm) == key.algorithm:
            yield name, key


FORMS: Mapping[str, Callable[[dict[str, Any]], object]] = {
    "EC": ECAlgorithm.from_jwk,
    "OKP": OKPAlgorithm.from_jwk,
    "RSA": RSAAlgorithm.from_jwk,
}
PARTS = {
    "EC": ("kty", "crv", "x", "y"),
    "OKP": ("kty", "crv", "x"),
    "RSA": ("kty", "n", "e"),
}
"""The members that make a public key; a private part that was published by mistake stays unread."""


def _is_for_checking(entry: Mapping[str, Any]) -> bool:
    operations = entry.get("key_ops", ["verify"])
    return (
        entry.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations
    )


ReadKeySet = Callable[[], Awaitable[bytes]]
"""Reads a key set from its file or address; raises OSError, httpx.HTTPError or RaakError."""


def key_set_reader(place: str) -> ReadKeySet:
    """How to read the key set at an address (https://…) or in a file."""

    async def from_file() -> bytes:
        return await asyncio.to_thread(Path(place).read_bytes)

    return (lambda: _fetch(place)) if place.startswith(("https://", "http://")) else from_file


async def _fetch(url: str) -> bytes:
    async with (
        httpx.AsyncClient(follow_redirects=False) as client,
        client.stream("GET", url, headers={"Accept": "application/json"}) as answer,
    ):
        if answer.status_code != 200:
            raise UnusableKeySet(
                f"The issuer answered {answer.status_code} instead of a key set.",
                hint="Give the address itself: redirects are not followed.",
            )
        body = bytearray()
        async for chunk in answer.aiter_bytes():
            body += chunk
            if len(body) > LARGEST_SET_BYTES:
                raise UnusableKeySet(
                    f"The key set has more than {LARGEST_SET_BYTES // 1024} KB.",
                    hint="Give the address the issuer calls `jwks_uri`.",
                )
        return bytes(body)


class VerificationKeys:
    """The keys that tokens may be signed with now: `own`, and those of a key set that changes.

    A token whose key has no name, or a name the set does not have, is checked with `own`.
    """

    def __init__(
        self,
        own: VerificationKey | None = None,
        read: ReadKeySet | None = None,
        clock: Callable[[], float] = monotonic,
        *,
        within_s: float = FETCH_S,
    ) -> None:
        self._own = own
        self._read = read
        self._clock = clock
        self._within_s = within_s
        self._by_name: NamedKeys = {}
        self._fetch: asyncio.Task[None] | None = None
        self._fetched_at = -PAUSE_S
        self._is_away = False
        self._waiting = 0
        self._was_read = read is None
        self.version = 0
        """Grows when a key comes or goes: what was checked before may not hold any more."""

    def not_ready(self) -> str | None:
        """Why tokens cannot be checked yet; None once the key set has been read."""
        return None if self._was_read else "The key set of callers' tokens has not been read yet."

    async def key_for(self, kid: str | None) -> VerificationKey:
        """The key a token names; raises UnknownKey, or KeySetUnavailable while that cannot be said.

        A name that is not in the set may be newer than the set: it is fetched once more, once for
        all who wait, and not again for ten seconds.
        """
        key = self._by_name.get(kid)
        if key is None and (kid is not None or self._own is None):
            await self._look_again()
            key = self._by_name.get(kid)
        key = key or self._own
        if key is None:
            raise self._none()
        return key

    def _none(self) -> RaakError:
        if self._is_away:
            return KeySetUnavailable(
                "The token names a key that is not known here, and the issuer's key set cannot be "
                "read now.",
                hint="Try again shortly; operators: see whether the key set is in reach.",
            )
        return UnknownKey(
            "The token is signed with a key that is not known here.",
            hint="Its `kid` must name a key of the issuer's key set.",
        )

    async def _look_again(self) -> None:
        """Wait until the set has been fetched, if that may help and not too many wait already."""
        if self._read is None or self._waiting == MOST_WAITING:
            return
        if self._fetch is None and self._clock() - self._fetched_at < PAUSE_S:
            return
        self._waiting += 1
        try:
            await self._fetched(self._read)
        finally:
            self._waiting -= 1

    async def run(self, every_s: float) -> None:
        """Read the set again and again until cancelled; without one there is nothing to do."""
        while self._read is not None:
            await self._fetched(self._read)
            await asyncio.sleep(every_s if self._was_read else min(every_s, PAUSE_S))

    async def _fetched(self, read: ReadKeySet) -> None:
        """Wait for a fetch, which goes on if this wait is cancelled."""
        if self._fetch is None:
            self._is_away = True  # until the answer is here
            self._fetch = asyncio.create_task(self._refresh(read), name="fetch of the key set")
        await asyncio.shield(self._fetch)

    async def _refresh(self, read: ReadKeySet) -> None:
        """Read the set; the last good one stays while its source fails."""
        try:
            async with asyncio.timeout(self._within_s):
                keys = read_key_set(await read())
        except (OSError, TimeoutError, httpx.HTTPError, httpx.InvalidURL, RaakError) as error:
            FETCHES.labels("failed").inc()
            reason = error.problem if isinstance(error, RaakError) else type(error).__name__
            log.warning("the key set cannot be read", extra={"fields": {"because": reason}})
        else:
            FETCHES.labels("read").inc()
            self._adopt(keys)
            self._is_away = False
        finally:
            self._fetched_at = self._clock()
            self._fetch = None

    def _adopt(self, keys: NamedKeys) -> None:
        if not keys:
            log.error("the key set holds no key that can check tokens: none is believed")
        if keys != self._by_name:
            self._by_name = keys
            self.version += 1
        self._was_read = True
