"""Plan an operation: which fetches go where, in which order, and what the response consists of."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
)

from gateway.supergraph.errors import NotIdempotentInSubscription
from gateway.supergraph.lru import Lru
from gateway.supergraph.operation import Operation
from gateway.supergraph.planner.fetch_nodes import FetchNode, QueryPath, path_to
from gateway.supergraph.planner.router import FieldRouter
from gateway.supergraph.planner.selection_tree import (
    NO_ENTITY_ID_FIELDS,
    Branch,
    ResponseField,
    ResponsePosition,
    SelectionField,
    SelectionTree,
)
from gateway.supergraph.planner.subgraph_operations import OperationWriter
from gateway.supergraph.schema_metadata import NOT_IDEMPOTENT
from gateway.supergraph.supergraph import SubgraphView, Supergraph
from gateway.supergraph.syntax import ROOTS, TYPENAME

MAX_VARIANTS = 32
EMPTY: frozenset[str] = frozenset()
PlanningContext: TypeAlias = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class PlanStage:
    """Fetches that may run at once, as far as they don't depend on each other. A query has one
    stage, a mutation one for each run of fields that go to the same subgraph.
    """

    fetches: tuple[FetchNode, ...]
    root: ResponsePosition


@dataclass(frozen=True, slots=True)
class DeniedFields:
    """Fields of the objects at one path that the client selected and may not have."""

    path: QueryPath
    fields: tuple[tuple[str, str], ...]
    """The response key and the name of each field."""


@dataclass(frozen=True, slots=True)
class EntityIds:
    """Where the ids of all objects of one type are: their path, and the subgraph key of the id."""

    type_name: str
    """Of objects of unknown type, their interface."""
    path: QueryPath
    subgraph_key: str


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class PlanVariant:
    """The plan for one combination of what @skip and @include read, of active labels and of
    denied fields.
    """

    stages: tuple[PlanStage, ...]
    root_type: str
    response_fields: tuple[ResponseField, ...]
    """What the client selected at the root, introspection included."""
    introspection: DocumentNode | None
    """The part that the gateway resolves from its own schema."""
    source_fetch: FetchNode | None = None
    """What a subscription subscribes to; its `stages` run for each event. None if the only root
    field is skipped or denied: then there is one response, without any event.
    """
    denied_fields: tuple[DeniedFields, ...] = ()
    entity_ids: tuple[EntityIds, ...] = ()
    coordinates: frozenset[str] = EMPTY
    """`Type.field` of object types that the client selects and may have."""


@dataclass(frozen=True, eq=False)
class QueryPlan:
    """A planned operation, good for all variables."""

    supergraph: Supergraph
    operation: OperationDefinitionNode
    fragments: Mapping[str, FragmentDefinitionNode]
    conditions: tuple[str, ...]
    entity_id_fields: Mapping[str, str]
    """By type, the field that identifies its objects; fetched with them where that is free."""
    _variants: Lru[PlanVariant] = field(default_factory=lambda: Lru(MAX_VARIANTS), repr=False)

    @cached_property
    def coordinates(self) -> frozenset[str]:
        """Every `Type.field` of object types that the client selects, whatever is skipped."""
        if not self.conditions:
            return self.variant({}).coordinates
        tree = SelectionTree(self.supergraph, self.fragments, condition_values=None)
        root = ROOTS[self.operation.operation]
        collected = tree.collect_fields(self.supergraph.names[root], [self.operation.selection_set])
        tree.build_root(root, _subgraph_fields(collected))
        return frozenset(tree.coordinates)

    @property
    def is_mutation(self) -> bool:
        return self.operation.operation is OperationType.MUTATION

    @property
    def is_subscription(self) -> bool:
        return self.operation.operation is OperationType.SUBSCRIPTION

    def variant(
        self,
        variables: Mapping[str, Any],
        *,
        labels: frozenset[str] = EMPTY,
        denied: frozenset[str] = EMPTY,
        planning: PlanningContext = nullcontext,
    ) -> PlanVariant:
        """What to do, given the coerced variables.

        Args:
            labels: The labels of progressive @override that are active.
            denied: Coordinates the caller may not have. They are null in the response, and fetched
                only where a join needs them.
            planning: Opens a context to plan in, if there is no such variant yet.
        """
        condition_values = tuple(bool(variables.get(name)) for name in self.conditions)
        denied = denied & self.coordinates if denied else EMPTY
        key = (condition_values, labels & self.supergraph.labels, denied)
        found = self._variants.get(key)
        if found is None:
            with planning():
                found = _VariantPlanner(self, *key).plan()
            self._variants.put(key, found)
        return found


def plan(
    supergraph: Supergraph,
    operation: Operation | DocumentNode,
    *,
    entity_id_fields: Mapping[str, str] = NO_ENTITY_ID_FIELDS,
) -> QueryPlan:
    """Plan an operation, or the only one of a document, that is valid; for the other argument and
    the errors see `plan_document`.
    """
    if isinstance(operation, DocumentNode):
        operation = Operation.choose(operation)
    query_plan = QueryPlan(
        supergraph,
        operation.definition,
        operation.fragments,
        operation.conditions,
        entity_id_fields,
    )
    if query_plan.is_subscription:
        _check_idempotent(query_plan)
    if not query_plan.conditions:
        query_plan.variant({})
    return query_plan


def _check_idempotent(query_plan: QueryPlan) -> None:
    """Whatever is skipped now may be included with other variables, so all of it counts."""
    found = [
        coordinate
        for coordinate in sorted(query_plan.coordinates)
        for type_name, _, field_name in (coordinate.partition("."),)
        if query_plan.supergraph.is_tagged(type_name, field_name, NOT_IDEMPOTENT)
    ]
    if found:
        raise NotIdempotentInSubscription(found)


def _subgraph_fields(collected: Mapping[str, list[FieldNode]]) -> dict[str, list[FieldNode]]:
    """The root fields that subgraphs resolve."""
    return {
        key: nodes for key, nodes in collected.items() if not nodes[0].name.value.startswith("__")
    }


class _VariantPlanner:
    def __init__(
        self,
        query_plan: QueryPlan,
        condition_values: Sequence[bool],
        labels: frozenset[str],
        denied: frozenset[str],
    ) -> None:
        self._supergraph = query_plan.supergraph.with_labels(labels)
        self._operation = query_plan.operation
        self._is_subscription = query_plan.is_subscription
        self._fragments = query_plan.fragments
        self._root = ROOTS[query_plan.operation.operation]
        self._tree = SelectionTree(
            self._supergraph,
            query_plan.fragments,
            dict(zip(query_plan.conditions, condition_values, strict=True)),
            denied,
            query_plan.entity_id_fields,
        )
        self._entity_ids: list[EntityIds] = []

    def plan(self) -> PlanVariant:
        names = self._supergraph.names[self._root]
        collected = self._tree.collect_fields(names, [self._operation.selection_set])
        parts = self._split_root_fields(_subgraph_fields(collected))
        stages = [self._plan_stage(*part) for part in parts if part[1]]
        known = {
            found.key: found for stage in stages for found in stage.root.branches[0].response_fields
        }
        response_fields = tuple(
            self._response_field(key, nodes[0], known) for key, nodes in collected.items()
        )
        source_fetch = None
        if self._is_subscription and stages:
            source_fetch, stages[0] = _take_source_fetch(stages[0])
        return PlanVariant(
            tuple(stages),
            self._root,
            response_fields,
            self._introspection(collected),
            source_fetch,
            tuple(denied for stage in stages for denied in _find_denied_fields(stage.root)),
            tuple(self._entity_ids),
            frozenset(self._tree.coordinates),
        )

    def _response_field(
        self, key: str, node: FieldNode, known: Mapping[str, ResponseField]
    ) -> ResponseField:
        name = node.name.value
        if name == TYPENAME:
            return ResponseField(key, None)
        if name.startswith("__"):
            root = ResponsePosition(self._root, None, is_abstract=False)
            nowhere = Branch(root, (self._root,), self._supergraph.names[self._root])
            return ResponseField(key, SelectionField(nowhere, name, "", key, is_selected=True))
        return known[key]

    def _split_root_fields(
        self, fetched: Mapping[str, list[FieldNode]]
    ) -> list[tuple[tuple[str, ...] | None, dict[str, list[FieldNode]]]]:
        """The root fields by stage, with the only subgraph that may resolve them, if there is one:
        mutations run one after the other, and they and subscriptions each in one subgraph.
        """
        if self._root == "Query":
            return [(None, dict(fetched))]
        parts: list[tuple[tuple[str, ...] | None, dict[str, list[FieldNode]]]] = []
        for key, nodes in fetched.items():
            subgraph = (self._root_subgraph(nodes[0].name.value),)
            if not parts or parts[-1][0] != subgraph:
                parts.append((subgraph, {}))
            parts[-1][1][key] = nodes
        return parts

    def _root_subgraph(self, field_name: str) -> str:
        names = self._supergraph.names[self._root]
        return next(
            subgraph.name
            for subgraph in self._supergraph.subgraphs.values()
            if SubgraphView(subgraph).field(names, field_name)
        )

    def _plan_stage(
        self, root_subgraphs: tuple[str, ...] | None, collected: Mapping[str, list[FieldNode]]
    ) -> PlanStage:
        root = self._tree.build_root(self._root, collected)
        router = FieldRouter(self._tree, root_subgraphs)
        router.route(root)
        self._entity_ids += _find_entity_ids(router, root)
        name = self._operation.name.value if self._operation.name else "Operation"
        variables = {
            definition.variable.name.value: definition
            for definition in self._operation.variable_definitions or ()
        }
        writer = OperationWriter(self._tree, self._operation.operation.value, name, variables)
        return PlanStage(writer.write(router.fetch_groups), root)

    def _introspection(self, collected: Mapping[str, list[FieldNode]]) -> DocumentNode | None:
        introspected = [
            node
            for nodes in collected.values()
            for node in nodes
            if node.name.value in ("__schema", "__type")
        ]
        if not introspected:
            return None
        operation = OperationDefinitionNode(
            operation=self._operation.operation,
            variable_definitions=self._operation.variable_definitions,
            selection_set=SelectionSetNode(selections=tuple(introspected)),
        )
        return DocumentNode(definitions=(operation, *self._fragments.values()))


def _take_source_fetch(stage: PlanStage) -> tuple[FetchNode | None, PlanStage]:
    fetch = next((node for node in stage.fetches if not node.dependency_count), None)
    if fetch is None:
        return None, stage
    for dependent in fetch.dependents:
        dependent.dependency_count -= 1
    return fetch, replace(stage, fetches=tuple(f for f in stage.fetches if f is not fetch))


def _walk_positions(root: ResponsePosition) -> Iterator[ResponsePosition]:
    """All positions that the client sees, from one down."""
    yield root
    for branch in root.branches:
        for found in branch.response_fields:
            if found.field and found.field.child:
                yield from _walk_positions(found.field.child)


def _find_denied_fields(root: ResponsePosition) -> Iterator[DeniedFields]:
    for position in _walk_positions(root):
        for branch in position.branches:
            if denied := tuple(
                (found.key, found.denied_field)
                for found in branch.response_fields
                if found.denied_field
            ):
                yield DeniedFields(path_to(branch), denied)


def _find_entity_ids(router: FieldRouter, root: ResponsePosition) -> Iterator[EntityIds]:
    """The ids of objects whose types are known; and of interface objects whose types stay unknown
    and may be one that is looked for, under the interface's name.
    """
    for position in _walk_positions(root):
        for branch in position.branches:
            for wanted in router.fetch_entity_ids(branch):
                path = path_to(branch)
                types = path.types and path.types - {None}
                yield EntityIds(branch.types[0], replace(path, types=types), wanted.subgraph_key)
        if len(position.branches) == 1:
            continue  # then there is only one type they can have
        for generic in list(position.generics.values()):
            for wanted in router.fetch_entity_ids(generic):
                path = replace(path_to(generic), types=frozenset({None}))
                yield EntityIds(generic.types[0], path, wanted.subgraph_key)
