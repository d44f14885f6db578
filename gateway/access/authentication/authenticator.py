"""Authentication: from the headers of a request to its caller."""

from collections.abc import Mapping

from gateway.access.authentication.api_keys import PREFIX, ApiKeyCache
from gateway.access.authentication.attempts import mark_genuine
from gateway.access.authentication.caller_tokens import CallerTokens, ResolveGrant
from services.chassis.principal import NotAuthenticated, Principal


class Authenticator:
    """Authenticates callers by token or API key, for every protocol."""

    def __init__(self, tokens: CallerTokens, keys: ApiKeyCache) -> None:
        self._tokens = tokens
        self._keys = keys

    def grant_by(self, resolve_grant: ResolveGrant) -> None:
        """Let everybody have what is granted by this from now on."""
        self._tokens.grant_by(resolve_grant)
        self._keys.grant_by(resolve_grant)

    async def authenticate(self, headers: Mapping[str, str]) -> Principal | None:
        """The caller; None if it says nothing of itself. Raises NotAuthenticated, RateLimited or
        Unavailable.

        `headers` are looked up by their names in small letters: Starlette's `request.headers`, or a
        dictionary made of the first message of a websocket.
        """
        authorization, key = headers.get("authorization"), headers.get("x-api-key")
        if authorization is None:
            return None if key is None else self._keys.principal(key)
        if key is not None:
            raise NotAuthenticated(
                "The request has two credentials.",
                hint="Send one header: Authorization, or X-API-Key.",
            )
        credential = parse_bearer(authorization)
        if credential.startswith(PREFIX):
            return self._keys.principal(credential)
        caller = await self._tokens.principal(credential)
        mark_genuine()
        return caller


def parse_bearer(authorization: str) -> str:
    """What an Authorization header carries; raises NotAuthenticated."""
    scheme, _, credential = authorization.partition(" ")
    if scheme.lower() != "bearer" or not credential:
        raise NotAuthenticated(
            "The Authorization header holds no bearer token.",
            hint="Send `Authorization: Bearer <token or API key>`; locally: `raak token ROLE`.",
        )
    return credential
