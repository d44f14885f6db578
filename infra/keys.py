"""`raak keys`: API keys for servers, created, listed and revoked in the gateway's database."""

from datetime import datetime, timedelta

from gateway import store
from gateway.access.authentication.api_keys import ROLES, ApiKey, InvalidKeyRequest, create_key
from gateway.access.authorization.roles import OURS, Roles
from gateway.settings import GatewaySettings
from infra.gateway_database import open_gateway_database
from infra.tokens import UnknownRole
from services.chassis.errors import RaakError
from services.chassis.server import MissingSetting
from services.contracts.enums import Role


class ApiKeyNotFound(RaakError, code="NO_SUCH_KEY"):
    """An API key to be revoked does not exist."""


async def create(
    settings: GatewaySettings,
    name: str,
    role: str,
    scopes: list[str],
    days: float | None,
    now: datetime,
) -> tuple[str, ApiKey]:
    """Create and store a key; its text cannot be read again later. Raises RaakError."""
    if role not in set(Role):
        raise UnknownRole(f"{role!r} is not a role.", hint=f"A key has one of {', '.join(ROLES)}.")
    if not settings.key_secret:
        raise MissingSetting(
            "RAAK_GATEWAY_KEY_SECRET is not set.", hint="Give the one the gateway has."
        )
    text, key = create_key(
        settings.key_secret,
        Roles.read(settings.roles_file or OURS).resolve_grant,
        name=name,
        role=Role(role),
        scopes=frozenset(scopes) if scopes else None,
        now=now,
        expires_at=None if days is None else _after(days, now),
    )
    async with open_gateway_database(settings) as database, database.transaction() as connection:
        await store.add_key(connection, key)
    return text, key


def _after(days: float, now: datetime) -> datetime:
    try:
        return now + timedelta(days=days)
    except (OverflowError, ValueError):  # ValueError: NaN
        raise InvalidKeyRequest(
            f"A key cannot be valid for {days!r} days.",
            hint="Leave the days out: then it does not expire.",
        ) from None


async def list_keys(settings: GatewaySettings) -> list[ApiKey]:
    async with open_gateway_database(settings) as database, database.connection() as connection:
        return await store.keys(connection)


async def revoke(settings: GatewaySettings, key_id: str, now: datetime) -> None:
    async with open_gateway_database(settings) as database, database.transaction() as connection:
        if not await store.revoke_key(connection, key_id, now):
            raise ApiKeyNotFound(
                f"There is no key {key_id!r} that is in use.",
                hint="Give its id: `raak keys list` shows it.",
            )


def state(key: ApiKey, now: datetime) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= now else "good"
