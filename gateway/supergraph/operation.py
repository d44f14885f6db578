"""The operation a request wants of a document, and what it uses of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLIncludeDirective,
    GraphQLSkipDirective,
    OperationDefinitionNode,
    SelectionNode,
    VariableNode,
    value_from_ast_untyped,
)

from services.chassis.errors import UnknownOperation

CONDITIONALS = {GraphQLSkipDirective.name: False, GraphQLIncludeDirective.name: True}
"""The value of `if` with which each includes a selection."""

Conditions: TypeAlias = tuple[tuple[str, bool], ...]
"""Variables that @skip and @include read, each with the value that includes the selection."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a document, with the fragments it uses and nothing else."""

    definition: OperationDefinitionNode
    fragments: Mapping[str, FragmentDefinitionNode]
    """Those it spreads, also by way of other fragments."""
    conditions: tuple[str, ...]
    """The variables that its @skip and @include read."""

    @classmethod
    def choose(cls, document: DocumentNode, name: str | None = None) -> Self:
        """The operation of this name, or the only one there is; raises UnknownOperation.

        Each fragment is walked once, so it takes time in proportion to the text.
        """
        definition = _choose_definition(document, name)
        defined = {
            node.name.value: node
            for node in document.definitions
            if isinstance(node, FragmentDefinitionNode)
        }
        fragments: dict[str, FragmentDefinitionNode] = {}
        conditions: set[str] = set()
        waiting = [definition.selection_set]
        while waiting:
            for selection in waiting.pop().selections:
                conditions.update(variable for variable, _ in read_conditions(selection) or ())
                if not isinstance(selection, FragmentSpreadNode):
                    below = getattr(selection, "selection_set", None)
                    waiting += [below] if below else []
                elif (spread := selection.name.value) in defined and spread not in fragments:
                    fragments[spread] = defined[spread]
                    waiting.append(defined[spread].selection_set)
        return cls(definition, fragments, tuple(sorted(conditions)))

    @property
    def defaults(self) -> dict[str, Any]:
        """The defaults of its variables, as plain values."""
        return {
            declared.variable.name.value: value_from_ast_untyped(declared.default_value)
            for declared in self.definition.variable_definitions or ()
            if declared.default_value
        }

    @property
    def document(self) -> DocumentNode:
        """A document with this operation only."""
        return DocumentNode(definitions=(self.definition, *self.fragments.values()))


def _choose_definition(document: DocumentNode, name: str | None) -> OperationDefinitionNode:
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


def read_conditions(selection: SelectionNode) -> Conditions | None:
    """The conditions under which a selection is included; None if a literal excludes it."""
    conditions = []
    for directive in selection.directives or ():
        includes = CONDITIONALS.get(directive.name.value)
        if includes is None or not directive.arguments:
            continue
        value = directive.arguments[0].value
        if isinstance(value, VariableNode):
            conditions.append((value.name.value, includes))
        elif bool(value_from_ast_untyped(value)) is not includes:
            return None
    return tuple(conditions)


def is_included(selection: SelectionNode, variables: Mapping[str, Any]) -> bool:
    """Whether @skip and @include leave a selection in, with variables whose defaults are filled
    in.
    """
    if not selection.directives:
        return True
    conditions = read_conditions(selection)
    return conditions is not None and evaluate_conditions(conditions, variables)


def evaluate_conditions(conditions: Conditions, variables: Mapping[str, Any]) -> bool:
    """Whether the variables, whose defaults are filled in, have the values that include."""
    return all(bool(variables.get(name)) is includes for name, includes in conditions)
