"""API keys: for servers, which keep a secret well and act for many customers.

A key is 256 random bits behind an id: `raak_<id>_<secret>`. The database holds its HMAC-SHA256
under `key_secret`, a setting: reading the database reveals no key, and writing to it makes none.
The bits are random: a slow hash would add nothing but time.
"""

import hmac
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.access.authentication.attempts import mark_genuine
from gateway.access.authentication.caller_tokens import ResolveGrant
from services.chassis.clock import Clock, utc_now
from services.chassis.errors import RaakError, Unavailable
from services.chassis.principal import SUBJECT_OF_KEYS, NotAuthenticated, Principal
from services.contracts.enums import OWN_CUSTOMER_ONLY, Role

PREFIX = "raak_"
FORM = re.compile(r"raak_([0-9a-f]{16})_[0-9a-f]{64}")
USE_RECORDED_EVERY = timedelta(minutes=1)

ROLES = tuple(role for role in Role if role not in OWN_CUSTOMER_ONLY)
"""The roles a key may have: not those that speak for one customer, for a server has many."""

ANOTHER = "Use another one; `raak keys list` shows what there is, `raak keys create` makes one."


class InvalidKeyRequest(RaakError, code="INVALID_KEY_REQUEST"):
    """A key that could not be used cannot be created."""


class KeysUnknown(Unavailable, code="KEYS_UNKNOWN"):
    """The gateway has just started and has not read the keys yet."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is stored of a key."""

    id: str
    digest: bytes
    name: str
    role: str
    scopes: frozenset[str] | None
    """What it may do at most, of what its role may; None: all of that."""
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None


def digest_key(text: str, secret: str) -> bytes:
    """What is stored instead of a key."""
    return hmac.digest(secret.encode(), text.encode(), "sha256")


def create_key(
    secret: str,
    resolve_grant: ResolveGrant,
    *,
    name: str,
    role: Role,
    scopes: frozenset[str] | None,
    now: datetime,
    expires_at: datetime | None = None,
    random: Callable[[int], str] = secrets.token_hex,
) -> tuple[str, ApiKey]:
    """A new key: its text, which is shown once and never again, and what is stored of it.

    `random` gives so many random bytes in hex. Raises InvalidKeyRequest.
    """
    _check(resolve_grant, role, scopes, now, expires_at)
    key_id = random(8)
    text = f"{PREFIX}{key_id}_{random(32)}"
    return text, ApiKey(key_id, digest_key(text, secret), name, role.value, scopes, now, expires_at)


def _check(
    resolve_grant: ResolveGrant,
    role: Role,
    scopes: frozenset[str] | None,
    now: datetime,
    expires_at: datetime | None,
) -> None:
    if role not in ROLES:
        raise InvalidKeyRequest(
            f"A key cannot have the role {role.value!r}, which speaks for one customer.",
            hint=f"Give it one of {', '.join(ROLES)}; for one customer make a token.",
        )
    has, _ = resolve_grant(role, None)
    if unknown := sorted((scopes or frozenset()) - has):
        raise InvalidKeyRequest(
            f"The role {role.value!r} has no scope {', '.join(map(repr, unknown))}.",
            hint=f"It has {', '.join(sorted(has))}.",
        )
    if expires_at is not None and expires_at <= now:
        raise InvalidKeyRequest("The key would have expired already.", hint="Let it live longer.")


class ApiKeyCache:
    """The keys, in memory: looking one up never waits.

    `gateway.database_sync` keeps them like the database.
    """

    def __init__(self, secret: str, resolve_grant: ResolveGrant, clock: Clock = utc_now) -> None:
        self._secret = secret
        self._resolve_grant = resolve_grant
        self._clock = clock
        self._keys: Mapping[str, tuple[ApiKey, Principal]] | None = None
        self._last_uses: dict[str, datetime] = {}
        self._confirmed_uses: dict[str, datetime] = {}

    def adopt(self, keys: Iterable[ApiKey]) -> None:
        """Let these keys, and no others, be those there are."""
        self._keys = {
            key.id: (key, self._principal(Role(key.role), key)) for key in keys if key.role in ROLES
        }

    def grant_by(self, resolve_grant: ResolveGrant) -> None:
        """Give keys what is granted by this from now on."""
        self._resolve_grant = resolve_grant
        if self._keys is not None:
            self.adopt([key for key, _ in self._keys.values()])

    def _principal(self, role: Role, key: ApiKey) -> Principal:
        return Principal(
            role, f"{SUBJECT_OF_KEYS}{key.id}", (), *self._resolve_grant(role, key.scopes)
        )

    def principal(self, text: str) -> Principal:
        """The caller behind a key; raises NotAuthenticated, or KeysUnknown while that is so."""
        form = FORM.fullmatch(text)
        if form is None:
            raise NotAuthenticated(
                "The API key is malformed.", hint="It reads raak_<id>_<secret>, in hex."
            )
        if not self._secret:
            raise NotAuthenticated(
                "API keys are not in use here.", hint="Set RAAK_GATEWAY_KEY_SECRET, or use a token."
            )
        if self._keys is None:
            raise KeysUnknown("The API keys have not been read yet.", hint="Try again shortly.")
        digest = digest_key(text, self._secret)
        entry = self._keys.get(form[1])
        if entry is None or not hmac.compare_digest(entry[0].digest, digest):
            raise NotAuthenticated("The API key is not known here.", hint=ANOTHER)
        key, principal = entry
        mark_genuine()
        now = self._clock()
        if key.revoked_at is not None:
            raise NotAuthenticated("The API key has been revoked.", hint=ANOTHER)
        if key.expires_at is not None and key.expires_at <= now:
            raise NotAuthenticated("The API key has expired.", hint=ANOTHER)
        self._last_uses[key.id] = now
        return principal

    def uses_to_note(self) -> dict[str, datetime]:
        """When keys were last used, where that has not been noted for a minute."""
        return {
            key: at
            for key, at in self._last_uses.items()
            if key not in self._confirmed_uses
            or at - self._confirmed_uses[key] >= USE_RECORDED_EVERY
        }

    def confirm_uses(self, uses: Mapping[str, datetime]) -> None:
        """These uses are in the database."""
        self._confirmed_uses |= uses
