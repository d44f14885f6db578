"""HTTP: bodies, caches, batches and browsers."""

from pydantic import Field

from gateway.graphql_http.settings import EndpointSettings
from services.chassis.bodies import BodyLimits
from services.chassis.settings import Networks, ServiceSettings, Texts


class HttpSettings(ServiceSettings):
    """HTTP: bodies, caches, batches and browsers."""

    cors_origins: Texts = Field(
        default=(),
        description="web origins whose pages may call, separated by commas; `*`: all; "
        "in development pages of this machine (`localhost`) may too",
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
    max_body_bytes: int = Field(
        default=1024 * 1024, ge=1_024, description="largest body of a GraphQL request"
    )
    body_deadline_ms: int = Field(
        default=10_000, ge=10, le=300_000, description="longest time a body may take to arrive"
    )
    max_collect_bytes: int = Field(
        default=500 * 1024, ge=1_024, description="largest body of a call to /v1"
    )
    max_publish_bytes: int = Field(
        default=4 * 1024 * 1024, ge=1_024, description="largest manifest sent to /operations"
    )

    mcp: bool = Field(
        default=True,
        description="whether assistants may come to `/mcp`, for the tools among the registered "
        "operations",
    )
    mcp_url: str = Field(
        default="",
        pattern=r"^(https?://[^\s\"/]+/[^\s\"]*)?$",
        description="public address of `/mcp`; with it assistants are told to have their users "
        "sign in at `RAAK_GATEWAY_TOKEN_ISSUER`",
    )
    explorer_token_networks: Networks = Field(
        default=(),
        description="networks whose clients the explorer makes tokens for, in development, "
        "separated by commas; none: for nobody, but `raak up` sets those of this machine",
    )

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

    def body_limits(self, setting: str) -> BodyLimits:
        """How large a body may be by this setting, and how long it may take."""
        return BodyLimits(getattr(self, setting), setting, self.body_deadline_ms / 1000)
