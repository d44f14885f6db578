"""Nodes, where objects can be had, and fetch groups, what is fetched at some of them."""

from dataclasses import KW_ONLY, dataclass, field

from gateway.supergraph.field_sets import FieldSet
from gateway.supergraph.planner.selection_tree import Branch, SelectionField
from gateway.supergraph.supergraph import SubgraphView


@dataclass(slots=True, eq=False, repr=False)
class FetchGroup:
    """One opened node: what is fetched there, and which inputs that takes."""

    order: int
    view: SubgraphView
    branch: Branch
    inputs: list[FieldSet]
    """What representations consist of; empty at a root."""
    dependencies: "set[FetchGroup]"
    """The groups that must have been fetched before."""
    fields: set[SelectionField] = field(default_factory=set)

    depth: int = field(init=False)
    """How many groups are fetched before it, one after the other."""

    def __post_init__(self) -> None:
        self.depth = 1 + max((group.depth for group in self.dependencies), default=-1)

    def include(self, wanted: SelectionField) -> None:
        if wanted not in self.fields:
            self.fields.add(wanted)
            wanted.fetch_groups.append(self)


@dataclass(slots=True, eq=False, repr=False)
class QueryGraphNode:
    """Where a branch's objects can be had: a subgraph's view of them, and how one gets there.
    Compared by identity.
    """

    branch: Branch
    view: SubgraphView
    _: KW_ONLY
    parent: "QueryGraphNode | None" = None
    parent_field: SelectionField | None = None
    requires: FieldSet | None = None
    fetch_group: FetchGroup | None = None
    children: "dict[tuple[SelectionField | None, Branch], QueryGraphNode | None]" = field(
        default_factory=dict
    )

    @property
    def is_root(self) -> bool:
        return self.parent is None and self.branch.position.parent is None

    @property
    def is_fetched(self) -> bool:
        """Whether the objects are fetched here already, if only to find out that they exist."""
        group = self.parent.fetch_group if self.parent else None
        return self.fetch_group is not None or (
            group is not None and self.parent_field in group.fields
        )

    @property
    def is_untyped(self) -> bool:
        """Whether the objects are had here along with those of other types, unknown which."""
        return self.parent is not None and self.view.interface_object is not None
