"""The settings of connections that stay open."""

from dataclasses import dataclass

from services.chassis.bodies import BodyLimits
from services.chassis.masking import USUAL, Masking


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """How much one client may use, whatever the protocol."""

    body: BodyLimits
    """Of a request, and in size of a message over a websocket."""
    connections_per_caller: int
    operations_per_connection: int
    """Over one websocket."""
    init_within_s: float
    """How long a client has to send `connection_init` over a new websocket."""
    unread_bytes: int
    waiting_activities: int
    allows_anonymous: bool
    """Whether a client without a token may connect, to query the schema."""
    masking: Masking = USUAL
