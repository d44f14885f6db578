"""Nodes, where objects can be had, and fetch groups, what is fetched at some of them."""

from gateway.supergraph.field_sets import FieldSet
from gateway.supergraph.planner.selection_tree import Branch, SelectionField
from gateway.supergraph.supergraph import SubgraphView


class FetchGroup:
    """One opened node: what is fetched there, and which inputs that takes."""

    __slots__ = (
        "branch",
        "dependencies",
        "depth",
        "fields",
        "inputs",
        "interface_object",
        "order",
        "subgraph",
    )

    def __init__(self, order: int, view: SubgraphView, branch: Branch) -> None:
        self.order = order
        self.subgraph = view.subgraph
        self.interface_object = view.interface_object
        self.branch = branch
        self.fields: set[SelectionField] = set()
        self.inputs: list[FieldSet] = []
        """What representations consist of; empty at a root."""
        self.dependencies: set[FetchGroup] = set()
        """The groups that must have been fetched before."""
        self.depth = 0

    def include(self, wanted: SelectionField) -> None:
        """Fetch this field, too."""
        if wanted not in self.fields:
            self.fields.add(wanted)
            wanted.fetch_groups.append(self)


class QueryGraphNode:
    """Where a branch's objects can be had: a subgraph's view of them, and how one gets there.
    Compared by identity.
    """

    __slots__ = ("branch", "children", "fetch_group", "parent", "parent_field", "requires", "view")

    def __init__(
        self,
        branch: Branch,
        view: SubgraphView,
        *,
        parent: "QueryGraphNode | None" = None,
        parent_field: SelectionField | None = None,
        requires: FieldSet | None = None,
    ) -> None:
        self.branch = branch
        self.view = view
        self.parent = parent
        self.parent_field = parent_field
        self.requires = requires
        self.fetch_group: FetchGroup | None = None
        self.children: dict[tuple[SelectionField | None, Branch], QueryGraphNode | None] = {}

    @property
    def is_root(self) -> bool:
        """Whether it can be opened without any input."""
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
