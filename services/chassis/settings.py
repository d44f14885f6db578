"""Settings all processes share: read from the environment once, frozen, passed down."""

import os
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from services.chassis.database_address import DatabaseAddress, InvalidDatabaseUrl
from services.chassis.errors import RaakError
from services.chassis.masking import words_of
from services.chassis.production import (
    NotForProduction,
    check_database_address,
    check_file,
    check_nats_url,
)


def _split_commas(values: Any) -> Any:
    if not isinstance(values, str):
        return values
    return tuple(value.strip() for value in values.split(",") if value.strip())


def _check_networks(networks: tuple[str, ...]) -> tuple[str, ...]:
    for network in networks:
        ip_network(network, strict=False)
    return networks


Texts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas)]
"""Texts, separated by commas in the environment."""
Networks = Annotated[Texts, AfterValidator(_check_networks)]
"""Networks of addresses, such as 10.0.0.0/8, separated by commas in the environment."""


DEFAULT_SERVER = "postgresql://127.0.0.1:8005"

MISSPELT = 0.85
"""How alike a variable of all processes must be to a setting to be taken for it, from 0 to 1. Less
alike it may be another process's.
"""


class InvalidSettings(RaakError, code="INVALID_SETTINGS", status=500):
    """A variable has a value it can't have, or is not the name of a setting."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        lines = "".join(f"\n  {one}" for one in problems)
        super().__init__(
            f"The settings cannot be used:{lines}\n",
            hint="docs/operations.md lists all of them; `raak settings` shows what holds.",
        )


class _EnvironmentSource(EnvSettingsSource):
    """Variables with a prefix; a secret may be in a file, which `…_FILE` names."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        found = dict(super()._load_env_vars())
        for name, field in self.settings_cls.model_fields.items():
            variable = f"{self.env_prefix}{name}".lower()
            file = found.get(f"{variable}_file")
            if file and not field.repr and variable not in found:
                found[variable] = Path(file).read_text().strip()
        return found


