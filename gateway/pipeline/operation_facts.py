"""What the steps of the pipeline need to know of an operation: collected once for each."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    DocumentNode,
    GraphQLSchema,
    VariableDefinitionNode,
    value_from_ast_untyped,
)
from graphql.execution.values import VariableValues, get_variable_values

from gateway.access.audit.texts import TEXT_ARGUMENTS
from gateway.access.authorization.customer_references import check_form, names_customers
from gateway.access.limits.operation_limits import (
    PAGE_ARGUMENTS,
    LimitExceeded,
    OperationLimits,
    check_page,
    check_size,
)
from gateway.access.selections import INTROSPECTION, Argument, TypedSelectionSet, visit_operation
from gateway.supergraph.operation import Operation
from gateway.supergraph.syntax import variables_in


@dataclass(frozen=True, slots=True)
class OperationFacts:
    """What limits, authorization and the audit log look at in an operation."""

    operation: Operation
    defaults: Mapping[str, Any]
    """Of its variables, as plain values."""
    root: TypedSelectionSet
    root_names: frozenset[str]
    """Of its root fields."""
    pages: tuple[tuple[Argument, str], ...]
    """Arguments that say by a variable how many items of a list are wanted, with the variable."""
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
        return frozenset(f"{self.root_type}.{name}" for name in self.root_names)

    @property
    def introspects(self) -> bool:
        """Whether it asks for the schema."""
        return not INTROSPECTION.isdisjoint(self.root_names)

    @property
    def introspects_only(self) -> bool:
        """Whether it asks for nothing but the schema."""
        return all(name.startswith("__") for name in self.root_names)


def collect_facts(
    document: DocumentNode, name: str | None, schema: GraphQLSchema, limits: OperationLimits
) -> OperationFacts:
    """The facts of the operation a request asks for, which is within the limits, but not validated.

    Raises LimitExceeded, UnknownOperation or InvalidCustomerRef.
    """
    operation = Operation.choose(document, name)
    try:
        root, arguments = visit_operation(operation, schema)
    except RecursionError:  # hundreds of levels through fragments: far beyond any limit of depth
        raise LimitExceeded("The operation is nested too deeply.", "depth", limits.depth) from None
    check_size(root.size, limits)
    pages = [argument for argument in arguments if argument.name in PAGE_ARGUMENTS]
    for page in pages:
        if page.variable is None:
            check_page(page.place, page.name, page.value_with(None), limits)
    references = tuple(argument for argument in arguments if names_customers(argument.type))
    for reference in references:
        _check_literal(reference)
    texts = tuple(argument for argument in arguments if argument.name in TEXT_ARGUMENTS)
    return OperationFacts(
        operation,
        operation.defaults,
        root,
        frozenset(field.name for field in root.fields()),
        tuple((page, page.variable) for page in pages if page.variable),
        references,
        _variables_of(references, operation),
        texts,
        _variables_of(texts, operation),
    )


def _check_literal(reference: Argument) -> None:
    """Check the customers that are written out; those in variables come with the request."""
    variables = dict.fromkeys(variables_in(reference.value), True)
    value = value_from_ast_untyped(reference.value, variables)
    check_form(f"{reference.place}({reference.name}:)", value, reference.type)


def _variables_of(
    arguments: Iterable[Argument], operation: Operation
) -> tuple[VariableDefinitionNode, ...]:
    names = variables_in(*(argument.value for argument in arguments))
    declared = operation.definition.variable_definitions or ()
    return tuple(d for d in declared if d.variable.name.value in names)


def coerce_variables(
    declared: Collection[VariableDefinitionNode],
    variables: Mapping[str, Any],
    schema: GraphQLSchema,
) -> VariableValues | None:
    """Variables as the services will get them; None if they are not what is declared."""
    values = get_variable_values(schema, declared, dict(variables), max_errors=1)
    return None if isinstance(values, list) else values
