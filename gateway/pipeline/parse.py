"""From the text of a request to its document."""

from graphql import DocumentNode, GraphQLError, parse

from gateway.access.limits.operation_limits import OperationLimits, check_document, check_text
from services.chassis.errors import RaakError


class UnreadableDocument(RaakError, code="GRAPHQL_PARSE_FAILED"):
    """A document is not GraphQL."""


def parse_document(text: str, limits: OperationLimits) -> DocumentNode:
    """A document that is short enough to be read; raises LimitExceeded or UnreadableDocument."""
    check_text(text, limits)
    try:
        document = parse(text)
    except GraphQLError as error:
        place = error.locations[0] if error.locations else None
        where = f" (line {place.line}, column {place.column})" if place else ""
        raise UnreadableDocument(
            f"{error.message.rstrip('.')}{where}.", hint="Send a GraphQL document as `query`."
        ) from None
    check_document(document, limits)
    return document
