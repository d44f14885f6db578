"""What must hold of an answer, and of the requests that led to it."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLResolveInfo,
    GraphQLSchema,
    OperationDefinitionNode,
    SelectionSetNode,
    TypeInfo,
    TypeInfoVisitor,
    Visitor,
    execute_sync,
    parse,
    print_ast,
    visit,
)

from gateway.supergraph import Supergraph, plan
from gateway.supergraph.field_sets import selected_fields
from gateway.supergraph.planner.fetch_nodes import FetchNode, RepresentationField
from gateway.supergraph.planner.query_plan import PlanVariant
from gateway.supergraph.syntax import variables_in
from tests.unit.gateway.supergraph.random.operations import Operation
from tests.unit.gateway.supergraph.random.services import TYPE_KEY, Path, Sent, Whole, typed
from tests.unit.gateway.supergraph.random.world import EACH, JSON, same

HIDDEN = "raak_"
"""How the names begin under which a plan asks for inputs that the client doesn't."""


NOTHING_ELSE = "raak_typename"
"""What is asked of objects of which nothing is wanted."""


def essence(answer: JSON) -> tuple[str, list[Path]]:
    """The data, in its order, and where errors are: each at the null it led to."""
    paths = {_to_null(answer["data"], path) for path in error_paths(answer)}
    return json.dumps(answer["data"]), sorted(paths, key=repr)


def error_paths(answer: JSON) -> list[Path]:
    """The paths of all errors, as they are told."""
    return [tuple(error.get("path", ())) for error in answer.get("errors", ())]


def _to_null(data: Any, path: Path) -> Path:
    for depth, key in enumerate(path):
        if data is None:
            return path[:depth]
        data = data[key]
    return path


# Requests


def check_requests(sent: Iterable[Sent]) -> None:
    """No request asks the same twice of one entity."""
    for request in sent:
        entities = list(_find_entities(request))
        assert len(set(entities)) == len(entities), request


def _find_entities(request: Sent) -> Iterator[tuple[str, str]]:
    """Each selection together with each entity it is asked of."""
    operation = parse(request.query).definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    for field in selected_fields(operation.selection_set):
        if field.name.value == "_entities" and field.selection_set:
            (variable,) = variables_in(*(field.arguments or ()))
            for representation in request.variables[variable]:
                yield print_ast(field.selection_set), same(representation)


def check_plan(variant: PlanVariant, operation: Operation) -> None:
    """One request for entities per service and level, and no input that nobody reads."""
    witnesses = {witness.subgraph_key for witness in variant.entity_ids}
    for stage in variant.stages:
        levels = _levels(stage.fetches)
        loading = [(r.subgraph, levels[r]) for r in stage.fetches if r.entity_fetches]
        assert len(set(loading)) == len(loading), [r.operation for r in stage.fetches]
        read = {key for r in stage.fetches for key in _read_keys(r)}
        for request in stage.fetches:
            unread = set(_hidden_keys(request.operation)) - read - witnesses - {NOTHING_ELSE}
            assert all(f"{key.partition('__')[0]}: " in operation.text for key in unread), (
                f"nobody reads {unread} of {request.operation}"
            )


def _levels(requests: Sequence[FetchNode]) -> dict[FetchNode, int]:
    levels = dict.fromkeys(requests, 0)
    for request in requests:  # none comes before one it waits for
        for follower in request.dependents:
            levels[follower] = max(levels[follower], levels[request] + 1)
    return levels


def _read_keys(request: FetchNode) -> Iterator[str]:
    for entity_fetch in request.entity_fetches:
        for source in entity_fetch.sources:
            yield from (step.subgraph_key for step in source.path.steps)
            yield from _representation_keys(source.fields)


def _representation_keys(fields: Iterable[RepresentationField]) -> Iterator[str]:
    for field in fields:
        yield field.subgraph_key
        for below in (field.fields_by_type or {}).values():
            yield from _representation_keys(below)


def _hidden_keys(text: str) -> Iterator[str]:
    for alias, _ in _selected(text, None):
        if alias.startswith(HIDDEN):
            yield alias


def check_denied(
    sent: Iterable[Sent], schemas: Mapping[str, GraphQLSchema], denied: frozenset[str]
) -> None:
    """What is denied is asked as an input only."""
    for request in sent:
        for alias, coordinate in _selected(request.query, schemas[request.subgraph]):
            is_input = alias.startswith(HIDDEN)
            assert is_input or coordinate not in denied, (coordinate, request)


def _selected(text: str, schema: GraphQLSchema | None) -> list[tuple[str, str]]:
    """The key and, given a schema, the coordinate of each field that a request selects."""
    info = TypeInfo(schema or GraphQLSchema())
    selected: list[tuple[str, str]] = []

    class Selected(Visitor):
        def enter_field(self, node: FieldNode, *_: Any) -> None:
            key = (node.alias or node.name).value
            selected.append((key, f"{info.get_parent_type()}.{node.name.value}"))

    visit(parse(text), TypeInfoVisitor(info, Selected()))
    return selected


