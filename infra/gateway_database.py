"""The gateway's database, for commands: its API keys and registered operations."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from gateway.settings import GatewaySettings
from infra.instance import EmbeddedInstance
from services.chassis.database import Database, open_database

PATIENCE_S = 3.0
DATABASE_SETTINGS = {"database_url", "database_server_url"}


def load_gateway_settings(data: Path) -> GatewaySettings:
    """The gateway's settings, of the environment or an instance; raises NoInstance."""
    settings = GatewaySettings()
    if DATABASE_SETTINGS & settings.model_fields_set:
        return settings
    return embedded_gateway_settings(EmbeddedInstance.load(data))


def embedded_gateway_settings(instance: EmbeddedInstance) -> GatewaySettings:
    return GatewaySettings(
        database_url=instance.database_urls["gateway"], key_secret=instance.secret("key-secret")
    )


def open_gateway_database(settings: GatewaySettings) -> AbstractAsyncContextManager[Database]:
    """The gateway's database, for as long as a command runs; raises DatabaseUnavailable."""
    return open_database(
        settings.database,
        connections=2,
        patience_s=PATIENCE_S,
        silence_s=settings.database_silence_s,
        variable=settings.database_variable,
    )
