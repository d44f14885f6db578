"""The front door, put together: who may come in, with what, and what is written down of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gateway.access.audit.audit_log import AuditLog, Sink, audit_secret, to_file, to_stdout
from gateway.access.audit.chain import AuditChain, look_back
from gateway.access.authentication.api_keys import ApiKeyCache
from gateway.access.authentication.attempts import SignatureChecks
from gateway.access.authentication.authenticator import Authenticator
from gateway.access.authentication.caller_tokens import CallerTokens, TokenRules
from gateway.access.authentication.service_tokens import ServiceTokens, private_key
from gateway.access.authentication.verification_keys import (
    VerificationKey,
    VerificationKeys,
    reading,
)
from gateway.access.authorization.roles import Roles
from gateway.access.limits.registered_operations import OperationRegistry
from gateway.database_sync import DatabaseSync
from gateway.settings import GatewaySettings
from services.chassis.principal import UnusableKey
from services.chassis.server import MissingSetting, Work


@dataclass(frozen=True, slots=True)
class AccessControl:
    """What stands between a request and the graph."""

    callers: Authenticator
    service_tokens: ServiceTokens
    caller_keys: VerificationKeys
    api_keys: ApiKeyCache
    registry: OperationRegistry
    keeping: DatabaseSync
    audit: AuditLog
    key_set_every_s: int

    @classmethod
    def of(cls, settings: GatewaySettings, roles: Roles) -> "AccessControl":
        """As the settings want it; raises MissingSetting, UnusableKey or UnusableAuditFile."""
        if settings.signing_key_file is None:
            raise MissingSetting(
                "RAAK_GATEWAY_SIGNING_KEY_FILE is not set.",
                hint="Name the file with the private key of the gateway (`raak keys init`).",
            )
        signing = private_key(_text(settings.signing_key_file))
        caller_keys = _caller_keys(settings, VerificationKey.of(signing.public_key()))
        checks = SignatureChecks(settings.rates)
        tokens = CallerTokens(caller_keys, roles.granted, _rules(settings), checks=checks)
        api_keys = ApiKeyCache(settings.key_secret, roles.granted)
        registry = OperationRegistry(is_read=False)
        return cls(
            callers=Authenticator(tokens, api_keys),
            service_tokens=ServiceTokens(signing),
            caller_keys=caller_keys,
            api_keys=api_keys,
            registry=registry,
            keeping=DatabaseSync(
                settings.database, api_keys, registry, settings.database_silence_s
            ),
            audit=_audit(settings),
            key_set_every_s=settings.token_key_set_every_s,
        )

    def grant_by(self, roles: Roles) -> None:
        """Let callers have what these roles grant from now on."""
        self.callers.grant_by(roles.granted)

    def work(self) -> Mapping[str, Work]:
        """What has to go on while requests are answered."""
        return {
            "key set": partial(self.caller_keys.run, self.key_set_every_s),
            "keys and operations": self.keeping.run,
        }

    def not_ready(self) -> list[str]:
        """Why not everybody who may come in can yet."""
        reasons = (self.caller_keys.not_ready(), self.keeping.not_ready())
        return [reason for reason in reasons if reason]


def _caller_keys(settings: GatewaySettings, ours: VerificationKey) -> VerificationKeys:
    """The keys of the settings; if they name none, whoever signs as the gateway may send tokens."""
    own = None
    if settings.caller_key_file:
        own = VerificationKey.from_pem(_text(settings.caller_key_file))
    if settings.token_key_set:
        return VerificationKeys(own, reading(settings.token_key_set))
    return VerificationKeys(own or ours)


def _rules(settings: GatewaySettings) -> TokenRules:
    return TokenRules(
        issuer=settings.token_issuer,
        audience=settings.token_audience,
        role_claim=settings.token_role_claim,
        customer_claim=settings.token_customer_claim,
        scope_claim=settings.token_scope_claim,
        longest_life_s=settings.token_longest_life_s,
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
    return to_file(settings.audit_file) if settings.audit_file else to_stdout


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableKey(
            f"The key file {str(file)!r} cannot be read ({type(error).__name__}).",
            hint="Check the path and who may read it.",
        ) from None
