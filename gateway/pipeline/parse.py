"""From the text of a document to the one operation a request asks for."""

from graphql import DocumentNode, GraphQLError, OperationDefinitionNode, parse

from gateway.access.limits.operation_limits import OperationLimits, check_document, check_text
from services.chassis.errors import RaakError
from services.chassis.graphql_http.request import UnknownOperation


class UnreadableDocument(RaakError):
    """A document is not GraphQL."""

    code = "GRAPHQL_PARSE_FAILED"


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


def choose_operation(document: DocumentNode, name: str | None) -> OperationDefinitionNode:
    """The operation of this name, or the only one there is; raises UnknownOperation."""
    operations = [d for d in document.definitions if isinstance(d, OperationDefinitionNode)]
    matching = [d for d in operations if name is None or (d.name and d.name.value == name)]
    if len(matching) == 1:
        return matching[0]
    names = ", ".join(repr(d.name.value) for d in operations if d.name) or "none with a name"
    if not operations:
        problem = "The document has no operation."
    elif name is None:
        problem = f"The document has {len(operations)} operations and no operationName was sent."
    else:
        problem = f"The document has no single operation {name!r}."
    raise UnknownOperation(
        problem, hint=f"Set `operationName` to one of the document's operations: {names}."
    )
