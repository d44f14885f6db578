"""Plan an operation: which requests go where, in which order, and how the answer is shaped."""

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
    get_operation_ast,
)

from gateway.supergraph.errors import NotIdempotentInSubscription, OperationRefused
from gateway.supergraph.executor.response import Projection
from gateway.supergraph.executor.variables import Inputs
from gateway.supergraph.lru import Lru
from gateway.supergraph.planner.fetch_nodes import Place, Request, place_of
from gateway.supergraph.planner.router import Router
from gateway.supergraph.planner.selection_tree import (
    NOTHING,
    TYPENAME,
    Answered,
    Branch,
    Field,
    Position,
    Tree,
)
from gateway.supergraph.planner.subgraph_operations import RequestWriter
from gateway.supergraph.schema_metadata import NOT_IDEMPOTENT
from gateway.supergraph.supergraph import SubgraphView, Supergraph
from gateway.supergraph.syntax import ROOTS, conditions_in, used_fragments

MAX_VARIANTS = 32
NONE: frozenset[str] = frozenset()
Planning: TypeAlias = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Stage:
    """Requests that may run at once, as far as they don't wait for each other. A query has one
    stage, a mutation one for each run of fields that go to the same subgraph.
    """

    requests: tuple[Request, ...]
    root: Position


@dataclass(frozen=True, slots=True)
class Denial:
    """Fields the client asked for and may not have, of the objects at one place."""

    place: Place
    fields: tuple[tuple[str, str], ...]
    """The client's key and the name of each field."""


@dataclass(frozen=True, slots=True)
class Witness:
    """Objects of one type, and the raw key under which each says which one it is."""

    type_name: str
    """Of objects that don't say their type, the interface as which they were found."""
    place: Place
    raw_key: str


@dataclass(frozen=True, slots=True)
class Variant:
    """The plan for one combination of what @skip and @include read, of active labels and of
    denied fields.
    """

    stages: tuple[Stage, ...]
    projection: Projection
    introspection: DocumentNode | None
    """The part that the gateway answers from its own schema."""
    source: Request | None = None
    """What a subscription subscribes to; its `stages` run for each event. None if the only root
    field is skipped or denied: then there is one answer, without any event.
    """
    denials: tuple[Denial, ...] = ()
    witnesses: tuple[Witness, ...] = ()
    asked: frozenset[str] = NONE
    """The coordinates of object types that the client asks and gets."""


@dataclass(frozen=True)
class Plan:
    """A planned operation, good for all variables."""

    supergraph: Supergraph
    operation: OperationDefinitionNode
    fragments: Mapping[str, FragmentDefinitionNode]
    conditions: tuple[str, ...]
    witness: Mapping[str, str]
    """The field that tells the objects of a type apart; fetched with them where they are."""
    _variants: Lru[Variant] = field(default_factory=lambda: Lru(MAX_VARIANTS), repr=False)

    @cached_property
    def coordinates(self) -> frozenset[str]:
        """Every `Type.field` of object types that the client asks, whatever is skipped."""
        if not self.conditions:
            return self.variant({}).asked
        tree = Tree(self.supergraph, self.fragments, chosen=None)
        root = ROOTS[self.operation.operation]
        collected = tree.collect(self.supergraph.names[root], [self.operation.selection_set])
        tree.root(root, _fetched(collected))
        return frozenset(tree.asked)

    @cached_property
    def inputs(self) -> Inputs:
        """Its variables."""
        return Inputs(self.supergraph.schema, self.operation.variable_definitions or ())

    @property
    def is_mutation(self) -> bool:
        """Whether executing it may change something."""
        return self.operation.operation is OperationType.MUTATION

    @property
    def is_subscription(self) -> bool:
        """Whether it is answered once for each event."""
        return self.operation.operation is OperationType.SUBSCRIPTION

    def variant(
        self,
        variables: Mapping[str, Any],
        *,
        labels: frozenset[str] = NONE,
        denied: frozenset[str] = NONE,
        planning: Planning = nullcontext,
    ) -> Variant:
        """What to do, given the coerced variables.

        Args:
            labels: The labels of progressive @override that are active.
            denied: Coordinates the caller may not have. They are answered as null, and fetched
                only where a join needs them.
            planning: Makes a context for planning in, if that has yet to be done.
        """
        chosen = tuple(bool(variables.get(name)) for name in self.conditions)
        denied = denied & self.coordinates if denied else NONE
        key = (chosen, labels & self.supergraph.labels, denied)
        found = self._variants.get(key)
        if found is None:
            with planning():
                found = _Planner(self, *key).plan()
            self._variants.put(key, found)
        return found


