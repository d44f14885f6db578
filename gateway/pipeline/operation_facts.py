"""What the steps of the pipeline need to know of an operation: collected once for each."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLInputType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    NamedTypeNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
    VariableDefinitionNode,
    VariableNode,
    get_named_type,
)
from graphql.execution.values import VariableValues, get_variable_values
from graphql.language import InlineFragmentNode
from graphql.pyutils import Undefined
from graphql.utilities import coerce_input_literal

from gateway.access.audit.texts import TEXT_ARGUMENTS
from gateway.access.authorization.customer_references import names_customers
from gateway.access.limits.operation_limits import (
    INTROSPECTION,
    PAGE_ARGUMENTS,
    OperationLimits,
    check_page,
    check_size,
    find_root_fields,
    variable_defaults,
)
from gateway.supergraph.operation import Operation, is_included
from gateway.supergraph.syntax import variables_in


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument access looks at before a request is let through."""

    place: str
    """`Type.field`"""
    name: str
    value: ValueNode
    type: GraphQLInputType

    def value_with(self, variables: VariableValues | None) -> Any:
        """Its value in a request, with the variables and all defaults filled in."""
        value = coerce_input_literal(self.value, self.type, variables)
        return None if value is Undefined else value


@dataclass(frozen=True, slots=True)
class PageArgument:
    """An argument that says by a variable how many items of a list are wanted."""

    place: str
    name: str
    variable: str
    default: Any

    def size_with(self, variables: Mapping[str, Any]) -> Any:
        """The size in a request, if it is a number; of any other kind the services take none."""
        size = variables.get(self.variable, self.default)
        return int(size) if isinstance(size, float) else size


@dataclass(frozen=True, slots=True)
class OperationFacts:
    """What limits, authorization and the audit log look at in an operation."""

    operation: Operation
    root_fields: tuple[FieldNode, ...]
    pages: tuple[PageArgument, ...]
    references: tuple[Argument, ...]
    """Arguments that name customers."""
    reference_variables: tuple[VariableDefinitionNode, ...]
    """The variables they are made of."""
    texts: tuple[Argument, ...]
    """Arguments the audit log describes."""
    text_variables: tuple[VariableDefinitionNode, ...]

    @property
    def kind(self) -> str:
        """`query`, `mutation` or `subscription`."""
        return self.operation.definition.operation.value

    @property
    def name(self) -> str | None:
        """The name its author gave it."""
        return self.operation.definition.name.value if self.operation.definition.name else None

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
    def introspects_only(self) -> bool:
        """Whether it asks for nothing but the schema."""
        return all(field.name.value.startswith("__") for field in self.root_fields)


def collect_facts(
    document: DocumentNode, name: str | None, schema: GraphQLSchema, limits: OperationLimits
) -> OperationFacts:
    """The facts of the operation a request asks for, which is within the limits, but not validated.

    Raises LimitExceeded or UnknownOperation.
    """
    operation = Operation.choose(document, name)
    definition, fragments = operation.definition, operation.fragments
    check_size(definition, fragments, limits)
    collector = _FactCollector(schema)
    collector.collect(operation)
    references = tuple(a for a in collector.arguments if names_customers(a.type))
    texts = tuple(a for a in collector.arguments if a.name in TEXT_ARGUMENTS)
    return OperationFacts(
        operation,
        tuple(find_root_fields(definition, fragments)),
        tuple(_pages(collector.arguments, definition, limits)),
        references,
        _variables_of(references, definition),
        texts,
        _variables_of(texts, definition),
    )


class _FactCollector:
    """Walks an operation once, each fragment it uses too, and knows the type of every field."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self.arguments: list[Argument] = []

    def collect(self, operation: Operation) -> None:
        """Walk the operation. What the schema lacks is passed over: validation refuses it."""
        definition = operation.definition
        self._walk(definition.selection_set, self._schema.get_root_type(definition.operation))
        for fragment in operation.fragments.values():
            self._walk(fragment.selection_set, self._type(fragment.type_condition))

    def _walk(self, selection_set: SelectionSetNode, parent: GraphQLNamedType | None) -> None:
        for selection in selection_set.selections:
            if isinstance(selection, FieldNode):
                self._field(selection, parent)
            elif isinstance(selection, InlineFragmentNode):
                condition = selection.type_condition
                self._walk(selection.selection_set, self._type(condition) if condition else parent)

    def _field(self, node: FieldNode, parent: GraphQLNamedType | None) -> None:
        field = None
        if isinstance(parent, GraphQLObjectType | GraphQLInterfaceType):
            field = parent.fields.get(node.name.value)
            place = f"{parent.name}.{node.name.value}"
            for argument in node.arguments or () if field else ():
                name = argument.name.value
                if field and name in field.args:
                    type_ = field.args[name].type
                    self.arguments.append(Argument(place, name, argument.value, type_))
        if node.selection_set:
            self._walk(node.selection_set, get_named_type(field.type) if field else None)

    def _type(self, condition: NamedTypeNode) -> GraphQLNamedType | None:
        return self._schema.get_type(condition.name.value)


def _pages(
    arguments: list[Argument], operation: OperationDefinitionNode, limits: OperationLimits
) -> Iterator[PageArgument]:
    defaults = variable_defaults(operation)
    for argument in arguments:
        if argument.name not in PAGE_ARGUMENTS:
            continue
        if isinstance(argument.value, VariableNode):
            variable = argument.value.name.value
            yield PageArgument(argument.place, argument.name, variable, defaults.get(variable))
        else:
            check_page(argument.place, argument.name, argument.value_with(None), limits)


def _variables_of(
    arguments: tuple[Argument, ...], operation: OperationDefinitionNode
) -> tuple[VariableDefinitionNode, ...]:
    names = variables_in(*(argument.value for argument in arguments))
    declared = operation.variable_definitions or ()
    return tuple(d for d in declared if d.variable.name.value in names)


def coerce_variables(
    declared: Collection[VariableDefinitionNode],
    variables: Mapping[str, Any],
    schema: GraphQLSchema,
) -> VariableValues | None:
    """Variables as the services will get them; None if they are not what is declared."""
    values = get_variable_values(schema, declared, dict(variables), max_errors=1)
    return None if isinstance(values, list) else values


def select_root_fields(facts: OperationFacts, variables: VariableValues) -> dict[str, str]:
    """The root fields a request selects, after @skip and @include: names by response key."""
    selected = find_root_fields(
        facts.operation.definition,
        facts.operation.fragments,
        lambda selection: is_included(selection, variables.coerced),
    )
    return {_key(field): field.name.value for field in selected}


def _key(field: FieldNode) -> str:
    return field.alias.value if field.alias else field.name.value
