"""Build the schemas of merged definitions: the whole one, and the part that clients see."""

from collections.abc import Iterator, Sequence
from typing import Any

from graphql import (
    DefinitionNode,
    DocumentNode,
    GraphQLSchema,
    build_ast_schema,
    lexicographic_sort_schema,
    print_schema,
    validate_schema,
)

from gateway.supergraph.errors import CompositionError, Problem
from gateway.supergraph.joins import named_type
from gateway.supergraph.nodes import copied, name_of

BUILT_IN = {"Int", "Float", "String", "Boolean", "ID"}


def build_schemas(
    definitions: Sequence[DefinitionNode],
    hidden: set[str],
    subgraphs: tuple[str, ...],
    problems: Sequence[Problem] = (),
) -> tuple[GraphQLSchema, GraphQLSchema]:
    """The whole schema, and what is left of it when all coordinates in `hidden` are taken out.

    Args:
        problems: What was found before; it is listed with what is found here.

    Raises:
        CompositionError: There are problems, or one of the two is no valid schema.
    """
    _refuse([*problems, *_unknown_types(definitions, subgraphs, "Define it in one of them.")])
    public = _without(definitions, hidden)
    _refuse(list(_unknown_types(public, subgraphs, "Mark it @inaccessible as well.")))
    whole = _build(definitions, subgraphs)
    return whole, lexicographic_sort_schema(_build(public, subgraphs))


def public_sdl(schema: GraphQLSchema) -> str:
    """The text of a schema, as files hold it."""
    return f"{print_schema(schema)}\n"


def _refuse(problems: list[Problem]) -> None:
    if problems:
        raise CompositionError(problems)


def _build(definitions: Sequence[DefinitionNode], subgraphs: tuple[str, ...]) -> GraphQLSchema:
    schema = build_ast_schema(DocumentNode(definitions=tuple(definitions)), assume_valid_sdl=True)
    _refuse(
        [
            Problem(subgraphs, "", error.message, "Make the merged definition valid GraphQL.")
            for error in validate_schema(schema)
        ]
    )
    return schema


def _unknown_types(
    definitions: Sequence[DefinitionNode], subgraphs: tuple[str, ...], hint: str
) -> Iterator[Problem]:
    known = BUILT_IN | {name_of(definition) for definition in definitions}
    for definition in definitions:
        for coordinate, used in _used_types(definition):
            if used not in known:
                reason = f"It uses the type {used!r}, which isn't there."
                yield Problem(subgraphs, coordinate, reason, hint)


def _used_types(definition: DefinitionNode) -> Iterator[tuple[str, str]]:
    name = name_of(definition)
    for field in getattr(definition, "fields", None) or ():
        coordinate = f"{name}.{field.name.value}"
        yield coordinate, named_type(field.type)
        for argument in getattr(field, "arguments", None) or ():
            yield f"{coordinate}({argument.name.value}:)", named_type(argument.type)
    for key in ("interfaces", "types"):
        for used in getattr(definition, key, None) or ():
            yield name, used.name.value


def _without(definitions: Sequence[DefinitionNode], hidden: set[str]) -> list[DefinitionNode]:
    shown = [_shown(d, hidden) for d in definitions if name_of(d) not in hidden]
    return [d for d in shown if not _is_empty(d)]


def _shown(definition: Any, hidden: set[str]) -> Any:
    name = name_of(definition)
    changed: dict[str, Any] = {}
    for key in ("fields", "values"):
        if (members := getattr(definition, key, None)) is not None:
            changed[key] = tuple(
                _with_shown_arguments(member, f"{name}.{member.name.value}", hidden)
                for member in members
                if f"{name}.{member.name.value}" not in hidden
            )
    for key in ("interfaces", "types"):
        if (names := getattr(definition, key, None)) is not None:
            changed[key] = tuple(named for named in names if named.name.value not in hidden)
    return copied(definition, **changed)


def _with_shown_arguments(member: Any, coordinate: str, hidden: set[str]) -> Any:
    if not getattr(member, "arguments", None):
        return member
    shown = tuple(a for a in member.arguments if f"{coordinate}({a.name.value}:)" not in hidden)
    return copied(member, arguments=shown)


def _is_empty(definition: DefinitionNode) -> bool:
    return any(getattr(definition, key, None) == () for key in ("fields", "values", "types"))