def plan(
    supergraph: Supergraph,
    document: DocumentNode,
    operation_name: str | None = None,
    *,
    witness: Mapping[str, str] = NOTHING,
) -> Plan:
    """Plan one operation of a valid document.

    Args:
        witness: By type, a field that every object of it is to be fetched with, if that costs no
            fetch of its own.

    Raises:
        OperationRefused: There is no such operation.
        NotIdempotentInSubscription: A subscription asks what may not be asked again and again.
        CannotPlan: It is too large.
    """
    operation = get_operation_ast(document, operation_name)
    if operation is None:
        raise _unclear(document, operation_name)
    fragments = used_fragments(operation, document)
    planned = Plan(
        supergraph,
        operation,
        fragments,
        conditions_in(operation, *fragments.values()),
        witness,
    )
    if planned.is_subscription:
        _check_idempotent(planned)
    if not planned.conditions:
        planned.variant({})
    return planned


def _check_idempotent(planned: Plan) -> None:
    """Whatever is skipped now may be asked with other variables, so all of it counts."""
    found = [
        coordinate
        for coordinate in sorted(planned.coordinates)
        for type_name, _, field_name in (coordinate.partition("."),)
        if planned.supergraph.is_tagged(type_name, field_name, NOT_IDEMPOTENT)
    ]
    if found:
        raise NotIdempotentInSubscription(found)


def _fetched(collected: Mapping[str, list[FieldNode]]) -> dict[str, list[FieldNode]]:
    """The root fields that subgraphs answer."""
    return {
        key: nodes for key, nodes in collected.items() if not nodes[0].name.value.startswith("__")
    }


def _unclear(document: DocumentNode, operation_name: str | None) -> OperationRefused:
    names = [
        node.name.value
        for node in document.definitions
        if isinstance(node, OperationDefinitionNode) and node.name
    ]
    message = "Which operation is meant is not said."
    if operation_name:
        message = f"There is no operation {operation_name!r}."
    hint = f"Set operationName to one of: {', '.join(names)}." if names else "Send an operation."
    extensions = {"code": OperationRefused.code, "hint": hint}
    return OperationRefused([{"message": message, "extensions": extensions}])


