"""Sites, where objects can be had, and visits, the fetches that some of them become."""

from typing import TypeAlias

from gateway.supergraph.field_sets import FieldSet
from gateway.supergraph.planner.selection_tree import Branch, Field
from gateway.supergraph.supergraph import SubgraphView


class Visit:
    """One opened site: what is fetched there, and what has to be known first."""

    __slots__ = (
        "branch",
        "depth",
        "fields",
        "inputs",
        "interface_object",
        "order",
        "sources",
        "subgraph",
    )

    def __init__(self, order: int, view: SubgraphView, branch: Branch) -> None:
        self.order = order
        self.subgraph = view.subgraph
        self.interface_object = view.interface_object
        self.branch = branch
        self.fields: set[Field] = set()
        self.inputs: list[FieldSet] = []
        """What representations are made of; empty at a root."""
        self.sources: set[Visit] = set()
        """The visits that must have been answered before."""
        self.depth = 0

    def include(self, wanted: Field) -> None:
        """Fetch this field, too."""
        if wanted not in self.fields:
            self.fields.add(wanted)
            wanted.visits.append(self)


class Site:
    """A place where a branch's objects can be had. Compared by identity."""

    __slots__ = ("branch", "children", "parent", "requires", "via", "view", "visit")

    def __init__(
        self,
        branch: Branch,
        view: SubgraphView,
        *,
        parent: "Site | None" = None,
        via: Field | None = None,
        requires: FieldSet | None = None,
    ) -> None:
        self.branch = branch
        self.view = view
        self.parent = parent
        self.via = via
        self.requires = requires
        self.visit: Visit | None = None
        self.children: dict[tuple[Field | None, Branch], Site | None] = {}

    @property
    def is_root(self) -> bool:
        """Whether it can be opened without knowing anything."""
        return self.parent is None and self.branch.position.parent is None

    @property
    def is_fetched(self) -> bool:
        """Whether the objects are fetched here already, if only to see that they are there."""
        visit = self.parent.visit if self.parent else None
        return self.visit is not None or (visit is not None and self.via in visit.fields)

    @property
    def is_nameless(self) -> bool:
        """Whether objects are had here together with those of other types, unknown which."""
        return self.parent is not None and self.view.interface_object is not None


Route: TypeAlias = frozenset[Site]
Reached: TypeAlias = dict[Site, Route]
HERE: Route = frozenset()
