"""Where the gateway of an operator keeps its API keys and its registered operations."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.settings import GatewaySettings
from infra.instance import Instance
from services.chassis.database import Database, open_database

PATIENCE_S = 3.0
NAMED = {"database_url", "database_server_url"}


def settings_of(data: Path) -> GatewaySettings:
    """The gateway's settings: of the environment if it names a database, else of an instance.

    Raises NoInstance when there is neither.
    """
    settings = GatewaySettings()
    return settings if NAMED & settings.model_fields_set else settings_in(Instance.found(data))


def settings_in(instance: Instance) -> GatewaySettings:
    """The gateway's settings in an embedded instance, as far as its database is concerned."""
    return GatewaySettings(
        database_url=instance.database_urls["gateway"], key_secret=instance.secret("key-secret")
    )


@asynccontextmanager
async def opened(settings: GatewaySettings) -> AsyncIterator[Database]:
    """The gateway's database, for as long as a command runs; raises DatabaseUnavailable."""
    async with open_database(
        settings.database,
        connections=2,
        patience_s=PATIENCE_S,
        silence_s=settings.database_silence_s,
    ) as database:
        yield database
