"""GraphQL over HTTP, as its specification says, for any endpoint: the gateway's and the services'.

`request` reads what a client sends, `media_types` agrees on the form of the response, and
`response` makes it, with its status and headers.
"""

from services.chassis.graphql_http.media_types import (
    LEGACY,
    MODERN,
    choose_media_type,
    negotiate_media_type,
    parse_quality_values,
)
from services.chassis.graphql_http.request import (
    BODY,
    MAX_DEPTH,
    MalformedRequest,
    MutationNotAllowed,
    RequestFormat,
    RequestParameters,
    parse_body,
    read_parameters,
    read_request,
)
from services.chassis.graphql_http.response import (
    JSON,
    MASKED_ERROR,
    GraphQLResponse,
    HttpResponse,
    format_error,
    refusal_headers,
)

__all__ = [
    "BODY",
    "JSON",
    "LEGACY",
    "MASKED_ERROR",
    "MAX_DEPTH",
    "MODERN",
    "GraphQLResponse",
    "HttpResponse",
    "MalformedRequest",
    "MutationNotAllowed",
    "RequestFormat",
    "RequestParameters",
    "choose_media_type",
    "format_error",
    "negotiate_media_type",
    "parse_body",
    "parse_quality_values",
    "read_parameters",
    "read_request",
    "refusal_headers",
]
