"""What an operator may set for the gateway."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from gateway.access.limits.cost import CostWeights
from gateway.access.limits.load_shedding import LoadTuning
from gateway.access.limits.operation_limits import OperationLimits
from gateway.access.limits.rate_limits import RateLimits
from gateway.graphql_http.settings import EndpointSettings
from gateway.live.settings import LiveSettings
from services.chassis.bodies import BodyLimits
from services.chassis.masking import Masking
from services.chassis.principal import audience_of
from services.chassis.production import unset_file, weak_secret
from services.chassis.settings import ServiceSettings, Texts

SERVICE_AUDIENCES = frozenset(
    map(audience_of, ("profile", "decision", "journey", "measurement", "live"))
)


class GatewaySettings(ServiceSettings):
    """Read from `RAAK_GATEWAY_*`, else from `RAAK_*`."""

    process: ClassVar[str] = "gateway"

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

    signing_key_file: Path | None = Field(
        default=None,
        description="private key (Ed25519, PEM) the gateway signs internal tokens with",
    )
    caller_key_file: Path | None = Field(
        default=None,
        description="public key (Ed25519 or RSA, PEM) of callers' tokens; none, and no key set: "
        "of the signing key",
    )
    token_key_set: str = Field(
        default="",
        description="address or file of the JSON Web Key Set of who issues callers' tokens",
    )
    token_key_set_every_s: int = Field(
        default=300, ge=10, le=86_400, description="how often the key set is read again"
    )
    token_issuer: str = Field(
        default="raak", min_length=1, description="`iss` that callers' tokens must have"
    )
    token_audience: str = Field(
        default="raak", min_length=1, description="`aud` that callers' tokens must have"
    )
    token_role_claim: str = Field(
        default="role", min_length=1, description="claim with the caller's role"
    )
    token_customer_claim: str = Field(
        default="customer", min_length=1, description="claim with the customer a caller speaks for"
    )
    token_scope_claim: str = Field(
        default="scope", min_length=1, description="claim with the scopes a token is narrowed to"
    )
    token_longest_life_s: int = Field(
        default=86_400,
        ge=60,
        le=366 * 86_400,
        description="longest life of a caller's token, from `iat` (or now) to `exp`",
    )
    key_secret: str = Field(
        default="",
        repr=False,
        description="what API keys are hashed with; empty: there are no API keys",
    )
    audit_file: Path | None = Field(
        default=None, description="where the audit log is appended; none: standard output"
    )
    audit_digests_staff: bool = Field(
        default=False,
        description="whether the audit log names staff by digests, as it does customers",
    )
    trusted_only: bool | None = Field(
        default=None,
        description="whether only registered operations are answered; none: in production",
    )
    write_keys: Texts = Field(
        default=(), repr=False, description="keys that may send events to /v1, separated by commas"
    )
    cors_origins: Texts = Field(
        default=(), description="web origins whose pages may call, separated by commas; `*`: all"
    )

    https_only_s: int = Field(
        default=0,
        ge=0,
        description="how long browsers are to come by HTTPS only (HSTS); 0: nothing is said of it",
    )
    cache_s: int = Field(
        default=60,
        ge=0,
        le=86_400,
        description="how long caches may keep answers whose fields are all tagged `cacheable`",
    )
    gzip_from_bytes: int = Field(
        default=1_400, ge=0, description="smallest answer that is packed by gzip; 0: none"
    )
    apq: int = Field(
        default=0,
        ge=0,
        le=100_000,
        description="documents clients may teach the gateway (Apollo's APQ); 0: none",
    )
    max_batch: int = Field(
        default=0, ge=0, le=100, description="most requests in one body; 0: batches are refused"
    )

    plans: int = Field(
        default=1_000, ge=1, le=100_000, description="operations kept parsed, checked and planned"
    )
    max_body_bytes: int = Field(
        default=1024 * 1024, ge=1_024, description="largest body of a GraphQL request"
    )
    body_deadline_ms: int = Field(
        default=10_000, ge=10, le=300_000, description="longest time a body may take to arrive"
    )
    max_collect_bytes: int = Field(
        default=500 * 1024, ge=1_024, description="largest body of a call to /v1"
    )
    max_query_chars: int = Field(
        default=20_000, ge=100, description="longest text of a GraphQL document"
    )
    max_tokens: int = Field(default=2_000, ge=10, description="most tokens in a GraphQL document")
    max_nesting: int = Field(
        default=50, ge=5, le=100, description="deepest nesting of brackets, and of variables"
    )
    max_depth: int = Field(default=12, ge=1, le=100, description="deepest nesting of fields")
    max_aliases: int = Field(default=30, ge=0, description="most aliases in an operation")
    max_directives: int = Field(default=50, ge=0, description="most directives in an operation")
    max_root_fields: int = Field(default=10, ge=1, description="most root fields in an operation")
    max_fragments: int = Field(
        default=50, ge=0, le=100, description="most fragments defined in a document"
    )
    max_repeats: int = Field(
        default=30, ge=1, description="how often one selection may ask the same field"
    )
    max_selections: int = Field(
        default=1_000, ge=1, description="most fields and fragments selected in an operation"
    )
    max_page_size: int = Field(
        default=100, ge=1, description="largest `first`, `last` or `limit` of a list"
    )
    max_list_items: int = Field(
        default=1_000, ge=1, description="longest list in an argument or a variable"
    )
    max_variable_values: int = Field(
        default=10_000, ge=1, description="most values in the variables of a request"
    )
    max_cost: int = Field(
        default=20_000, ge=1, description="dearest operation, by the sizes of its lists"
    )
    assumed_list_size: int = Field(
        default=10, ge=1, description="items expected of a list whose size nothing tells"
    )
    max_connections_per_caller: int = Field(
        default=100, ge=1, description="most websockets and event streams of one caller"
    )
    max_operations_per_connection: int = Field(
        default=50, ge=1, description="most operations under way over one websocket"
    )
    max_unread_bytes: int = Field(
        default=1024 * 1024,
        ge=1_024,
        description="most that waits for a client that reads too slowly, before it is dropped",
    )
    max_waiting_activities: int = Field(
        default=1_000, ge=1, description="most activities of a customer that wait for one watcher"
    )
    init_deadline_ms: int = Field(
        default=10_000,
        ge=10,
        le=300_000,
        description="how long a websocket has until its client has said who it is",
    )
    max_errors: int = Field(
        default=100, ge=1, le=1_000, description="most errors listed in an answer"
    )

    rate_per_s: float = Field(
        default=1_000, gt=0, description="requests a caller may send in a second, in the long run"
    )
    burst: int = Field(default=2_000, ge=1, description="requests a rested caller may send at once")
    cost_per_token: int = Field(
        default=100, ge=1, description="cost of an operation that counts as one more request"
    )
    max_concurrent: int = Field(
        default=100, ge=1, description="requests and subscriptions of a caller under way at once"
    )
    max_failed_authentications: int = Field(
        default=20,
        ge=1,
        description="bad tokens or keys an address may send in a minute before it is suspect",
    )
    signature_checks_per_s: int = Field(
        default=1_000,
        ge=10,
        description="tokens that may have their signature checked for the first time in a second",
    )
    callers_remembered: int = Field(
        default=100_000, ge=100, description="callers whose use is remembered, the latest ones"
    )
    trusted_proxies: Texts = Field(
        default=(), description="networks whose X-Forwarded-For is believed, separated by commas"
    )
    max_in_flight: int = Field(
        default=1_000,
        ge=8,
        description="requests under way at once, however fast they are answered",
    )
    queueing_target_ms: int = Field(
        default=200, ge=1, description="time requests may queue before some are refused"
    )

    @field_validator("token_audience")
    @classmethod
    def _is_not_the_services(cls, audience: str) -> str:
        if audience in SERVICE_AUDIENCES:
            raise ValueError("this is what tokens for the services say: a caller's must differ")
        return audience

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ip_network(network, strict=False)
        return networks

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

    def lacking(self) -> Iterator[str]:
        """What the servers want, the gateway's own secrets, and a way to keys nobody can change."""
        yield from self.lacking_servers()
        what = "the private key of the gateway (`raak keys init`)"
        yield from unset_file("RAAK_GATEWAY_SIGNING_KEY_FILE", self.signing_key_file, what)
        yield from weak_secret("RAAK_GATEWAY_KEY_SECRET", self.key_secret)
        for n, key in enumerate(self.write_keys, 1):
            yield from weak_secret(f"RAAK_GATEWAY_WRITE_KEYS (no. {n})", key)
        if self.token_key_set.startswith("http://"):
            yield "RAAK_GATEWAY_TOKEN_KEY_SET is read over http: give its https address, or a file."

    @property
    def answers_registered_only(self) -> bool:
        """Whether an operation must have been registered to be answered."""
        return self.mode == "production" if self.trusted_only is None else self.trusted_only

    @property
    def endpoint_settings(self) -> EndpointSettings:
        """How `/graphql` answers over HTTP."""
        return EndpointSettings(
            body=self.body_limits("max_body_bytes"),
            max_batch=self.max_batch,
            compress_from_bytes=self.gzip_from_bytes,
            max_age_s=self.cache_s,
            shows_explorer=self.mode == "development",
        )

    @property
    def live_settings(self) -> LiveSettings:
        """What clients that stay may have of us."""
        return LiveSettings(
            body=self.body_limits("max_body_bytes"),
            connections_per_caller=self.max_connections_per_caller,
            operations_per_connection=self.max_operations_per_connection,
            init_within_s=self.init_deadline_ms / 1000,
            unread_bytes=self.max_unread_bytes,
            waiting_activities=self.max_waiting_activities,
            allows_anonymous=self.mode == "development",
            masking=Masking.over(self.identifying_names),
        )

    def body_limits(self, setting: str) -> BodyLimits:
        """How large a body may be by this setting, and how long it may take."""
        return BodyLimits(getattr(self, setting), setting, self.body_deadline_ms / 1000)

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

    @property
    def limits(self) -> OperationLimits:
        """How large an operation may be."""
        return OperationLimits(
            **{f.name: getattr(self, f"max_{f.name}") for f in fields(OperationLimits)}
        )

    @property
    def weights(self) -> CostWeights:
        """What costs how much where nothing is marked."""
        return CostWeights(assumed_list_size=self.assumed_list_size)

    @property
    def rates(self) -> RateLimits:
        """How much one caller may ask."""
        return RateLimits(**{f.name: getattr(self, f.name) for f in fields(RateLimits)})

    @property
    def tuning(self) -> LoadTuning:
        """How much load the gateway takes."""
        return LoadTuning(self.max_in_flight, self.queueing_target_ms)
