"""API keys: told once, kept as digests, good for what they were made for and no longer."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.access.authentication.api_keys import (
    ROLES,
    ApiKey,
    ApiKeyCache,
    InvalidKeyRequest,
    KeysUnknown,
    create_key,
)
from services.chassis.principal import NotAuthenticated
from services.contracts.enums import Role

NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
SECRET = "a secret of the server's"


def granted(
    role: Role, narrowed_to: frozenset[str] | None
) -> tuple[frozenset[str], frozenset[str]]:
    scopes = frozenset({"read", "write"})
    return scopes if narrowed_to is None else scopes & narrowed_to, frozenset({"staff"})


def make(**how: Any) -> tuple[str, ApiKey]:
    given = {"name": "shop", "role": Role.AGENT, "scopes": None, "now": NOW, **how}
    return create_key(SECRET, granted, **given)


class Moments:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def knowing(*keys: ApiKey, secret: str = SECRET, clock: Moments | None = None) -> ApiKeyCache:
    known = ApiKeyCache(secret, granted, clock or Moments())
    known.adopt(keys)
    return known


def test_a_key_is_256_random_bits_behind_an_id_and_kept_as_a_digest() -> None:
    text, key = make()
    other, _ = make()

    assert re.fullmatch(f"raak_{key.id}_[0-9a-f]{{64}}", text)
    assert text != other
    assert len(key.digest) == 32
    assert text.rpartition("_")[2] not in repr(key)


def test_a_key_opens_as_its_role_under_its_id() -> None:
    text, key = make(scopes=frozenset({"read"}))

    caller = knowing(key).principal(text)

    assert (caller.role, caller.subject, caller.customer_ref) == (
        Role.AGENT,
        f"key:{key.id}",
        None,
    )
    assert caller.scopes == {"read"}
    assert caller.policies == {"staff"}


def test_what_other_roles_grant_holds_at_once_for_keys_known_already() -> None:
    text, key = make(scopes=frozenset({"read"}))
    keys = knowing(key)

    keys.grant_by(lambda role, narrowed_to: (narrowed_to or frozenset(), frozenset({"new"})))

    caller = keys.principal(text)
    assert (set(caller.scopes), set(caller.policies)) == ({"read"}, {"new"})


def test_other_roles_make_no_keys_known() -> None:
    keys = ApiKeyCache(SECRET, granted)

    keys.grant_by(granted)

    with pytest.raises(KeysUnknown):
        keys.principal(make()[0])


@pytest.mark.parametrize("role", [role for role in Role if role not in ROLES])
def test_a_key_speaks_for_no_single_customer(role: Role) -> None:
    with pytest.raises(InvalidKeyRequest, match="make a token"):
        make(role=role)


def test_a_key_has_no_more_scopes_than_its_role() -> None:
    with pytest.raises(InvalidKeyRequest, match=r"no scope 'all'.*It has read, write"):
        make(scopes=frozenset({"read", "all"}))


def test_a_key_that_would_be_dead_already_is_not_made() -> None:
    with pytest.raises(InvalidKeyRequest, match="expired already"):
        make(expires_at=NOW)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda text: make()[0], "not known here"),
        (lambda text: text[:-1] + ("0" if text[-1] != "0" else "1"), "not known here"),
        (lambda text: text[:21] + make()[0][21:], "not known here"),
        (lambda text: make()[0][:21] + text[21:], "not known here"),
        (lambda text: text.upper(), "is malformed"),
        (lambda text: text + "0", "is malformed"),
        (lambda text: text + "\n", "is malformed"),
        (lambda text: text[:22] + "é" * 64, "is malformed"),
    ],
)
def test_any_other_key_is_refused_without_being_repeated(
    change: Callable[[str], str], problem: str
) -> None:
    text, key = make()
    wrong = change(text)

    with pytest.raises(NotAuthenticated, match=problem) as refusal:
        knowing(key).principal(wrong)

    assert wrong.strip() not in str(refusal.value)


def test_a_key_made_under_another_secret_is_worthless() -> None:
    text, key = make()

    with pytest.raises(NotAuthenticated, match="not known here"):
        knowing(key, secret="another").principal(text)


def test_without_a_secret_there_are_no_keys() -> None:
    text, key = make()

    with pytest.raises(NotAuthenticated, match="RAAK_GATEWAY_KEY_SECRET"):
        knowing(key, secret="").principal(text)


def test_before_the_keys_are_read_nobody_is_called_unknown() -> None:
    with pytest.raises(KeysUnknown):
        ApiKeyCache(SECRET, granted).principal(make()[0])


def test_a_key_expires() -> None:
    clock = Moments()
    text, key = make(expires_at=NOW + timedelta(days=1))
    keys = knowing(key, clock=clock)
    keys.principal(text)

    clock.now += timedelta(days=1)

    with pytest.raises(NotAuthenticated, match="has expired"):
        keys.principal(text)


def test_a_use_is_noted_at_once_and_then_once_a_minute() -> None:
    clock = Moments()
    text, key = make()
    keys = knowing(key, clock=clock)
    assert keys.uses_to_note() == {}

    keys.principal(text)
    first = keys.uses_to_note()
    keys.confirm_uses(first)
    clock.now += timedelta(seconds=59)
    keys.principal(text)
    soon = keys.uses_to_note()
    clock.now += timedelta(seconds=1)
    keys.principal(text)

    assert first == {key.id: NOW}
    assert soon == {}
    assert keys.uses_to_note() == {key.id: clock.now}
