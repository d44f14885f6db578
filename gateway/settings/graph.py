"""The graph that is served: its services, schemas and roles, and deadlines."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from services.chassis.settings import ServiceSettings, Texts


class GraphSettings(ServiceSettings):
    """The graph that is served: its services, schemas and roles, and deadlines."""

    profile_url: str = Field(default="http://127.0.0.1:8001", description="the profile service")
    decision_url: str = Field(default="http://127.0.0.1:8002", description="the decision service")
    journey_url: str = Field(default="http://127.0.0.1:8003", description="the journey service")
    measurement_url: str = Field(
        default="http://127.0.0.1:8004", description="the measurement service"
    )
    subgraph_deadline_ms: int = Field(
        default=2_000, ge=10, le=60_000, description="longest wait for one answer of a service"
    )
    subgraph_deadlines_ms: Annotated[Mapping[str, int], NoDecode] = Field(
        default_factory=dict,
        description="where that differs: `<service>=<ms>`, separated by commas",
    )
    request_deadline_ms: int = Field(
        default=5_000,
        ge=10,
        le=300_000,
        description="when a request is answered with what there is; for a subscription, each event",
    )
    mutation_deadline_ms: int = Field(
        default=10_000,
        ge=10,
        le=300_000,
        description="when a mutation is answered, though it may still happen: later than a query",
    )
    roles_file: Path | None = Field(
        default=None, description="who may read which field of the graph; none: ours"
    )
    schemas_dir: Path | None = Field(
        default=None,
        description="folder of the services' schemas, one `<service>.graphql` each; none: ours",
    )
    supergraph_file: Path | None = Field(
        default=None, description="schema composed elsewhere, to be served instead of composing"
    )
    override_labels: Texts = Field(
        default=(),
        description="labels of `@override(label:)` that are switched on, separated by commas",
    )
    schemas_every_ms: int = Field(
        default=1_000,
        ge=0,
        le=3_600_000,
        description="how often they and the roles are looked at for changes; 0: only on SIGHUP",
    )
    collect_deadline_ms: int = Field(
        default=10_000, ge=10, le=60_000, description="longest wait for profile to store a batch"
    )
    trusted_only: bool | None = Field(
        default=None,
        description="whether only registered operations are answered; none: in production",
    )
    plans: int = Field(
        default=1_000, ge=1, le=100_000, description="operations kept parsed, checked and planned"
    )

    @field_validator("subgraph_deadlines_ms", mode="before")
    @classmethod
    def _by_service(cls, values: Any) -> Any:
        if not isinstance(values, str):
            return values
        pairs = (value.partition("=") for value in values.split(",") if value.strip())
        return {name.strip(): ms.strip() for name, _, ms in pairs}

    @field_validator("subgraph_deadlines_ms")
    @classmethod
    def _between_bounds(cls, values: Mapping[str, int]) -> Mapping[str, int]:
        for name, ms in values.items():
            if not 10 <= ms <= 60_000:
                raise ValueError(f"{name!r} has {ms} ms; it must be from 10 to 60000")
        return values

    @property
    def answers_registered_only(self) -> bool:
        """Whether an operation must have been registered to be answered."""
        return self.mode == "production" if self.trusted_only is None else self.trusted_only

    @property
    def deadlines_s(self) -> dict[str, float]:
        """The deadlines of services that have one of their own."""
        return {name: ms / 1000 for name, ms in self.subgraph_deadlines_ms.items()}

    @property
    def urls(self) -> dict[str, str]:
        """Where each subgraph's service listens, by the subgraph's name."""
        return {
            "profile": self.profile_url,
            "decision": self.decision_url,
            "journey": self.journey_url,
            "measurement": self.measurement_url,
        }
