"""What an operator decides of the endpoint."""

from dataclasses import dataclass

from services.chassis.bodies import BodyLimits


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """How the endpoint answers, whatever is asked."""

    body: BodyLimits
    max_batch: int = 0
    """The most requests in one body; 0: a body is one request."""
    pack_from_bytes: int = 0
    """From which size answers are packed; 0: never."""
    keep_s: int = 0
    """How long caches may keep what is the same for everyone; 0: not without asking."""
    shows_explorer: bool = False
