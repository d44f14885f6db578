"""A variable in a @oneOf input must not be nullable; graphql-core overlooks it in required ones."""

from typing import Any

from graphql import (
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLNonNull,
    NonNullTypeNode,
    OperationDefinitionNode,
    ValidationRule,
)


class OneOfVariablesRule(ValidationRule):
    def leave_operation_definition(self, operation: OperationDefinitionNode, *_: Any) -> None:
        declared = {d.variable.name.value: d for d in operation.variable_definitions or ()}
        for usage in self.context.get_recursive_variable_usages(operation):
            definition, parent = declared.get(usage.node.name.value), usage.parent_type
            if (
                isinstance(parent, GraphQLNonNull)
                and isinstance(parent.of_type, GraphQLInputObjectType)
                and parent.of_type.is_one_of
                and definition is not None
                and not isinstance(definition.type, NonNullTypeNode)
            ):
                self.report_error(
                    GraphQLError(
                        f"Variable '${usage.node.name.value}' may be null, and a field of the "
                        f"@oneOf input '{parent.of_type.name}' may not: declare it with '!'.",
                        [definition, usage.node],
                    )
                )
