"""Access control as the settings want it: authentication, registered operations, audit log."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.access.audit.audit_log import AuditLog, Sink, audit_secret, file_sink, stdout_sink
from gateway.access.audit.chain import AuditChain, look_back
from gateway.access.authentication.api_keys import ApiKeyCache
from gateway.access.authentication.attempts import SignatureChecks
from gateway.access.authentication.authenticator import Authenticator
from gateway.access.authentication.caller_tokens import CallerTokens
from gateway.access.authentication.service_tokens import ServiceTokens, load_private_key
from gateway.access.authentication.verification_keys import (
    VerificationKey,
    VerificationKeys,
    key_set_reader,
)
from gateway.access.authorization.roles import Roles
from gateway.access.limits.registered_operations import OperationRegistry, PlanOperation
from gateway.database_sync import DatabaseSync
from gateway.settings import GatewaySettings
from services.chassis.principal import UnusableKey
from services.chassis.server import MissingSetting, Work


@dataclass(frozen=True, slots=True)
class AccessControl:
    """What authenticates callers, and records what they did."""

    authenticator: Authenticator
    service_tokens: ServiceTokens
    token_signing_key: Ed25519PrivateKey | None
    """What callers' tokens are signed with here; None: none are."""
    verification_keys: VerificationKeys
    api_keys: ApiKeyCache
    registry: OperationRegistry
    database_sync: DatabaseSync
    audit: AuditLog
    key_set_every_s: int

    @classmethod
    def from_settings(
        cls, settings: GatewaySettings, roles: Roles, plan: PlanOperation
    ) -> "AccessControl":
        """Raises MissingSetting, UnusableKey or UnusableAuditFile."""
        if settings.signing_key_file is None:
            raise MissingSetting(
                "RAAK_GATEWAY_SIGNING_KEY_FILE is not set.",
                hint="Name the file with the private key of the gateway (`raak keys init`).",
            )
        signing = load_private_key(_text(settings.signing_key_file))
        issuing = _token_signing_key(settings, signing)
        verification_keys = _verification_keys(settings)
        tokens = CallerTokens(
            verification_keys,
            roles.resolve_grant,
            settings.token_rules,
            own_key=issuing.public_key() if issuing else None,
            checks=SignatureChecks(settings.rates),
        )
        api_keys = ApiKeyCache(settings.key_secret, roles.resolve_grant)
        registry = OperationRegistry(plan, is_read=False)
        return cls(
            authenticator=Authenticator(tokens, api_keys),
            service_tokens=ServiceTokens(signing),
            token_signing_key=issuing,
            verification_keys=verification_keys,
            api_keys=api_keys,
            registry=registry,
            database_sync=DatabaseSync(
                settings.database,
                api_keys,
                registry,
                settings.database_silence_s,
                settings.database_variable,
            ),
            audit=_audit(settings),
            key_set_every_s=settings.token_key_set_every_s,
        )

    def grant_by(self, roles: Roles) -> None:
        """Let callers have what these roles grant from now on."""
        self.authenticator.grant_by(roles.resolve_grant)

    def background_work(self) -> Mapping[str, Work]:
        """What has to go on while requests are answered."""
        return {
            "key set": partial(self.verification_keys.run, self.key_set_every_s),
            "keys and operations": self.database_sync.run,
        }

    def not_ready(self) -> list[str]:
        """Why some callers cannot be authenticated yet."""
        reasons = (self.verification_keys.not_ready(), self.database_sync.not_ready())
        return [reason for reason in reasons if reason]


def _token_signing_key(
    settings: GatewaySettings, signing: Ed25519PrivateKey
) -> Ed25519PrivateKey | None:
    if settings.token_signing_key_file is None:
        return None
    key = load_private_key(_text(settings.token_signing_key_file))
    if key.public_key() == signing.public_key():
        raise UnusableKey(
            "RAAK_GATEWAY_TOKEN_SIGNING_KEY_FILE holds the key the gateway signs internal tokens "
            "with.",
            hint="Give callers' tokens a key of their own (`raak keys init` makes both).",
        )
    return key


def _verification_keys(settings: GatewaySettings) -> VerificationKeys:
    file, key_set = settings.caller_key_file, settings.token_key_set
    return VerificationKeys(
        VerificationKey.from_pem(_text(file)) if file else None,
        key_set_reader(key_set) if key_set else None,
    )


def _audit(settings: GatewaySettings) -> AuditLog:
    file, secret = settings.audit_file, audit_secret(settings.key_secret)
    return AuditLog(
        _sink(settings),
        secret,
        chain=AuditChain(secret, partial(look_back, file)) if file else AuditChain(secret),
        digests_staff=settings.audit_digests_staff,
    )


def _sink(settings: GatewaySettings) -> Sink:
    return file_sink(settings.audit_file) if settings.audit_file else stdout_sink


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableKey(
            f"The key file {str(file)!r} cannot be read ({type(error).__name__}).",
            hint="Check the path and who may read it.",
        ) from None
