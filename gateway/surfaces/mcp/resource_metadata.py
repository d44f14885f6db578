"""Where an assistant's user signs in: the metadata of a protected resource (RFC 9728).

Hosts that get no token from their user ask for one: the refusal names this document, and the
document names the issuer of callers' tokens.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

WELL_KNOWN = "/.well-known/oauth-protected-resource"


@dataclass(frozen=True, slots=True)
class ResourceMetadata:
    """The public address of the endpoint, and who issues tokens for it."""

    address: str
    issuer: str

    @property
    def challenge(self) -> str:
        """What a refusal says in `WWW-Authenticate`."""
        parts = urlsplit(self.address)
        return f'Bearer resource_metadata="{parts.scheme}://{parts.netloc}{self._path}"'

    @property
    def _path(self) -> str:
        return WELL_KNOWN + urlsplit(self.address).path

    def routes(self) -> list[Route]:
        return [Route(path, self._respond) for path in dict.fromkeys((self._path, WELL_KNOWN))]

    async def _respond(self, request: Request) -> JSONResponse:
        return JSONResponse(
            {
                "resource": self.address,
                "resource_name": "Raak",
                "authorization_servers": [self.issuer],
                "bearer_methods_supported": ["header"],
            }
        )
