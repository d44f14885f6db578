"""Who asks: the one way from what a request carries to the caller behind it."""

from collections.abc import Mapping

from gateway.access.tokens import CallerTokens
from services.chassis.principal import Principal


class Callers:
    """Knows callers by what they send, whatever the protocol."""

    def __init__(self, tokens: CallerTokens) -> None:
        self._tokens = tokens

    async def of(self, headers: Mapping[str, str]) -> Principal | None:
        """The caller; None if he says nothing of himself. Raises NotAuthenticated.

        `headers` are looked up by their names in small letters: Starlette's `request.headers`, or a
        dictionary made of the first message of a websocket.
        """
        authorization = headers.get("authorization")
        return None if authorization is None else self._tokens.principal(authorization)
