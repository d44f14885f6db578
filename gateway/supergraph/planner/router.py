"""Route every field of an operation the cheapest way through the join graph.

Fields are routed one by one, those with the fewest subgraphs to choose from first, each over the
route that opens the least (see `ways`). Opening a site makes it a visit: what it must know before
is routed in the same way, and its visits come first. At the end the types of objects are named
that were only seen as interface objects, where the answer depends on them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from graphql import FieldNode, NameNode, SelectionSetNode

from gateway.supergraph.errors import CannotPlan
from gateway.supergraph.field_sets import FieldSet, selected_fields
from gateway.supergraph.planner.path_finder import Ways, alike, cheapest_namer, needs_types
from gateway.supergraph.planner.query_graph import Route, Site, Visit
from gateway.supergraph.planner.selection_tree import TYPENAME, Branch, Field, Position, Tree


@dataclass(slots=True)
class Router:
    """Routes the fields of one tree. `visits` are the fetches found, in order of opening."""

    tree: Tree
    owners: tuple[str, ...] | None = None
    """Where root fields may be fetched; None leaves the choice open."""
    visits: list[Visit] = field(default_factory=list)
    _ways: Ways = field(init=False)

    def __post_init__(self) -> None:
        self._ways = Ways(self.tree, self.owners, self.visits)

    def route(self, root: Position) -> None:
        """Route everything below `root`; raises CannotPlan if something can't be reached."""
        for wanted in sorted(_leaves(root), key=self._choices):
            self._serve(wanted)
        for wanted in _composites(root):
            if not wanted.visits:
                self._serve(wanted)
            if wanted.child:
                self._check_together(wanted.child)
        if self.tree.supergraph.has_interface_objects:
            self._name_where_it_matters(root)

    def _choices(self, wanted: Field) -> int:
        """In how many subgraphs the field is resolved outright; the least free go first."""
        found = (self._ways.found(view, wanted) for view in self._ways.standpoints(wanted.branch))
        return sum(1 for join_field in found if join_field and not join_field.requires)

    def _check_together(self, position: Position) -> None:
        """Make sure that what is asked of all types at a position can be had for all of them from
        one of the sites that lead there. Items of two subgraphs' lists are merged by their place:
        that is sound where both can tell of all items, and needless where each tells of some.
        """
        parent = position.parent
        if parent is None or len(position.branches) == 1 or len(parent.visits) <= 1:
            return
        options = list(self._ways.options(parent, self._ways.of(parent.branch)))
        for wanted in list(position.branches[0].fields.values()):  # inputs may be added
            asked = [field for b in position.branches if (field := alike(wanted, b))]
            if not wanted.is_asked or len(asked) < len(position.branches):
                continue
            if not any(all(self._ways.can_give(o, field) for field in asked) for o in options):
                raise _unreachable(wanted)

    def _serve(self, wanted: Field) -> Visit | None:
        """Fetch a field where that opens the least; None if its branch never occurs."""
        reached = self._ways.of(wanted.branch)
        if not reached:
            return None
        options = list(self._ways.options(wanted, reached))
        if not options:
            raise _unreachable(wanted)
        site, _ = min(options, key=lambda option: _cost(wanted, *option))
        visit = self._open(site)
        visit.include(wanted)
        return visit

    def witnesses(self, branch: Branch) -> Iterator[Field]:
        """The fields that tell the objects of a branch apart, fetched where the objects are; of a
        generic branch, those of all types they may have.
        """
        witness = self.tree.witness
        types = self.tree.supergraph.possible_types[branch.types[0]] if witness else ()
        for name in sorted({witness[type_name] for type_name in types if type_name in witness}):
            wanted = self.tree.input(branch, FieldNode(name=NameNode(value=name), arguments=()))
            if branch.is_generic or not wanted.visits:
                self._include_where_fetched(wanted)
            if wanted.visits:
                yield wanted

    def _include_where_fetched(self, wanted: Field) -> None:
        """Fetch a field with its objects, if that costs no fetch of its own; for a generic branch
        where they are interface objects, so that it is there even if their types are not.
        """
        branch = wanted.branch
        opened = [
            (site, route)
            for site, route in self._ways.options(wanted, self._ways.of(branch))
            if site.is_fetched and (site.is_nameless or not branch.is_generic)
        ]
        if opened:
            site, _ = min(opened, key=lambda option: _cost(wanted, *option))
            self._open(site).include(wanted)

    # What types objects have

    def _name_where_it_matters(self, root: Position) -> None:
        for position in (wanted.child for wanted in _composites(root)):
            assert position is not None
            occurring = [branch for branch in position.branches if self._ways.of(branch)]
            position.is_nameless = bool(position.generics) and not self.tree.tells_apart(position)
            if position.generics and not position.is_nameless:
                for branch in occurring:
                    self._name(branch)

    def _name(self, branch: Branch) -> Visit:
        """Fetch the types of the objects of a branch."""
        namer = cheapest_namer(self._ways.of(branch))
        if namer is None:
            raise CannotPlan(
                f"No subgraph that can be reached knows which {branch.types[0]} is meant here.",
                hint="Give the interface a resolvable @key where its implementations are defined.",
            )
        return self._open(namer)

    def _names_above(self, branch: Branch) -> Iterator[Visit]:
        """The visits by which one finds the way to a branch, past objects of other types."""
        above = branch.position.parent
        while above is not None:
            position = above.branch.position
            if position.generics and len(position.branches) > 1 and not above.branch.is_generic:
                yield self._name(above.branch)
            above = position.parent

    # Opening

    def _open(self, site: Site) -> Visit:
        if site.visit is None:
            site.visit = self._open_parent(site) if site.parent else self._open_visit(site)
        return site.visit

    def _open_parent(self, site: Site) -> Visit:
        assert site.parent is not None
        visit = self._open(site.parent)
        if site.via:
            visit.include(site.via)
        return visit

    def _open_visit(self, site: Site) -> Visit:
        inputs = [] if site.is_root else self._choose_inputs(site)
        sources = {
            visit
            for fields in inputs
            for visit in self._serve_selections(site.branch, fields.selections)
        }
        if not site.is_root and not sources:
            sources = self._finders(site.branch)
        if self._ways.needs_name(site):
            sources.add(self._name(site.branch))
        sources.update(self._names_above(site.branch))
        visit = Visit(len(self.visits), site.view, site.branch)
        visit.inputs = inputs
        visit.sources = sources
        visit.depth = 1 + max((source.depth for source in sources), default=-1)
        self.visits.append(visit)
        return visit

    def _choose_inputs(self, site: Site) -> list[FieldSet]:
        best = self._ways.best_key(site, self._ways.of(site.branch))
        assert best is not None
        return [fields for fields in (best[0], site.requires) if fields]

    def _serve_selections(self, branch: Branch, selections: SelectionSetNode) -> Iterator[Visit]:
        for node in selected_fields(selections, branch.names.all):
            if node.name.value == TYPENAME:
                continue
            wanted = self.tree.input(branch, node)
            if wanted.child and node.selection_set:
                for below in wanted.child.branches:
                    yield from self._serve_selections(below, node.selection_set)
                    if needs_types(below, node.selection_set) and self._ways.of(below):
                        yield self._name(below)
            elif visit := self._serve(wanted):
                yield visit

    def _finders(self, branch: Branch) -> set[Visit]:
        """The visit that finds the objects of a branch, for a hop that needs no key."""
        parent = branch.position.parent
        visit = self._serve(parent) if parent else None
        return {visit} if visit else set()


def _unreachable(wanted: Field) -> CannotPlan:
    return CannotPlan(
        f"No subgraph that can be reached resolves {wanted.branch.types[0]}.{wanted.name} here.",
        hint="Compose the supergraph anew: composition checks that this can't happen.",
    )


def _cost(wanted: Field, site: Site, route: Route) -> tuple[int, bool, int, bool]:
    """Fewest fetches first; then where it is fetched anyway, early, and without a hop."""
    visit = site.visit
    already = visit is not None and wanted in visit.fields
    return len(route), not already, visit.depth if visit else 0, site.parent is None


def _asked(position: Position) -> list[Field]:
    """What the client asks for here; fields that only joins need are routed with these."""
    return [
        answered.source
        for branch in position.branches
        for answered in branch.answer
        if answered.source
    ]


def _leaves(position: Position) -> Iterator[Field]:
    for wanted in _asked(position):
        if wanted.child is None:
            yield wanted
        else:
            yield from _leaves(wanted.child)


def _composites(position: Position) -> Iterator[Field]:
    for wanted in _asked(position):
        if wanted.child:
            yield wanted
            yield from _composites(wanted.child)
