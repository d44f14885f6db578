"""Build the schemas of merged definitions: the full one, and the API schema that clients see."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from graphql import (
    DefinitionNode,
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    NameNode,
    Node,
    ScalarTypeDefinitionNode,
    build_ast_schema,
    lexicographic_sort_schema,
    print_schema,
    validate_schema,
)
from graphql.pyutils import did_you_mean, suggestion_list

from gateway.supergraph.composition.coordinates import rewrite, walk
from gateway.supergraph.errors import CompositionError, CompositionProblem, Problems, to_sentence
from gateway.supergraph.syntax import definition_name, named_type

OwnerLookup: TypeAlias = Callable[[str], Iterable[str]]
"""Which subgraphs have what a coordinate names; all of them if it is empty."""

REMEDIES: Mapping[str, str] = {
    "Query root type must be provided": "Define a field of Query that clients may see.",
    "must define one or more": "Give it one, or remove it.",
    "must be Output Type": "Return an object, interface, union, scalar or enum.",
    "must be Input Type": "Take an input type, scalar or enum.",
    "invalid default value": "Write a default that is of the type.",
    "must not begin with '__'": "Give it another name.",
    "expected but": "Add it there, or remove it from the interface.",
    "expects type": "Give it the interface's type, or one that is part of it.",
    "must not be required type": "Make it optional, or give it to the interface's field, too.",
    "is not deprecated": "Deprecate the interface's field, too.",
    "cannot be deprecated": "Make it optional, or take @deprecated away.",
    "circular reference": "Take one of them away.",
    "must implement": "Name that interface after `implements`, too.",
    "must only implement Interface types": "Take it away, or make it an interface.",
    "can only include Object types": "Name object types only.",
    "references itself": "Make one of these fields optional.",
    "must be nullable": "Make it nullable; @oneOf takes just one of the fields.",
    "cannot have a default value": "Take the default away; @oneOf takes just one of the fields.",
}
"""How to mend what is no valid GraphQL, by what the reference implementation says of it."""
OTHERWISE = "Make it valid GraphQL."

BUILT_IN = {"Int", "Float", "String", "Boolean", "ID"}


def build_schemas(
    definitions: Sequence[DefinitionNode],
    inaccessible: set[str],
    owners: OwnerLookup,
    problems: Sequence[CompositionProblem] = (),
) -> tuple[GraphQLSchema, GraphQLSchema]:
    """The full schema, and the API schema: what is left without the coordinates in `inaccessible`.

    Args:
        problems: What was found before; it is reported with what is found here.

    Raises:
        CompositionError: There are problems, or one of the two is no valid schema.
    """
    public = _remove_inaccessible(definitions, inaccessible)
    found = [*problems, *find_unknown_types(definitions, owners, problems)]
    found += _find_inaccessible_types(public, definitions, owners)
    refused = {problem.coordinate for problem in found}
    try:
        full_schema, schema = build_schema(definitions), build_schema(public)
        wrong = list(find_schema_problems(full_schema, definitions, owners))
        public_only = [
            _for_clients(p) for p in find_schema_problems(schema, public, owners) if p not in wrong
        ]
        found += (
            problem for problem in (*wrong, *public_only) if problem.coordinate not in refused
        )
    except (GraphQLError, TypeError) as error:
        # Some errors hide others: wrong arguments of @deprecated, say.
        found = found or [
            CompositionProblem(tuple(owners("")), "", to_sentence(error.args[0]), OTHERWISE)
        ]
    if found:
        raise CompositionError(found)
    return full_schema, lexicographic_sort_schema(schema)


def public_sdl(schema: GraphQLSchema) -> str:
    return f"{print_schema(schema)}\n"


def _for_clients(problem: CompositionProblem) -> CompositionProblem:
    return replace(problem, reason=f"With what is @inaccessible left out: {problem.reason}")


def build_schema(definitions: Sequence[DefinitionNode]) -> GraphQLSchema:
    """The schema. Scalars stand in for types that aren't there, so that what else is wrong is
    found at once.
    """
    known = BUILT_IN | {definition_name(definition) for definition in definitions}
    used = {used for definition in definitions for _, used in _used_types(definition)}
    stand_ins = [ScalarTypeDefinitionNode(name=NameNode(value=n)) for n in sorted(used - known)]
    return build_ast_schema(
        DocumentNode(definitions=(*definitions, *stand_ins)), assume_valid_sdl=True
    )


def find_unknown_types(
    definitions: Sequence[DefinitionNode],
    owners: OwnerLookup,
    problems: Sequence[CompositionProblem] = (),
) -> Problems:
    """Types that are used but not defined, unless `problems` say something of the coordinate or of
    the type already.
    """
    known = BUILT_IN | {definition_name(definition) for definition in definitions}
    refused = {problem.coordinate for problem in problems}
    for definition in definitions:
        for coordinate, used in _used_types(definition):
            if used not in known and not {used, coordinate} & refused:
                suggestion = did_you_mean(suggestion_list(used, sorted(known)))
                reason = f"It uses the type {used!r}, which isn't defined here.{suggestion}"
                hint = "Define that type, or name another."
                yield CompositionProblem(tuple(owners(coordinate)), coordinate, reason, hint)


def _find_inaccessible_types(
    public: Sequence[DefinitionNode], definitions: Sequence[DefinitionNode], owners: OwnerLookup
) -> Problems:
    """Types that clients would need, but don't see."""
    inaccessible = {definition_name(d) for d in definitions if not _is_empty(d)} - {
        definition_name(d) for d in public
    }
    for definition in public:
        for coordinate, used in _used_types(definition):
            if used in inaccessible:
                reason = f"It uses the type {used!r}, of which all is @inaccessible."
                hint = "Mark it @inaccessible as well."
                yield CompositionProblem(tuple(owners(coordinate)), coordinate, reason, hint)


