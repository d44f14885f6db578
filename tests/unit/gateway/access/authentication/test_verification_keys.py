"""The keys of a key set: public ones that can check, and the last good set while it is away."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from gateway.access.authentication.verification_keys import (
    MOST_WAITING,
    KeySetUnavailable,
    UnknownKey,
    UnusableKeySet,
    VerificationKey,
    VerificationKeys,
    key_set_reader,
    read_key_set,
)
from services.chassis.principal import UnusableKey
from tests.unit.gateway.clock import Clock

ONE, TWO = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
RSA = generate_private_key(65_537, 2_048)
SMALL_RSA = generate_private_key(65_537, 1_024)


def jwk(key: Any, kid: str | None = None, **more: Any) -> dict[str, Any]:
    """A public key as an issuer tells it."""
    forms: dict[str, Any] = {"Ed25519": OKPAlgorithm, "RSA": RSAAlgorithm, "EC": ECAlgorithm}
    form = next(f for name, f in forms.items() if name in type(key.public_key()).__name__)
    named = {"kid": kid} if kid is not None else {}
    return {**json.loads(form.to_jwk(key.public_key())), **named, **more}


def key_set(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()


class Issuer:
    """Who tells the keys; can be away."""

    def __init__(self, *keys: Any) -> None:
        self.keys = keys
        self.is_outage = False
        self.asked = 0

    async def __call__(self) -> bytes:
        self.asked += 1
        await asyncio.sleep(0)
        if self.is_outage:
            raise OSError
        return key_set(*self.keys)


def raw(key: Any) -> bytes:
    found: bytes = key.public_bytes_raw()
    return found


async def test_a_token_is_checked_with_the_key_it_names() -> None:
    keys = VerificationKeys(None, Issuer(jwk(ONE, "one"), jwk(TWO, "two"), jwk(RSA, "rsa")))

    assert raw((await keys.key_for("two")).key) == raw(TWO.public_key())
    assert (await keys.key_for("one")).algorithm == "EdDSA"
    assert (await keys.key_for("rsa")).algorithm == "RS256"


@pytest.mark.parametrize(
    "entry",
    [
        jwk(ONE, "k", use="enc"),
        jwk(ONE, "k", alg="RS256"),
        jwk(ONE, "k", alg=["EdDSA"]),
        jwk(ONE, "k", key_ops=["sign"]),
        jwk(ONE, "k", key_ops="verify"),
        jwk(ONE, "k", crv="X25519"),
        jwk(ONE, "k", x="AAAA"),
        jwk(ONE, "k", x=7),
        jwk(ONE, 7),  # type: ignore[arg-type]
        jwk(RSA, "k", alg="PS256"),
        jwk(RSA, "k", n=""),
        jwk(SMALL_RSA, "k"),
        jwk(generate_ec(SECP384R1()), "k"),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "k"},
        {"kty": ["OKP"], "kid": "k"},
        {"kid": "k"},
        "k",
        None,
    ],
    ids=range(18),
)
async def test_what_cannot_check_a_token_of_ours_is_passed_over(entry: Any) -> None:
    keys = VerificationKeys(None, Issuer(entry, jwk(TWO, "good")))

    assert (await keys.key_for("good")).algorithm == "EdDSA"
    with pytest.raises(UnknownKey):
        await keys.key_for("k")


def test_a_private_part_that_was_published_is_not_read() -> None:
    private = json.loads(OKPAlgorithm.to_jwk(ONE)) | {"kid": "one"}

    found = read_key_set(key_set(private))

    assert raw(found["one"].key) == raw(ONE.public_key())


def test_of_two_keys_with_one_name_the_first_is_believed() -> None:
    found = read_key_set(key_set(jwk(ONE, "k"), jwk(RSA, "k")))

    assert found["k"].algorithm == "EdDSA"


@pytest.mark.parametrize(
    "document", [b"", b"<html>", b"[]", b"{}", b'{"keys": 7}', b'{"keys": null}', b"\xff", b"7"]
)
def test_what_is_no_key_set_is_told(document: bytes) -> None:
    with pytest.raises(UnusableKeySet, match="jwks_uri"):
        read_key_set(document)


async def test_a_token_without_a_named_key_is_checked_with_our_own() -> None:
    issuer = Issuer(jwk(ONE, "one"))
    keys = VerificationKeys(VerificationKey.of(TWO.public_key()), issuer)

    assert raw((await keys.key_for(None)).key) == raw(TWO.public_key())
    assert issuer.asked == 0
    assert raw((await keys.key_for("one")).key) == raw(ONE.public_key())
    assert raw((await keys.key_for("theirs")).key) == raw(TWO.public_key())


async def test_without_any_key_nothing_is_believed() -> None:
    with pytest.raises(UnknownKey, match="kid"):
        await VerificationKeys(None, Issuer()).key_for(None)


async def test_an_unknown_name_has_the_set_fetched_once_by_all_who_wait() -> None:
    clock = Clock()
    issuer = Issuer(jwk(ONE, "one"))
    keys = VerificationKeys(None, issuer, clock)
    await keys.key_for("one")
    issuer.keys = (jwk(ONE, "one"), jwk(TWO, "two"))
    clock.now += 10

    found = await asyncio.gather(*(keys.key_for("two") for _ in range(50)))

    assert issuer.asked == 2
    assert {raw(key.key) for key in found} == {raw(TWO.public_key())}


async def test_made_up_names_do_not_make_us_ask_the_issuer_again_and_again() -> None:
    clock = Clock()
    issuer = Issuer(jwk(ONE, "one"))
    keys = VerificationKeys(None, issuer, clock)

    for number in range(100):
        clock.now += 0.2
        with pytest.raises(UnknownKey):
            await keys.key_for(f"made up {number}")

    assert issuer.asked == 2  # at once, and after ten of the twenty seconds


class SilentIssuer(Issuer):
    """One that takes the question, and answers when it is told to."""

    def __init__(self, *keys: Any) -> None:
        super().__init__(*keys)
        self.may_answer = asyncio.Event()

    async def __call__(self) -> bytes:
        answer = await super().__call__()
        await self.may_answer.wait()
        return answer


async def test_after_a_fetch_that_failed_unknown_names_are_put_off_at_once() -> None:
    clock = Clock()
    issuer = SilentIssuer(jwk(ONE, "one"))
    keys = VerificationKeys(None, issuer, clock, within_s=0.01)
    with pytest.raises(KeySetUnavailable):
        await keys.key_for("one")

    for number in range(100):
        clock.now += 0.09
        with pytest.raises(KeySetUnavailable):
            await keys.key_for(f"made up {number}")

    assert issuer.asked == 1
    issuer.may_answer.set()
    clock.now += 1
    assert (await keys.key_for("one")).algorithm == "EdDSA"


async def test_the_pause_begins_when_a_fetch_ends() -> None:
    clock = Clock()
    issuer = SilentIssuer()
    keys = VerificationKeys(None, issuer, clock)
    waiting = asyncio.create_task(keys.key_for("made up"))
    await begun(issuer)
    clock.now += 9
    issuer.may_answer.set()
    with pytest.raises(UnknownKey):
        await waiting

    clock.now += 9
    with pytest.raises(UnknownKey):
        await keys.key_for("another")

    assert issuer.asked == 1


async def test_no_more_than_some_wait_for_a_silent_issuer() -> None:
    issuer = SilentIssuer(jwk(TWO, "two"))
    keys = VerificationKeys(None, issuer)
    waiting = [asyncio.create_task(keys.key_for("two")) for _ in range(MOST_WAITING)]
    await begun(issuer)

    with pytest.raises(KeySetUnavailable, match="cannot be read now"):
        await keys.key_for("two")

    issuer.may_answer.set()
    assert {raw(key.key) for key in await asyncio.gather(*waiting)} == {raw(TWO.public_key())}
    assert issuer.asked == 1


async def test_a_fetch_goes_on_for_the_others_when_who_began_it_leaves() -> None:
    issuer = SilentIssuer(jwk(TWO, "two"))
    keys = VerificationKeys(None, issuer)
    first = asyncio.create_task(keys.key_for("made up"))
    await begun(issuer)
    second = asyncio.create_task(keys.key_for("two"))
    await asyncio.sleep(0)

    first.cancel()
    issuer.may_answer.set()

    assert raw((await second).key) == raw(TWO.public_key())
    assert issuer.asked == 1


async def begun(issuer: Issuer) -> None:
    """Return when the issuer has been asked."""
    while not issuer.asked:
        await asyncio.sleep(0)


async def test_an_issuer_that_says_nothing_is_given_up() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        await reader.read()
        writer.close()

    asked: list[bytes] = []
    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        keys = VerificationKeys(None, key_set_reader(f"http://127.0.0.1:{port}/keys"), within_s=0.5)

        async with asyncio.timeout(60):
            names = (f"made up {number}" for number in range(1_500))
            found = await asyncio.gather(*map(keys.key_for, names), return_exceptions=True)

    assert {type(outcome) for outcome in found} == {KeySetUnavailable}
    assert len(asked) <= 1  # none where even connecting takes a busy machine longer


async def test_a_key_that_leaves_the_set_is_not_believed_any_more() -> None:
    clock = Clock()
    issuer = Issuer(jwk(ONE, "one"), jwk(TWO, "two"))
    keys = VerificationKeys(None, issuer, clock)
    await keys.key_for("one")
    before = keys.version
    issuer.keys = (jwk(TWO, "two"),)

    await refreshed(keys)

    assert keys.version > before
    with pytest.raises(UnknownKey):
        await keys.key_for("one")
    await keys.key_for("two")


async def test_the_last_good_set_is_kept_while_the_issuer_is_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    issuer = Issuer(jwk(ONE, "one"))
    keys = VerificationKeys(None, issuer)
    assert keys.not_ready()
    await refreshed(keys)
    assert keys.not_ready() is None

    issuer.is_outage = True
    await refreshed(keys)

    assert (await keys.key_for("one")).algorithm == "EdDSA"
    assert "the key set cannot be read" in caplog.messages


async def refreshed(keys: VerificationKeys) -> None:
    """Return when the set has been read once more."""
    reading_on = asyncio.create_task(keys.run(every_s=60))
    for _ in range(10):
        await asyncio.sleep(0)
    reading_on.cancel()


async def test_a_key_set_can_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(key_set(jwk(ONE, "one")))

    keys = VerificationKeys(None, key_set_reader(str(path)))

    assert (await keys.key_for("one")).algorithm == "EdDSA"


async def test_a_file_that_is_not_there_is_a_source_that_is_away(tmp_path: Path) -> None:
    with pytest.raises(KeySetUnavailable, match="Try again"):
        await VerificationKeys(None, key_set_reader(str(tmp_path / "none"))).key_for("one")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: SMALL_RSA.public_key(), "RSA of 1024 bits"),
        (lambda: generate_ec(SECP384R1()).public_key(), "EC on the curve secp384r1"),
        (lambda: "a text", "neither Ed25519 nor EC nor RSA"),
    ],
)
def test_a_weak_or_strange_key_is_refused(make: Callable[[], object], why: str) -> None:
    with pytest.raises(UnusableKey, match=why):
        VerificationKey.of(make())
