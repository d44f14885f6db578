"""What an operator decides of clients that stay."""

from dataclasses import dataclass

from services.chassis.bodies import BodyLimits
from services.chassis.masking import USUAL, Masking


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """How much of us one client may have, whatever the protocol."""

    body: BodyLimits
    """Of a request, and in size of a message over a websocket."""
    connections_per_caller: int
    operations: int
    """Over one websocket."""
    init_within_s: float
    """How long a websocket has until its client has said who he is."""
    unread_bytes: int
    waiting_activities: int
    takes_strangers: bool
    """Whether who brings no token may connect, to ask for the schema."""
    masking: Masking = USUAL