def _used_types(definition: DefinitionNode) -> Iterator[tuple[str, str]]:
    name = definition_name(definition)
    for coordinate, part in walk(definition, name):
        if type_ := getattr(part, "type", None):
            yield coordinate, named_type(type_)
    for key in ("interfaces", "types"):
        for used in getattr(definition, key, None) or ():
            yield name, used.name.value


def _remove_inaccessible(
    definitions: Sequence[DefinitionNode], inaccessible: set[str]
) -> list[DefinitionNode]:
    def change(coordinate: str, node: Any) -> dict[str, Any] | None:
        if coordinate in inaccessible:
            return None
        return {
            key: tuple(named for named in names if named.name.value not in inaccessible)
            for key in ("interfaces", "types")
            if (names := getattr(node, key, None))
        }

    public = (rewrite(d, definition_name(d), change) for d in definitions)
    return [d for d in public if d is not None and not _is_empty(d)]


def _is_empty(definition: DefinitionNode) -> bool:
    return any(getattr(definition, key, None) == () for key in ("fields", "values", "types"))


# What is no valid GraphQL


def find_schema_problems(
    schema: GraphQLSchema, definitions: Sequence[DefinitionNode], owners: OwnerLookup
) -> Problems:
    """Everything the specification forbids in a schema that was built of these definitions."""
    errors = validate_schema(schema)
    places = dict(_places(definitions)) if errors else {}
    for error in errors:
        found = [places[id(node)] for node in error.nodes or () if id(node) in places] or [""]
        subgraphs = dict.fromkeys(owner for place in found for owner in owners(place))
        yield CompositionProblem(
            tuple(subgraphs), found[0], to_sentence(error.message), _remedy(error)
        )


def _remedy(error: GraphQLError) -> str:
    remedies = (remedy for part, remedy in REMEDIES.items() if part in error.message)
    return next(remedies, OTHERWISE)


def _places(definitions: Sequence[DefinitionNode]) -> Iterator[tuple[int, str]]:
    for definition in definitions:
        for coordinate, part in walk(definition, definition_name(definition)):
            yield from _inside(part, coordinate)


def _inside(node: Node, coordinate: str) -> Iterator[tuple[int, str]]:
    yield id(node), coordinate
    for key in node.keys:
        part = getattr(node, key)
        for below in part if isinstance(part, tuple | list) else (part,):
            if isinstance(below, Node):
                yield from _inside(below, coordinate)
