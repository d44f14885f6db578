"""The code and reason a websocket is closed with, by what has ended it."""

from collections.abc import Mapping

from starlette.types import Message

from gateway.access.limits.rate_limits import TryLater
from gateway.live.connections import GoingAway, TooManyConnections
from gateway.live.outgoing_queue import ClientTooSlow
from services.chassis.errors import RaakError, Unavailable
from services.chassis.graphql_http.request import MalformedRequest
from services.chassis.principal import NotAuthenticated

MAX_REASON_BYTES = 123
"""The longest reason a close frame holds."""

INTERNAL_ERROR = 4500
"""A failure of ours, which the reason does not tell."""

CLOSE_CODES: Mapping[type[Exception], int] = {
    MalformedRequest: 4400,
    NotAuthenticated: 4403,
    TooManyConnections: 4429,
    ClientTooSlow: 1013,
    GoingAway: 1001,
    TryLater: 1013,
    Unavailable: 1013,
}
"""Codes of errors raised elsewhere; the first class that fits. graphql-ws connects again by itself
after 1001, 1013 and, with a new token, 4403."""


class CloseWebSocket(Exception):
    """The websocket has to be closed."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason

    @classmethod
    def from_error(cls, error: Exception) -> "CloseWebSocket":
        """How to close a websocket that ended with this error."""
        if isinstance(error, CloseWebSocket):
            return error
        if isinstance(error, RaakError):
            codes = (code for kind, code in CLOSE_CODES.items() if isinstance(error, kind))
            reason = str(error) if len(_encode(str(error))) <= MAX_REASON_BYTES else error.problem
            return cls(next(codes, INTERNAL_ERROR), reason)
        return cls(INTERNAL_ERROR, "Internal server error")

    def message(self) -> Message:
        reason = _encode(self.reason)[:MAX_REASON_BYTES].decode(errors="ignore")
        return {"type": "websocket.close", "code": self.code, "reason": reason}


def _encode(reason: str) -> bytes:
    return reason.encode(errors="replace")