def count_apart(supergraph: Supergraph, operation: Operation, labels: frozenset[str]) -> int:
    """How many requests it takes to answer what is selected at the root, one after the other."""
    document = operation.document
    entities, *fragments = document.definitions
    assert isinstance(entities, OperationDefinitionNode)
    count = 0
    for selection in entities.selection_set.selections:
        single = OperationDefinitionNode(
            operation=entities.operation,
            variable_definitions=entities.variable_definitions,
            selection_set=SelectionSetNode(selections=(selection,)),
        )
        planned = plan(supergraph, DocumentNode(definitions=(single, *fragments)))
        count += count_requests(planned.variant(operation.variables, labels=labels))
    return count


def count_requests(variant: PlanVariant) -> int:
    """How many requests a plan may send."""
    return sum(len(stage.fetches) for stage in variant.stages)


# Whom an answer is about


def check_entity_ids(
    entity_ids: Mapping[str, set[str]],
    witness: Mapping[str, str],
    whole: Whole,
    operation: Operation,
) -> None:
    """Every id that the client gets is told, if it is of a type that is looked for."""
    data = whole.answer(typed(operation.document), operation.variables)["data"]
    for item in _objects(data):
        type_name, id_ = item[TYPE_KEY], item.get("id")
        is_id = id_ in [f"{type_name}:{n}" for n in range(EACH)]  # "id" is an alias, too
        if type_name in witness and is_id:
            interfaces = whole.schema.type_map[type_name].interfaces  # type: ignore[attr-defined]
            names = [type_name, *(interface.name for interface in interfaces)]
            assert any(id_ in entity_ids.get(name, ()) for name in names), f"{id_} is lost"


def _objects(data: Any) -> Iterator[JSON]:
    """The objects of an answer to what is `typed`."""
    if isinstance(data, dict) and TYPE_KEY in data:
        yield data
    for value in data.values() if isinstance(data, dict) else ():
        yield from _objects(value)
    for value in data if isinstance(data, list) else ():
        yield from _objects(value)


# Answers with faults


def check_degraded(answer: JSON, whole: Whole, operation: Operation, *, is_reported: bool) -> None:
    """An answer with gaps: valid, true where it says anything, and every gap is accounted for.

    Args:
        is_told: Whether whatever is missing is told by somebody.
    """
    data = answer["data"]
    expected = whole.answer(operation.document, operation.variables)
    gaps = set(_gaps(data, expected["data"], ()))
    _check_valid(data, whole, operation)
    paths = set(error_paths(answer))
    if is_reported:
        for gap in gaps:
            assert any(_are_in_line(gap, at) for at in paths), f"no error tells of {gap}"
        _check_propagated(data, gaps, paths, whole, operation)


def _check_propagated(
    data: Any, gaps: set[Path], paths: set[Path], whole: Whole, operation: Operation
) -> None:
    """Were there nothing but these errors, nulls would be just where they are."""
    below = {gap for gap in gaps for at in paths if gap[: len(at)] == at}
    at_nulls = {at for at in paths if _value_at(data, _to_null(data, at)) is None}
    failing = frozenset(at_nulls | below)
    if () in failing:
        return  # nothing is left of the answer
    again = whole.answer(operation.document, operation.variables, failing=failing)
    assert json.dumps(again["data"]) == json.dumps(data)


def _gaps(data: Any, expected: Any, path: Path) -> Iterator[Path]:
    """Where null stands and should not; nothing else may differ."""
    if data is None and expected is not None:
        yield path
    elif isinstance(expected, dict) and isinstance(data, dict):
        assert list(data) == list(expected), f"the fields at {path} differ"
        for key, value in expected.items():
            yield from _gaps(data[key], value, (*path, key))
    elif isinstance(expected, list) and isinstance(data, list):
        assert len(data) == len(expected), f"the lengths at {path} differ"
        for i, value in enumerate(expected):
            yield from _gaps(data[i], value, (*path, i))
    elif expected is not None:
        assert data == expected, f"at {path} stands {data!r}, not {expected!r}"


def _are_in_line(one: Path, other: Path) -> bool:
    return all(a == b for a, b in zip(one, other, strict=False))


def _value_at(data: Any, path: Path) -> Any:
    for key in path:
        data = data[key]
    return data


def _check_valid(data: Any, whole: Whole, operation: Operation) -> None:
    """Executed over its own data, the operation gives this data, and no null where none may be."""
    if data is None:
        return

    def resolve(source: Any, info: GraphQLResolveInfo[Any], **_: Any) -> Any:
        return source[info.path.key]

    again = execute_sync(
        whole.schema,
        operation.document,
        _typed(data, whole.answer(typed(operation.document), operation.variables)["data"]),
        variable_values=operation.variables,
        field_resolver=resolve,
        type_resolver=lambda value, *_: value[TYPE_KEY],
    )
    assert again.data == data
    assert not again.errors, again.errors


def _typed(data: Any, whole: Any) -> Any:
    """Data with the types its objects have in the whole answer."""
    if isinstance(data, list) and isinstance(whole, list):
        return [_typed(item, other) for item, other in zip(data, whole, strict=True)]
    if isinstance(data, dict) and isinstance(whole, dict):
        below = {key: _typed(value, whole.get(key)) for key, value in data.items()}
        return below | {TYPE_KEY: whole[TYPE_KEY]} if TYPE_KEY in whole else below
    return data
