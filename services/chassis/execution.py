"""How a subgraph executes a document: as graphql-core does, with plain fields compiled.

Most of a response is plain: attributes of the objects that resolvers returned, down to scalars. For
each, graphql-core makes an info and a path and calls a resolver, all to read one attribute. Here
selections of plain fields are compiled, once for a document, to functions that read them. Anything
else (an error, a null where none may be, an awaitable) is left to graphql-core from the start, so
its semantics are graphql-core's alone.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, NamedTuple

from graphql import (
    GraphQLLeafType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    TypeNameMetaFieldDef,
    get_named_type,
    is_leaf_type,
)
from graphql.execution import Executor
from graphql.execution.collect_fields import CollectedFields, FieldDetailsList, GroupedFieldSet
from graphql.pyutils import Path, Undefined
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.schema_converter import GraphQLCoreConverter

from services.chassis.masking import Hide, Masking, leave_unmasked, mask_value

Read = Callable[[Any], Any]
"""Reads a value; raises any error if graphql-core has to complete it."""

AS_THEY_ARE = {"String": str, "ID": str, "Boolean": bool}
"""The scalars of which values of a type are answered as they are."""


TEXTS = frozenset({"JSON", "String"})
"""The scalars that may hold personal data."""


class NotPlain(Exception):
    """A value cannot be read by a compiled function."""


class Attribute(NamedTuple):
    """A plain field: how it is read from its parent, and how its value is completed."""

    get: Read
    answer: Read


@dataclass(frozen=True, slots=True)
class CompiledOperation:
    """What executions of a document have compiled, by the identity of types and field details.

    Attributes:
        roots: The root fields of each operation.
        collected: The subfields of a type at some fields, and those fields.
        attributes: A field, if it is plain.
        values: How the value of a resolver is completed, if that can be plain.
    """

    roots: dict[int, GroupedFieldSet] = field(default_factory=dict)
    collected: dict[tuple[int, int], tuple[FieldDetailsList, CollectedFields]] = field(
        default_factory=dict
    )
    attributes: dict[int, Attribute | None] = field(default_factory=dict)
    values: dict[tuple[int, int], Read | None] = field(default_factory=dict)


class PlainFieldExecutor(Executor[Any]):
    """graphql-core's executor with a short cut for plain fields.

    `compiled` is shared by executions that select the same fields: without directives.
    """

    def __init__(
        self, *arguments: Any, compiled: CompiledOperation | None = None, **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self._compiled = compiled or CompiledOperation()

    def execute_collected_root_fields(
        self,
        root_type: GraphQLObjectType,
        root_value: Any,
        grouped_field_set: GroupedFieldSet,
        serially: bool,
        new_defer_usages: Sequence[Any],
    ) -> Any:
        """Reuse the root fields of former executions: all else is found by their identity."""
        known = self._compiled.roots.setdefault(id(self.operation), grouped_field_set)
        return super().execute_collected_root_fields(
            root_type, root_value, known, serially, new_defer_usages
        )

    def collect_subfields(
        self, return_type: GraphQLObjectType, field_details_list: FieldDetailsList
    ) -> CollectedFields:
        key = id(return_type), id(field_details_list)
        known = self._compiled.collected.get(key)
        if known is None:
            collected = super().collect_subfields(return_type, field_details_list)
            known = self._compiled.collected[key] = field_details_list, collected
        return known[1]

    def execute_field(
        self,
        parent_type: GraphQLObjectType,
        source: Any,
        field_details_list: FieldDetailsList,
        path: Path,
        position_context: Any,
    ) -> Any:
        try:
            attribute = self._compiled.attributes[id(field_details_list)]
        except KeyError:
            attribute = self._attribute(parent_type, field_details_list)
            self._compiled.attributes[id(field_details_list)] = attribute
        if attribute is not None:
            try:
                return attribute.answer(attribute.get(source))
            except Exception:  # noqa: S110  # graphql-core runs into it again, and reports its path
                pass
        return super().execute_field(
            parent_type, source, field_details_list, path, position_context
        )

    def complete_value(
        self,
        return_type: GraphQLOutputType,
        field_details_list: FieldDetailsList,
        info: Any,
        path: Path,
        result: Any,
        position_context: Any,
    ) -> Any:
        key = id(return_type), id(field_details_list)
        try:
            answer = self._compiled.values[key]
        except KeyError:
            answer = self._compiled.values[key] = self._value(return_type, field_details_list)
        if answer is not None:
            try:
                return answer(result)
            except Exception:  # noqa: S110  # graphql-core runs into it again, and reports its path
                pass
        return super().complete_value(
            return_type, field_details_list, info, path, result, position_context
        )

    def _attribute(self, type_: GraphQLObjectType, details: FieldDetailsList) -> Attribute | None:
        found = self.schema.get_field(type_, details[0].node.name.value)
        if found is None:
            return None
        if found is TypeNameMetaFieldDef:
            return Attribute(lambda source: type_.name, lambda name: name)
        if not getattr(found.resolve, "_is_default", False):
            return None
        definition = found.extensions[GraphQLCoreConverter.DEFINITION_BACKREF]
        answer = self._value(found.type, details) if definition.is_basic_field else None
        return answer and Attribute(attrgetter(definition.python_name), answer)

    def _value(
        self, type_: GraphQLOutputType, details: FieldDetailsList, *, may_be_null: bool = True
    ) -> Read | None:
        if isinstance(type_, GraphQLNonNull):
            return self._value(type_.of_type, details, may_be_null=False)
        if isinstance(type_, GraphQLList):
            item = self._value(type_.of_type, details)
            return item and _list(item, may_be_null)
        if isinstance(type_, GraphQLObjectType) and not type_.is_type_of:
            return self._object(type_, details, may_be_null)
        return _leaf(type_, may_be_null) if is_leaf_type(type_) else None

    def _object(
        self, type_: GraphQLObjectType, details: FieldDetailsList, may_be_null: bool
    ) -> Read | None:
        fields = []
        for name, inner in self.collect_subfields(type_, details).grouped_field_set.items():
            try:
                attribute = self._attribute(type_, inner)
            except RecursionError:  # nested deeper than values may ever go
                attribute = None
            if attribute is None:
                return None
            fields.append((name, *attribute))

        def answer_object(value: Any) -> Any:
            if value is None and may_be_null:
                return None
            _check_plain(value)
            return {name: answer(get(value)) for name, get, answer in fields}

        return answer_object


class MaskedExecutor(PlainFieldExecutor):
    """Masks texts and JSON values, for callers that may not read identities.

    `hides` says how, by `Type` or `Type.field`; `mask_value` is the default.
    """

    def __init__(
        self, *arguments: Any, masking: Masking, hides: Mapping[str, Hide], **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self._masking = masking
        self._hides = hides

    def execute_field(
        self,
        parent_type: GraphQLObjectType,
        source: Any,
        field_details_list: FieldDetailsList,
        path: Path,
        position_context: Any,
    ) -> Any:
        answer = super().execute_field(
            parent_type, source, field_details_list, path, position_context
        )
        hide = self._hide(parent_type, field_details_list)
        if hide is None:
            return answer
        if optimized_is_awaitable(answer):
            return self._hidden_later(hide, source, answer)
        return hide(self._masking, source, answer)

    async def _hidden_later(self, hide: Hide, source: Any, answer: Awaitable[Any]) -> Any:
        return hide(self._masking, source, await answer)

    def _attribute(self, type_: GraphQLObjectType, details: FieldDetailsList) -> Attribute | None:
        attribute, hide = super()._attribute(type_, details), self._hide(type_, details)
        if attribute is None or hide is None:
            return attribute
        (get, answer), masking = attribute, self._masking
        return Attribute(
            lambda source: source, lambda source: hide(masking, source, answer(get(source)))
        )

    def _hide(self, type_: GraphQLObjectType, details: FieldDetailsList) -> Hide | None:
        name = details[0].node.name.value
        field = type_.fields.get(name)
        is_text = field is not None and get_named_type(field.type).name in TEXTS
        usual = self._hides.get(type_.name, mask_value if is_text else leave_unmasked)
        hide = self._hides.get(f"{type_.name}.{name}", usual)
        return None if hide is leave_unmasked else hide


def _list(answer: Read, may_be_null: bool) -> Read:
    def answer_list(value: Any) -> Any:
        if value is None and may_be_null:
            return None
        if type(value) is not list:
            raise NotPlain
        return [answer(item) for item in value]

    return answer_list


def _leaf(type_: GraphQLLeafType, may_be_null: bool) -> Read:
    as_it_is = AS_THEY_ARE.get(type_.name)
    coerce = type_.coerce_output_value

    def answer_leaf(value: Any) -> Any:
        if type(value) is as_it_is:
            return value
        if value is None and may_be_null:
            return None
        _check_plain(value)
        coerced = coerce(value)
        if coerced is None or coerced is Undefined:
            raise NotPlain
        return coerced

    return answer_leaf


def _check_plain(value: Any) -> None:
    is_nothing = value is None or value is Undefined
    if is_nothing or optimized_is_awaitable(value) or isinstance(value, Exception):
        raise NotPlain
