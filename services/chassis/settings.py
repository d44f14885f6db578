"""Settings all processes share: read from the environment once, frozen, passed down."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from services.chassis.masking import words_of
from services.chassis.production import (
    NotForProduction,
    check_database_url,
    check_file,
    check_nats_url,
)


def _split_commas(values: Any) -> Any:
    if not isinstance(values, str):
        return values
    return tuple(value.strip() for value in values.split(",") if value.strip())


Texts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas)]
"""Texts, separated by commas in the environment."""


class ProcessSettings(BaseSettings):
    """Settings of any process.

    A field `x` of the process `decision` is read from `RAAK_DECISION_X`, else from `RAAK_X`.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)
    process: ClassVar[str]

    mode: Literal["development", "production"] = Field(
        default="development", description="development shows GraphiQL and lets introspection in"
    )
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=1, le=65535, description="port to listen on")
    verify_key_file: Path | None = Field(
        default=None, description="public key (PEM) that internal tokens are checked with"
    )
    otlp_endpoint: str | None = Field(
        default=None,
        repr=False,
        description="where traces go (OTLP over HTTP); none: no traces are kept",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="least severe level that is logged"
    )
    identifying_names: Texts = Field(
        default=(),
        max_length=200,
        description="further names of traits and properties that identify somebody, separated by "
        "commas; shown with the scope identities:read only",
    )
    drain_s: int = Field(
        default=10, ge=0, le=300, description="seconds running requests get to end at shutdown"
    )

    @field_validator("identifying_names")
    @classmethod
    def _names_have_letters(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if nameless := [name for name in names if not words_of(name)]:
            raise ValueError(f"{nameless[0]!r} is no name: it has no letter or digit")
        return names

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *args: PydanticBaseSettingsSource,
        **others: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The process's own variables win over those all processes share."""
        own = EnvSettingsSource(settings_cls, env_prefix=f"RAAK_{cls.process.upper()}_")
        shared = EnvSettingsSource(settings_cls, env_prefix="RAAK_")
        return init_settings, own, shared

    def find_production_problems(self) -> Iterator[str]:
        """Settings that are missing, or suit development only."""
        return iter(())

    def check_mode(self) -> None:
        """Raise NotForProduction with all problems, in production mode."""
        if self.mode == "production" and (problems := list(self.find_production_problems())):
            raise NotForProduction(problems)


class ServiceSettings(ProcessSettings):
    """Settings of a process with a database and NATS."""

    database_url: str = Field(
        default="",
        repr=False,
        description="the service's own database; empty: raak_<service> on database_server_url",
    )
    database_server_url: str = Field(
        default="postgresql://127.0.0.1:8005",
        repr=False,
        description="PostgreSQL server the services' databases live on, without a database name",
    )
    database_connections: int = Field(
        default=8, ge=2, le=100, description="most connections this process holds"
    )
    database_silence_s: int = Field(
        default=10,
        ge=2,
        le=600,
        description="seconds without a word after which PostgreSQL takes back what a process holds:"
        " an open transaction, the relay's lock, a connection to a machine that is gone",
    )
    nats_url: str = Field(
        default="nats://127.0.0.1:8006", repr=False, description="NATS server or servers"
    )

    outbox_kept_hours: float = Field(
        default=24,
        gt=0,
        le=168,
        description="how long an unacknowledged event is kept to be sent again",
    )
    outbox_patience_s: int = Field(
        default=60,
        ge=1,
        le=86_400,
        description="age of the oldest event yet to reach NATS past which the service is not ready",
    )

    def find_production_problems(self) -> Iterator[str]:
        """Missing credentials of the servers, and the key that checks the gateway's tokens."""
        yield from self.find_server_problems()
        what = "the public key of the gateway's tokens (`raak keys init`)"
        yield from check_file("RAAK_VERIFY_KEY_FILE", self.verify_key_file, what)

    def find_server_problems(self) -> Iterator[str]:
        """Missing credentials of PostgreSQL and NATS."""
        fields = ServiceSettings.model_fields
        own, server = f"RAAK_{self.process.upper()}_DATABASE_URL", "RAAK_DATABASE_SERVER_URL"
        variable, url = (
            (own, self.database_url) if self.database_url else (server, self.database_server_url)
        )
        yield from check_database_url(variable, url, fields["database_server_url"].default)
        yield from check_nats_url("RAAK_NATS_URL", self.nats_url, fields["nats_url"].default)

    @property
    def database(self) -> str:
        return self.database_url or f"{self.database_server_url}/raak_{self.process}"