class ProcessSettings(BaseSettings):
    """Settings of any process.

    A field `x` of the process `decision` is read from `RAAK_DECISION_X`, else from `RAAK_X`; a
    secret one (`repr=False`) also from the file that `RAAK_DECISION_X_FILE` names.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)
    process: ClassVar[str]

    mode: Literal["development", "production"] = Field(
        default="development",
        description="development shows the explorer and lets introspection in",
    )
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=1, le=65535, description="port to listen on")
    verify_key_file: Path | None = Field(
        default=None, description="public key (PEM) that internal tokens are checked with"
    )
    otlp_endpoint: str | None = Field(
        default=None,
        repr=False,
        description="where traces and metrics go (OTLP over HTTP), without /v1/…; none: where "
        "OTEL_EXPORTER_OTLP_ENDPOINT says, else nowhere",
    )
    metrics_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="port where /metrics is, apart from what answers clients; none: with the rest "
        "in development, nowhere in production",
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
    leave_s: int = Field(
        default=0,
        ge=0,
        le=300,
        description="seconds a process that was told to stop answers on, not ready, so that who "
        "balances the load notices",
    )
    drain_s: int = Field(
        default=10, ge=0, le=300, description="seconds running requests get to end at shutdown"
    )

    def __init__(self, **values: Any) -> None:
        """Raises InvalidSettings with every problem."""
        problems = [*self._find_misspelt(os.environ), *self._find_file_problems(os.environ)]
        try:
            if not problems:
                super().__init__(**values)
        except ValidationError as error:
            problems += [self._describe(one) for one in error.errors()]
        if problems:
            raise InvalidSettings(problems)

    @classmethod
    def variables(cls, name: str) -> tuple[str, str]:
        """The variables a setting is read from; the first wins."""
        return f"RAAK_{cls.process}_{name}".upper(), f"RAAK_{name}".upper()

    @classmethod
    def _find_variable(cls, name: str) -> str:
        """The variable that a setting is read from now, or would be."""
        variables = cls.variables(name)
        known = (one for each in variables for one in (each, f"{each}_FILE"))
        shared = variables[name == "database_server_url"]
        return next((one for one in known if one in os.environ), shared)

    @classmethod
    def _find_misspelt(cls, environment: Mapping[str, str]) -> Iterator[str]:
        secrets = [f"{name}_file" for name, field in cls.model_fields.items() if not field.repr]
        known = [*cls.model_fields, *secrets]
        for variable in sorted(environment):
            own, prefix, name = variable.partition(f"RAAK_{cls.process}_".upper())
            is_own = bool(prefix) and not own
            name = (name if is_own else variable.removeprefix("RAAK_")).lower()
            is_elsewhere = variable.endswith("_ENV_FILE") or (is_own and name == "url")
            if not variable.startswith("RAAK_") or name in known or is_elsewhere:
                continue  # Compose reads the former, the gateway the latter
            if not is_own and any(name.endswith(f"_{one}") for one in known):
                continue  # of another process
            cutoff = 0.6 if is_own else MISSPELT
            if close := get_close_matches(name, known, n=1, cutoff=cutoff):
                stem = variable[: len(variable) - len(name)]
                yield f"{variable} is no setting: did you mean {stem}{close[0].upper()}?"
            elif is_own:
                yield f"{variable} is no setting of {cls.process}."

    @classmethod
    def _find_file_problems(cls, environment: Mapping[str, str]) -> Iterator[str]:
        secrets = (name for name, field in cls.model_fields.items() if not field.repr)
        for variable in (each for name in secrets for each in cls.variables(name)):
            file = environment.get(f"{variable}_FILE")
            if file and variable in environment:
                yield f"{variable} and {variable}_FILE are both set: leave one out."
            elif file and not os.access(file, os.R_OK):
                yield f"{variable}_FILE is {file!r}, which cannot be read: name a file with it."

    @classmethod
    def _describe(cls, error: Any) -> str:
        """What is wrong with a value, by the variable it came from; the value may be a secret."""
        name = str(error["loc"][0]) if error["loc"] else ""
        variables = cls.variables(name)
        variable = next((one for one in variables if one in os.environ), variables[0])
        reason = error["msg"].removeprefix("Value error, ")
        field = cls.model_fields.get(name)
        value = (
            f" {os.environ[variable]!r}" if field and field.repr and variable in os.environ else ""
        )
        return f"{variable}{value}: {reason}."

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
        own = _EnvironmentSource(settings_cls, env_prefix=f"RAAK_{cls.process.upper()}_")
        shared = _EnvironmentSource(settings_cls, env_prefix="RAAK_")
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
        default=DEFAULT_SERVER,
        repr=False,
        description="PostgreSQL server the services' databases live on, without a database name",
    )
    migration_database_url: str = Field(
        default="",
        repr=False,
        description="the same database, entered by who owns its tables; `raak migrate` alone comes"
        " so, and the process then has no right to change a table",
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

    @field_validator("database_url", "database_server_url", "migration_database_url")
    @classmethod
    def _url_is_readable(cls, url: str) -> str:
        try:
            DatabaseAddress.parse(url or DEFAULT_SERVER, "it")
        except InvalidDatabaseUrl as error:
            raise ValueError(f"{error.problem} {error.hint}".rstrip(".")) from None
        return url

    def find_production_problems(self) -> Iterator[str]:
        """Missing credentials of the servers, and the key that checks the gateway's tokens."""
        yield from self.find_server_problems()
        what = "the public key of the gateway's tokens (`raak keys init`)"
        yield from check_file("RAAK_VERIFY_KEY_FILE", self.verify_key_file, what)

    def find_server_problems(self) -> Iterator[str]:
        """Missing credentials of PostgreSQL and NATS."""
        fields = ServiceSettings.model_fields
        yield from check_database_address(self.database_address, DEFAULT_SERVER)
        yield from check_nats_url("RAAK_NATS_URL", self.nats_url, fields["nats_url"].default)

    @property
    def database(self) -> str:
        return self.database_address.url

    @property
    def database_variable(self) -> str:
        """What names the database, as messages say it."""
        name = "database_url" if self.database_url else "database_server_url"
        return self._find_variable(name)

    @property
    def database_address(self) -> DatabaseAddress:
        own, variable = self.database_url, self.database_variable
        if own:
            return DatabaseAddress.parse(own, variable)
        server = DatabaseAddress.parse(self.database_server_url, variable)
        return server.with_database(f"raak_{self.process}")

    @property
    def migration_address(self) -> DatabaseAddress:
        """The database as who owns its tables enters it."""
        if not self.migration_database_url:
            return self.database_address
        variable = self._find_variable("migration_database_url")
        return DatabaseAddress.parse(self.migration_database_url, variable)
