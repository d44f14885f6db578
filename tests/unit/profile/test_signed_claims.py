"""Signed claims: what a server signs is believed for as long as it says, and nothing else is."""

from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from services.profile.domain.calls import ClaimExpired, ClaimsOff, InvalidClaim
from services.profile.domain.identities import Identity
from services.profile.service.signed_claims import ClaimVerifier, make_claim
from services.profile.settings import ProfileSettings

NOW = datetime(2026, 11, 30, 9, tzinfo=UTC)
SECRET, OLD = "s" * 32, "o" * 32
HOUR = timedelta(hours=1)
VERIFIER = ClaimVerifier((SECRET, OLD), HOUR)


def signed(secret: str = SECRET, algorithm: str = "HS256", **fields: Any) -> str:
    """A claim with what is said instead of what there should be; None leaves it out."""
    plain = {
        "aud": "raak-claim",
        "exp": NOW + timedelta(minutes=10),
        "anonymous_id": "a",
        "user_id": "u",
    }
    claims = {name: value for name, value in (plain | fields).items() if value is not None}
    return jwt.encode(claims, secret, algorithm)


def test_what_a_server_signs_is_read_back() -> None:
    fields = {"user_id": "u", "email": "Ann@X.y"}

    claim = VERIFIER.verify(make_claim(SECRET, " a ", fields, NOW, HOUR), NOW)

    assert claim.browser == Identity("anonymous_id", "a")
    assert claim.identities == {Identity("user_id", "u"), Identity("email", "ann@x.y")}


@pytest.mark.parametrize("secret", [SECRET, OLD])
def test_each_secret_is_good_while_one_takes_the_place_of_the_other(secret: str) -> None:
    assert VERIFIER.verify(signed(secret, user_id=7), NOW).identities == {Identity("user_id", "7")}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (signed("x" * 32), "not signed with our secret"),
        (signed("", "none"), "not signed with HS256"),
        (signed(SECRET * 2, "HS512"), "not signed with HS256"),
        (signed(aud="raak"), "another audience"),
        (signed(aud=None), "no aud"),
        (signed(exp=None), "no exp"),
        (signed(exp="soon"), "exp that is not a number"),
        (signed(exp=float("inf")), "valid for longer than 1:00:00"),
        (signed(exp=NOW + timedelta(hours=2)), "valid for longer than 1:00:00"),
        (signed(iat=NOW - HOUR), "valid for longer than 1:00:00"),
        (signed(nbf=NOW + timedelta(minutes=1)), "not valid yet"),
        (signed(iat=NOW + timedelta(minutes=1)), "not valid yet"),
        (signed(anonymous_id=None), "no anonymous_id"),
        (signed(user_id=None), "names nobody"),
        (signed(email="no address"), "has a email that names nobody"),
        (signed(user_id={"$ne": 1}), "has a user_id that names nobody"),
        (signed(user_id="u" * 256), "has a user_id that names nobody"),
        (signed(user_id="u\0"), "has a user_id that names nobody"),
        ("x" * 5_000, "not text of at most 4096"),
        ("a.b.c", "cannot be read"),
        ("", "cannot be read"),
        (7, "not text"),
        (None, "not text"),
    ],
)
def test_what_proves_nothing_is_told_without_being_shown(text: Any, why: str) -> None:
    with pytest.raises(InvalidClaim) as error:
        VERIFIER.verify(text, NOW)

    assert why in error.value.problem
    assert not text or str(text) not in str(error.value) or text == 7


@pytest.mark.parametrize("end", [NOW, NOW - timedelta(days=1), float("nan")])
def test_a_claim_ends_when_it_says(end: Any) -> None:
    with pytest.raises(ClaimExpired):
        VERIFIER.verify(signed(exp=end), NOW)


def test_a_claim_that_was_good_is_not_good_for_ever() -> None:
    text = signed()

    VERIFIER.verify(text, NOW)

    with pytest.raises(ClaimExpired):
        VERIFIER.verify(text, NOW + timedelta(minutes=11))


def test_clocks_may_differ_by_some_seconds() -> None:
    ahead = NOW + timedelta(seconds=5)

    VERIFIER.verify(make_claim(SECRET, "a", {"user_id": "u"}, ahead, HOUR), NOW)


def test_without_a_secret_there_are_no_claims() -> None:
    with pytest.raises(ClaimsOff):
        ClaimVerifier().verify(signed(), NOW)


def test_secrets_are_neither_shown_nor_short_in_production(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAAK_PROFILE_CLAIM_SECRETS", f"{SECRET}, short")

    settings = ProfileSettings()

    assert settings.claim_secrets == (SECRET, "short")
    assert SECRET not in repr(settings)
    assert [
        one
        for one in settings.find_production_problems()
        if "CLAIM_SECRETS has 5 characters" in one
    ]


@pytest.mark.parametrize("fields", [{"user_id": "null"}, {"anonymous_id": "undefined"}])
def test_a_claim_of_a_placeholder_proves_nothing(fields: dict[str, str]) -> None:
    with pytest.raises(InvalidClaim):
        VERIFIER.verify(signed(**fields), NOW)