class _Planner:
    """Plans one variant."""

    def __init__(
        self,
        planned: Plan,
        chosen: Sequence[bool],
        labels: frozenset[str],
        denied: frozenset[str],
    ) -> None:
        self._supergraph = planned.supergraph.with_labels(labels)
        self._operation = planned.operation
        self._is_subscription = planned.is_subscription
        self._fragments = planned.fragments
        self._root = ROOTS[planned.operation.operation]
        self._tree = Tree(
            self._supergraph,
            planned.fragments,
            dict(zip(planned.conditions, chosen, strict=True)),
            denied,
            planned.witness,
        )
        self._witnesses: list[Witness] = []

    def plan(self) -> Variant:
        names = self._supergraph.names[self._root]
        collected = self._tree.collect(names, [self._operation.selection_set])
        parts = self._parts(_fetched(collected))
        stages = [self._stage(*part) for part in parts if part[1]]
        known = {
            answered.key: answered for stage in stages for answered in stage.root.branches[0].answer
        }
        answer = [self._answered(key, nodes[0], known) for key, nodes in collected.items()]
        source = None
        if self._is_subscription and stages:
            source, stages[0] = _take_source(stages[0])
        return Variant(
            tuple(stages),
            Projection(self._supergraph, self._root, answer),
            self._introspection(collected),
            source,
            tuple(denial for stage in stages for denial in _denials(stage.root)),
            tuple(self._witnesses),
            frozenset(self._tree.asked),
        )

    def _answered(self, key: str, node: FieldNode, known: Mapping[str, Answered]) -> Answered:
        name = node.name.value
        if name == TYPENAME:
            return Answered(key, None)
        if name.startswith("__"):
            root = Position(self._root, None, is_abstract=False)
            nowhere = Branch(root, (self._root,), self._supergraph.names[self._root])
            return Answered(key, Field(nowhere, name, "", key, is_asked=True))
        return known[key]

    def _parts(
        self, fetched: Mapping[str, list[FieldNode]]
    ) -> list[tuple[tuple[str, ...] | None, dict[str, list[FieldNode]]]]:
        """The root fields to fetch together, with the subgraph that must be asked, if any:
        mutations run one after the other, and they and subscriptions each in one place only.
        """
        if self._root == "Query":
            return [(None, dict(fetched))]
        parts: list[tuple[tuple[str, ...] | None, dict[str, list[FieldNode]]]] = []
        for key, nodes in fetched.items():
            owner = (self._owner(nodes[0].name.value),)
            if not parts or parts[-1][0] != owner:
                parts.append((owner, {}))
            parts[-1][1][key] = nodes
        return parts

    def _owner(self, field_name: str) -> str:
        names = self._supergraph.names[self._root]
        return next(
            subgraph.name
            for subgraph in self._supergraph.subgraphs.values()
            if SubgraphView(subgraph).field(names, field_name)
        )

    def _stage(
        self, owners: tuple[str, ...] | None, collected: Mapping[str, list[FieldNode]]
    ) -> Stage:
        root = self._tree.root(self._root, collected)
        router = Router(self._tree, owners)
        router.route(root)
        self._witnesses += _witnesses(router, root)
        name = self._operation.name.value if self._operation.name else "Operation"
        variables = {
            definition.variable.name.value: definition
            for definition in self._operation.variable_definitions or ()
        }
        writer = RequestWriter(self._tree, self._operation.operation.value, name, variables)
        return Stage(writer.write(router.visits), root)

    def _introspection(self, collected: Mapping[str, list[FieldNode]]) -> DocumentNode | None:
        asked = [
            node
            for nodes in collected.values()
            for node in nodes
            if node.name.value in ("__schema", "__type")
        ]
        if not asked:
            return None
        operation = OperationDefinitionNode(
            operation=self._operation.operation,
            variable_definitions=self._operation.variable_definitions,
            selection_set=SelectionSetNode(selections=tuple(asked)),
        )
        return DocumentNode(definitions=(operation, *self._fragments.values()))


def _take_source(stage: Stage) -> tuple[Request | None, Stage]:
    """The request for a subscription's root field, and the stage without it."""
    source = next((request for request in stage.requests if not request.waits_for), None)
    if source is None:
        return None, stage
    for follower in source.followers:
        follower.waits_for -= 1
    return source, replace(stage, requests=tuple(r for r in stage.requests if r is not source))


def _positions(root: Position) -> Iterator[Position]:
    """All positions that the client sees, from one down."""
    yield root
    for branch in root.branches:
        for answered in branch.answer:
            if answered.source and answered.source.child:
                yield from _positions(answered.source.child)


def _denials(root: Position) -> Iterator[Denial]:
    for position in _positions(root):
        for branch in position.branches:
            if denied := tuple((a.key, a.denied) for a in branch.answer if a.denied):
                yield Denial(place_of(branch), denied)


def _witnesses(router: Router, root: Position) -> Iterator[Witness]:
    """Objects are told by their types only where these are known. An interface object of which
    nobody said what it is may be of a type that is looked for: it is told as the interface.
    """
    for position in _positions(root):
        for branch in position.branches:
            for wanted in router.witnesses(branch):
                place = place_of(branch)
                types = place.types and place.types - {None}
                yield Witness(branch.types[0], replace(place, types=types), wanted.raw_key)
        if len(position.branches) == 1:
            continue  # then there is but one type they can have
        for generic in list(position.generics.values()):
            for wanted in router.witnesses(generic):
                place = replace(place_of(generic), types=frozenset({None}))
                yield Witness(generic.types[0], place, wanted.raw_key)
