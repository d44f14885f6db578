"""The gateway's database, for commands: its API keys and registered operations."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.settings import GatewaySettings
from infra.instance import EmbeddedInstance
from services.chassis.database import Database, open_database

PATIENCE_S = 3.0
DATABASE_SETTINGS = {"database_url", "database_server_url"}


def load_gateway_settings(data: Path) -> GatewaySettings:
    """The gateway's settings, of the environment or an instance; raises NoInstance."""
    settings = GatewaySettings()
    return (
        settings
        if DATABASE_SETTINGS & settings.model_fields_set
        else embedded_gateway_settings(EmbeddedInstance.load(data))
    )


def embedded_gateway_settings(instance: EmbeddedInstance) -> GatewaySettings:
    return GatewaySettings(
        database_url=instance.database_urls["gateway"], key_secret=instance.secret("key-secret")
    )


@asynccontextmanager
async def open_gateway_database(settings: GatewaySettings) -> AsyncIterator[Database]:
    """The gateway's database, for as long as a command runs; raises DatabaseUnavailable."""
    async with open_database(
        settings.database,
        connections=2,
        patience_s=PATIENCE_S,
        silence_s=settings.database_silence_s,
    ) as database:
        yield database
