"""What access has to know of an operation: worked out once, kept with its plan."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLArgument,
    GraphQLError,
    GraphQLIncludeDirective,
    GraphQLInputType,
    GraphQLNamedType,
    GraphQLSchema,
    GraphQLSkipDirective,
    OperationDefinitionNode,
    SelectionNode,
    TypeInfo,
    TypeInfoVisitor,
    ValueNode,
    VariableDefinitionNode,
    VariableNode,
    Visitor,
    get_directive_values,
    parse,
    value_from_ast_untyped,
    visit,
)
from graphql.execution.values import VariableValues, get_variable_values
from graphql.pyutils import Undefined
from graphql.utilities import coerce_input_literal

from gateway.access.audit.texts import TEXT_ARGUMENTS
from gateway.access.authorization.customer_references import names_customers
from gateway.access.limits.operation_limits import (
    INTROSPECTION,
    OperationLimits,
    check_document,
    check_page,
    check_size,
    check_text,
    root_fields,
)
from gateway.supergraph.syntax import fragments_in, used_fragments
from services.chassis.errors import RaakError

PAGE_ARGUMENTS = frozenset({"first", "last", "limit"})


class UnreadableDocument(RaakError):
    """A document is not GraphQL."""

    code = "GRAPHQL_PARSE_FAILED"


class OperationNotIdentified(RaakError):
    """A request does not say which of the document's operations is meant, or names none of them."""

    code = "UNKNOWN_OPERATION"


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument access looks at before a request is let through."""

    place: str
    """`Type.field`"""
    name: str
    value: ValueNode
    type: GraphQLInputType

    def given(self, variables: VariableValues | None) -> Any:
        """The value a request gives, with its variables and all defaults filled in."""
        value = coerce_input_literal(self.value, self.type, variables)
        return None if value is Undefined else value


@dataclass(frozen=True, slots=True)
class PageArgument:
    """An argument that says by a variable how many items of a list are wanted."""

    place: str
    name: str
    variable: str
    default: Any

    def given(self, variables: Mapping[str, Any]) -> Any:
        """The number a request gives, if it is one; of any other kind the services take none."""
        size = variables.get(self.variable, self.default)
        return int(size) if isinstance(size, float) else size


@dataclass(frozen=True, slots=True)
class OperationFacts:
    """One operation of a document, with the fragments it uses and nothing else."""

    document: DocumentNode
    definition: OperationDefinitionNode
    root_fields: tuple[FieldNode, ...]
    pages: tuple[PageArgument, ...]
    references: tuple[Argument, ...]
    """Arguments that say which customer is meant."""
    reference_variables: tuple[VariableDefinitionNode, ...]
    """The variables they are made of."""
    texts: tuple[Argument, ...]
    """Arguments the audit log describes."""
    text_variables: tuple[VariableDefinitionNode, ...]

    @property
    def kind(self) -> str:
        """`query`, `mutation` or `subscription`."""
        return self.definition.operation.value

    @property
    def name(self) -> str | None:
        """The name its author gave it."""
        return self.definition.name.value if self.definition.name else None

    @property
    def root_type(self) -> str:
        """The type its root fields belong to; composing gives the roots their usual names."""
        return self.kind.capitalize()

    @property
    def root_coordinates(self) -> frozenset[str]:
        """Its root fields, as `Type.field`."""
        return frozenset(f"{self.root_type}.{field.name.value}" for field in self.root_fields)

    @property
    def introspects(self) -> bool:
        """Whether it asks for the schema."""
        return any(field.name.value in INTROSPECTION for field in self.root_fields)

    @property
    def asks_only_the_schema(self) -> bool:
        """Whether it asks for nothing but the schema."""
        return all(field.name.value.startswith("__") for field in self.root_fields)


def read_document(text: str, limits: OperationLimits) -> DocumentNode:
    """A document that is short enough to be read; raises LimitExceeded or UnreadableDocument."""
    check_text(text, limits)
    document = _parsed(text)
    check_document(document, limits)
    return document


def read_operation(
    read: DocumentNode, name: str | None, schema: GraphQLSchema, limits: OperationLimits
) -> OperationFacts:
    """The operation of a document that a request means; it is within the limits, but not validated.

    Raises LimitExceeded or OperationNotIdentified.
    """
    definition = _choose(read, name)
    check_size(definition, fragments_in(read), limits)
    used = used_fragments(definition, read)
    document = DocumentNode(definitions=(definition, *used.values()))
    arguments = _arguments(document, schema)
    references = tuple(argument for argument in arguments if names_customers(argument.type))
    texts = tuple(argument for argument in arguments if argument.name in TEXT_ARGUMENTS)
    return OperationFacts(
        document,
        definition,
        tuple(root_fields(definition, used)),
        tuple(_pages(arguments, definition, limits)),
        references,
        tuple(_variables_of(references, definition)),
        texts,
        tuple(_variables_of(texts, definition)),
    )


def _pages(
    arguments: list[Argument], operation: OperationDefinitionNode, limits: OperationLimits
) -> Iterator[PageArgument]:
    defaults = {
        declared.variable.name.value: value_from_ast_untyped(declared.default_value)
        for declared in operation.variable_definitions or ()
        if declared.default_value
    }
    for argument in arguments:
        if argument.name not in PAGE_ARGUMENTS:
            continue
        if isinstance(argument.value, VariableNode):
            variable = argument.value.name.value
            yield PageArgument(argument.place, argument.name, variable, defaults.get(variable))
        else:
            check_page(argument.place, argument.name, argument.given(None), limits)


def _variables_of(
    arguments: tuple[Argument, ...], operation: OperationDefinitionNode
) -> Iterator[VariableDefinitionNode]:
    collector = _Variables()
    for argument in arguments:
        visit(argument.value, collector)
    for declared in operation.variable_definitions or ():
        if declared.variable.name.value in collector.found:
            yield declared


class _Variables(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def enter_variable(self, node: VariableNode, *_: Any) -> None:
        self.found.add(node.name.value)


def _parsed(text: str) -> DocumentNode:
    try:
        return parse(text)
    except GraphQLError as error:
        place = error.locations[0] if error.locations else None
        where = f" (line {place.line}, column {place.column})" if place else ""
        raise UnreadableDocument(
            f"{error.message.rstrip('.')}{where}.", hint="Send a GraphQL document as `query`."
        ) from None


def _choose(document: DocumentNode, name: str | None) -> OperationDefinitionNode:
    operations = [d for d in document.definitions if isinstance(d, OperationDefinitionNode)]
    chosen = [d for d in operations if name is None or (d.name and d.name.value == name)]
    if len(chosen) != 1:
        raise _unclear(operations, name)
    return chosen[0]


def _unclear(operations: list[OperationDefinitionNode], name: str | None) -> OperationNotIdentified:
    names = ", ".join(repr(d.name.value) for d in operations if d.name) or "none with a name"
    if not operations:
        problem = "The document has no operation."
    elif name is None:
        problem = f"The document has {len(operations)} operations and no operationName was sent."
    else:
        problem = f"The document has no single operation {name!r}."
    return OperationNotIdentified(
        problem, hint=f"Set `operationName` to one of the document's operations: {names}."
    )


def _arguments(document: DocumentNode, schema: GraphQLSchema) -> list[Argument]:
    types = TypeInfo(schema)
    collector = _Arguments(types)
    visit(document, TypeInfoVisitor(types, collector))
    return collector.found


class _Arguments(Visitor):
    def __init__(self, types: TypeInfo) -> None:
        super().__init__()
        self._types = types
        self.found: list[Argument] = []

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        field, parent = self._types.get_field_def(), self._types.get_parent_type()
        if field is not None and parent is not None:
            self.found += _of_field(node, parent, field.args)


def _of_field(
    node: FieldNode, parent: GraphQLNamedType, known: Mapping[str, GraphQLArgument]
) -> Iterator[Argument]:
    for argument in node.arguments or ():
        name = argument.name.value
        if name in known:
            place = f"{parent.name}.{node.name.value}"
            yield Argument(place, name, argument.value, known[name].type)


def coerced(
    declared: Collection[VariableDefinitionNode],
    variables: Mapping[str, Any],
    schema: GraphQLSchema,
) -> VariableValues | None:
    """Variables as the services will get them; None if they are not what is declared."""
    values = get_variable_values(schema, declared, dict(variables), max_errors=1)
    return None if isinstance(values, list) else values


def included_root_fields(operation: OperationFacts, variables: VariableValues) -> dict[str, str]:
    """The root fields a request really asks, after @skip and @include: names by response key."""
    asked = root_fields(
        operation.definition,
        fragments_in(operation.document),
        lambda selection: _is_included(selection, variables),
    )
    return {_key(field): field.name.value for field in asked}


def _is_included(selection: SelectionNode, variables: VariableValues) -> bool:
    skip = get_directive_values(GraphQLSkipDirective, selection, variables)
    include = get_directive_values(GraphQLIncludeDirective, selection, variables)
    return not (skip and skip["if"]) and (include is None or bool(include["if"]))


def _key(field: FieldNode) -> str:
    return field.alias.value if field.alias else field.name.value
