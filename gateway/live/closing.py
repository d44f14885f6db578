"""How a websocket is closed: with which code and reason, by what has ended it."""

from collections.abc import Mapping

from starlette.types import Message

from gateway.access.limits.rate_limits import TryLater
from gateway.live.connections import GoingAway, TooManyConnections
from gateway.live.outgoing import TooSlow
from services.chassis.errors import RaakError, Unavailable
from services.chassis.graphql_http import MalformedRequest
from services.chassis.principal import NotAuthenticated

REASON_BYTES = 123
"""The longest reason a close frame holds."""

FAILED = 4500
"""A failure of ours; what it was is not told."""

CODES: Mapping[type[Exception], int] = {
    MalformedRequest: 4400,
    NotAuthenticated: 4403,
    TooManyConnections: 4429,
    TooSlow: 1013,
    GoingAway: 1001,
    TryLater: 1013,
    Unavailable: 1013,
}
"""Codes of what may end a socket from afar; the first class that fits. graphql-ws comes again by
itself after 1001, 1013 and, with a token it asks for anew, 4403."""


class Close(Exception):
    """The socket has to be closed."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason

    @classmethod
    def because_of(cls, end: Exception) -> "Close":
        """How to close a socket that ended with this."""
        if isinstance(end, Close):
            return end
        if isinstance(end, RaakError):
            codes = (code for kind, code in CODES.items() if isinstance(end, kind))
            return cls(next(codes, FAILED), str(end) if _fits(str(end)) else end.problem)
        return cls(FAILED, "Internal server error")

    def message(self) -> Message:
        """For the server."""
        reason = self.reason.encode(errors="replace")[:REASON_BYTES].decode(errors="ignore")
        return {"type": "websocket.close", "code": self.code, "reason": reason}


def _fits(reason: str) -> bool:
    return len(reason.encode(errors="replace")) <= REASON_BYTES
