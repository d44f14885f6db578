"""Who may come in, and what is written down of it."""

from pathlib import Path

from pydantic import Field, field_validator

from services.chassis.principal import audience_of
from services.chassis.settings import ServiceSettings, Texts

SERVICE_AUDIENCES = frozenset(
    map(audience_of, ("profile", "decision", "journey", "measurement", "live"))
)


class AuthenticationSettings(ServiceSettings):
    """Who may come in, and what is written down of it."""

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
    write_keys: Texts = Field(
        default=(), repr=False, description="keys that may send events to /v1, separated by commas"
    )
    audit_file: Path | None = Field(
        default=None, description="where the audit log is appended; none: standard output"
    )
    audit_digests_staff: bool = Field(
        default=False,
        description="whether the audit log names staff by digests, as it does customers",
    )

    @field_validator("token_audience")
    @classmethod
    def _is_not_the_services(cls, audience: str) -> str:
        if audience in SERVICE_AUDIENCES:
            raise ValueError("this is what tokens for the services say: a caller's must differ")
        return audience
