"""The endpoint's settings."""

from dataclasses import dataclass

from services.chassis.bodies import BodyLimits


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """How the endpoint reads requests and sends responses, whatever their operations."""

    body: BodyLimits
    max_batch: int = 0
    """The most requests in one body; 0: a body is one request."""
    compress_from_bytes: int = 0
    """From which size responses are compressed; 0: never."""
    max_age_s: int = 0
    """How long caches may serve what is the same for every caller; 0: not without revalidation."""
    shows_explorer: bool = False
