"""Compose subgraphs into one supergraph, or say everything that is in the way."""

from collections.abc import Iterator, Mapping
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
from gateway.supergraph.joining import Joiner
from gateway.supergraph.joins import Supergraph, named_type
from gateway.supergraph.merging import Merger
from gateway.supergraph.reaching import unreachable_fields
from gateway.supergraph.reading import read_subgraph

BUILT_IN = {"Int", "Float", "String", "Boolean", "ID"}


def compose(sdls: Mapping[str, str]) -> Supergraph:
    """One graph out of the SDL of each subgraph, by its name.

    Raises:
        CompositionError: They do not compose; every problem that could be found is listed.
    """
    problems: list[Problem] = []
    read = [read_subgraph(name, sdl, problems) for name, sdl in sorted(sdls.items())]
    subgraphs = [subgraph for subgraph in read if subgraph]
    merger = Merger(subgraphs, problems)
    definitions = merger.merge()
    joiner = Joiner({subgraph.name: subgraph for subgraph in subgraphs}, problems)
    joined = joiner.join()
    problems += _unknown_types(definitions, tuple(sdls))
    _refuse(problems)
    public = _without(definitions, merger.inaccessible)
    problems += [
        Problem(p.subgraphs, p.coordinate, p.reason, "Mark it @inaccessible as well.")
        for p in _unknown_types(public, tuple(sdls))
    ]
    _refuse(problems)
    whole = _build(definitions, tuple(sdls))
    schema = lexicographic_sort_schema(_build(public, tuple(sdls)))
    supergraph = Supergraph(
        schema=schema,
        whole=whole,
        sdl=print_schema(schema) + "\n",
        subgraphs=joined,
    )
    _refuse(list(unreachable_fields(supergraph)))
    return supergraph


def _refuse(problems: list[Problem]) -> None:
    if problems:
        raise CompositionError(problems)


def _build(definitions: list[DefinitionNode], subgraphs: tuple[str, ...]) -> GraphQLSchema:
    schema = build_ast_schema(DocumentNode(definitions=tuple(definitions)), assume_valid_sdl=True)
    _refuse(
        [
            Problem(subgraphs, "", error.message, "Make the merged definition valid GraphQL.")
            for error in validate_schema(schema)
        ]
    )
    return schema


def _unknown_types(
    definitions: list[DefinitionNode], subgraphs: tuple[str, ...]
) -> Iterator[Problem]:
    known = BUILT_IN | {_name(definition) for definition in definitions}
    for definition in definitions:
        for coordinate, used in _used_types(definition):
            if used not in known:
                reason = f"It uses the type {used!r}, which isn't there."
                yield Problem(subgraphs, coordinate, reason, "Define it in one of them.")


def _used_types(definition: DefinitionNode) -> Iterator[tuple[str, str]]:
    name = _name(definition)
    for field in getattr(definition, "fields", None) or ():
        coordinate = f"{name}.{field.name.value}"
        yield coordinate, named_type(field.type)
        for argument in getattr(field, "arguments", None) or ():
            yield f"{coordinate}({argument.name.value}:)", named_type(argument.type)
    for key in ("interfaces", "types"):
        for used in getattr(definition, key, None) or ():
            yield name, used.name.value


def _without(definitions: list[DefinitionNode], hidden: set[str]) -> list[DefinitionNode]:
    """What is left for clients when everything @inaccessible is taken out."""
    shown = [_shown(d, hidden) for d in definitions if _name(d) not in hidden]
    return [d for d in shown if not _is_empty(d)]


def _shown(definition: Any, hidden: set[str]) -> Any:
    name = _name(definition)
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
    return _copy(definition, changed)


def _with_shown_arguments(member: Any, coordinate: str, hidden: set[str]) -> Any:
    if not getattr(member, "arguments", None):
        return member
    shown = tuple(a for a in member.arguments if f"{coordinate}({a.name.value}:)" not in hidden)
    return _copy(member, {"arguments": shown})


def _copy(node: Any, changed: dict[str, Any]) -> Any:
    return type(node)(**{key: getattr(node, key) for key in node.keys} | changed)


def _is_empty(definition: DefinitionNode) -> bool:
    return any(getattr(definition, key, None) == () for key in ("fields", "values", "types"))


def _name(definition: DefinitionNode) -> str:
    return str(definition.name.value)  # type: ignore[attr-defined]
