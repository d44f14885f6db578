"""Who may come in, and what is written down of it."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator

from gateway.access.authentication.caller_tokens import TokenRules
from services.chassis.principal import audience_of
from services.chassis.settings import ServiceSettings, Texts
from services.contracts.enums import Role

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
        description="public key (Ed25519, EC P-256 or RSA, PEM) of who issues callers' tokens",
    )
    token_signing_key_file: Path | None = Field(
        default=None,
        description="private key (Ed25519, PEM) of the tokens that `POST /tokens` and `raak token` "
        "issue; none: nobody gets one here",
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
        default="role", min_length=1, description="claim with the caller's role or roles"
    )
    token_roles: Texts = Field(
        default=(),
        description="roles by what the issuer calls them, `group=role`, separated by commas; of "
        "several the first one counts. None: the claim has our own names",
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
    audit_file: Annotated[Path | None, BeforeValidator(lambda value: value or None)] = Field(
        default=None, description="where the audit log is appended; empty: standard output"
    )
    audit_digests_staff: bool = Field(
        default=False,
        description="whether the audit log names staff by digests, as it does customers",
    )

    @field_validator("token_roles")
    @classmethod
    def _name_roles(cls, pairs: tuple[str, ...]) -> tuple[str, ...]:
        for pair in pairs:
            name, separator, role = pair.rpartition("=")
            if not (name and separator and role in set(Role)):
                raise ValueError(f"{pair!r} is not name=role with one of {', '.join(Role)}")
        return pairs

    @field_validator("token_audience")
    @classmethod
    def _is_not_the_services(cls, audience: str) -> str:
        if audience in SERVICE_AUDIENCES:
            raise ValueError("this is what tokens for the services say: a caller's must differ")
        return audience

    @property
    def token_rules(self) -> TokenRules:
        """What callers' tokens must say."""
        pairs = (pair.rpartition("=") for pair in self.token_roles)
        return TokenRules(
            issuer=self.token_issuer,
            audience=self.token_audience,
            role_claim=self.token_role_claim,
            customer_claim=self.token_customer_claim,
            scope_claim=self.token_scope_claim,
            roles={name: Role(role) for name, _, role in pairs},
            longest_life_s=self.token_longest_life_s,
        )
