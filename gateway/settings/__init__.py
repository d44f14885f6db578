"""What an operator may set for the gateway: a class for each noun, and all of them as one."""

from collections.abc import Iterator
from typing import ClassVar

from gateway.live.settings import LiveSettings
from gateway.settings.authentication import AuthenticationSettings
from gateway.settings.callers import CallerSettings
from gateway.settings.connections import ConnectionSettings
from gateway.settings.graph import GraphSettings
from gateway.settings.http import HttpSettings
from gateway.settings.operations import OperationSettings
from services.chassis.masking import Masking
from services.chassis.production import check_file, check_secret

__all__ = ["GatewaySettings"]


class GatewaySettings(
    ConnectionSettings,
    CallerSettings,
    OperationSettings,
    HttpSettings,
    AuthenticationSettings,
    GraphSettings,
):
    """Read from `RAAK_GATEWAY_*`, else from `RAAK_*`. The docs list the last class first."""

    process: ClassVar[str] = "gateway"

    def find_production_problems(self) -> Iterator[str]:
        """What the servers want, the gateway's own secrets, and a way to keys nobody can change."""
        yield from self.find_server_problems()
        what = "the private key of the gateway (`raak keys init`)"
        yield from check_file("RAAK_GATEWAY_SIGNING_KEY_FILE", self.signing_key_file, what)
        yield from check_secret("RAAK_GATEWAY_KEY_SECRET", self.key_secret)
        for n, key in enumerate(self.write_keys, 1):
            yield from check_secret(f"RAAK_GATEWAY_WRITE_KEYS (no. {n})", key)
        if self.token_key_set.startswith("http://"):
            yield "RAAK_GATEWAY_TOKEN_KEY_SET is read over http: give its https address, or a file."

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
            masking=Masking(frozenset(self.identifying_names)),
        )
