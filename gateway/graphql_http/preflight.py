"""A guard against requests that any page can have a browser send: cross-site request forgery."""

from collections.abc import Mapping
from typing import Any

from starlette.types import Receive, Scope

from services.chassis.bodies import BodyLimits
from services.chassis.errors import RaakError
from services.chassis.graphql_http.request import read_request

PREFLIGHT_HEADERS = (
    "authorization",
    "x-api-key",
    "graphql-require-preflight",
    "apollo-require-preflight",
    "x-apollo-operation-name",
)
"""Headers a page of another origin cannot send before its browser has asked us whether it may."""


class PreflightRequired(RaakError, code="PREFLIGHT_REQUIRED"):
    """A request that a browser sends for any page, without asking us first."""


async def read_client_request(
    scope: Scope, receive: Receive, headers: Mapping[str, str], limits: BodyLimits
) -> Any:
    """The JSON of a request; raises PreflightRequired, or what `read_request` raises.

    A POST is safe: browsers ask us before they send JSON for a page of another origin.
    """
    if scope["method"] == "GET":
        check_preflight(headers)
    return await read_request(scope, receive, headers, limits)


def check_preflight(headers: Mapping[str, str]) -> None:
    """Raise PreflightRequired for what a browser may send for any page it shows."""
    if not any(headers.get(name) for name in PREFLIGHT_HEADERS):
        raise PreflightRequired(
            "Any page could have made a browser send this request.",
            hint="Send `GraphQL-Require-Preflight: 1` with it, or an Authorization.",
        )
