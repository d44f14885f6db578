"""Find, for every field of an operation, the cheapest way through the join graph to it.

At each branch there are *sites*: places where its objects can be had. A site is the root of a
subgraph, a field of a parent's site, or an entity entered by a key. A *route* to a site is
the set of sites that would still have to be opened, each costing a fetch; what an opened site
(a *visit*) can give costs nothing more. Fields are routed one by one, those with the fewest
subgraphs to choose from first, each over the route that opens the least.

Objects may be found as an interface object, so that their types are not known. They can then be
entered as that interface in a subgraph that knows its implementations: by a site of the generic
branch, from which one steps aside, for nothing, to a site of the branch of each type. Whatever
depends on the type waits for such a site, and so does the answer, if it depends on it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from graphql import FieldNode, NameNode, SelectionSetNode

from gateway.supergraph.errors import CannotPlan
from gateway.supergraph.joins import (
    FieldSet,
    JoinField,
    Standpoint,
    Supergraph,
    selected_fields,
)
from gateway.supergraph.operation import Branch, Field, Position, Tree

QUERY = "Query"


class Visit:
    """One opened site: what is fetched there, and what has to be known first."""

    __slots__ = ("branch", "depth", "fields", "inputs", "order", "seen_as", "sources", "subgraph")

    def __init__(self, order: int, stand: Standpoint, branch: Branch) -> None:
        self.order = order
        self.subgraph = stand.subgraph
        self.seen_as = stand.seen_as
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

    __slots__ = ("branch", "children", "parent", "requires", "stand", "via", "visit")

    def __init__(
        self,
        branch: Branch,
        stand: Standpoint,
        *,
        parent: "Site | None" = None,
        via: Field | None = None,
        requires: FieldSet | None = None,
    ) -> None:
        self.branch = branch
        self.stand = stand
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
        return self.parent is not None and self.stand.seen_as is not None


Route: TypeAlias = frozenset[Site]
Reached: TypeAlias = dict[Site, Route]
HERE: Route = frozenset()


@dataclass(slots=True)
class Router:
    """Routes the fields of one tree. `visits` are the fetches found, in order of opening."""

    tree: Tree
    owners: tuple[str, ...] | None = None
    """Where root fields may be fetched; None leaves the choice open."""
    visits: list[Visit] = field(default_factory=list)
    _roots: dict[Branch, list[Site]] = field(default_factory=dict)
    _stands: dict[Branch, list[Standpoint]] = field(default_factory=dict)
    _hops: dict[Branch, list[Site]] = field(default_factory=dict)
    _required: dict[tuple[Branch, Standpoint, FieldSet], Site] = field(default_factory=dict)
    _requiring: set[Field] = field(default_factory=set)
    _memo: dict[Branch, tuple[int, Reached]] = field(default_factory=dict)

    @property
    def _supergraph(self) -> Supergraph:
        return self.tree.supergraph

    def route(self, root: Position) -> None:
        """Route everything below `root`; raises CannotPlan if something can't be reached."""
        for wanted in sorted(_leaves(root), key=self._choices):
            self._serve(wanted)
        for wanted in _composites(root):
            if not wanted.visits:
                self._serve(wanted)
            if wanted.child:
                self._check_together(wanted.child)
        if self._supergraph.has_interface_objects:
            self._name_where_it_matters(root)

    def _check_together(self, position: Position) -> None:
        """Make sure that what is asked of all types at a position can be had for all of them from
        one of the sites that lead there. Items of two subgraphs' lists are merged by their place:
        that is sound where both can tell of all items, and needless where each tells of some.
        """
        parent = position.parent
        if parent is None or len(position.branches) == 1 or len(parent.visits) == 1:
            return
        options = list(self._options(parent, self._reach(parent.branch)))
        for wanted in position.branches[0].fields.values():
            alike = [_alike(wanted, branch) for branch in position.branches]
            if (
                wanted.is_asked
                and all(alike)
                and not any(
                    all(self._can_give(option, field) for field in alike if field)
                    for option in options
                )
            ):
                raise _unreachable(wanted)

    def _can_give(self, option: tuple[Site, Route], wanted: Field) -> bool:
        """Whether one of the sites of a parent leads on to a field."""
        parent = wanted.branch.position.parent
        assert parent is not None
        sites = self._close(wanted.branch, self._direct(parent, wanted.branch, [option]))
        return not sites or any(True for _ in self._options(wanted, sites))

    def _choices(self, wanted: Field) -> int:
        """In how many subgraphs the field is resolved outright; the least free go first."""
        found = (self._found(stand, wanted) for stand in self._standpoints(wanted.branch))
        return sum(1 for join_field in found if join_field and not join_field.requires)

    def _standpoints(self, branch: Branch) -> list[Standpoint]:
        """Where one may stand at the objects of a branch, as far as a key leads there."""
        if branch not in self._stands:
            self._stands[branch] = [
                Standpoint(subgraph, seen_as=guise.name if guise.is_interface_object else None)
                for subgraph in self._supergraph.subgraphs.values()
                for guise in subgraph.guises(branch.names)
            ]
        return self._stands[branch]

    def _serve(self, wanted: Field) -> Visit | None:
        """Fetch a field where that opens the least; None if its branch never occurs."""
        reached = self._reach(wanted.branch)
        if not reached:
            return None
        options = list(self._options(wanted, reached))
        if not options:
            raise _unreachable(wanted)
        site, _ = min(options, key=lambda option: _cost(wanted, *option))
        visit = self._open(site)
        visit.include(wanted)
        return visit

    def _options(self, wanted: Field, reached: Reached) -> Iterator[tuple[Site, Route]]:
        """The sites that can resolve a field, with the routes to them."""
        for site, route in reached.items():
            found = self._found(site.stand, wanted)
            if (
                found
                and (not found.requires or site.requires == found.requires)
                and (not site.is_nameless or _is_common(wanted, site.stand))
            ):
                yield site, route
        yield from self._options_by_requirement(wanted, reached)

    def _options_by_requirement(
        self, wanted: Field, reached: Reached
    ) -> Iterator[tuple[Site, Route]]:
        if wanted.name not in self._supergraph.requiring or wanted in self._requiring:
            return
        self._requiring.add(wanted)
        for stand in self._standpoints(wanted.branch):
            found = self._found(stand, wanted)
            if found and found.requires:
                site = self._required_site(wanted.branch, stand, found.requires)
                route = None if site in reached else self._entry(site, reached)
                if route is not None:
                    yield site, route
        self._requiring.discard(wanted)

    def _required_site(self, branch: Branch, stand: Standpoint, requires: FieldSet) -> Site:
        key = (branch, stand, requires)
        if key not in self._required:
            self._required[key] = Site(branch, stand, requires=requires)
        return self._required[key]

    def _found(self, stand: Standpoint, wanted: Field) -> JoinField | None:
        return stand.field(wanted.branch.names, wanted.name)

    def witness(self, branch: Branch) -> Field | None:
        """Fetch the field that tells the objects of a branch apart, where they are fetched."""
        name = self.tree.witness.get(branch.types[0])
        if name is None:
            return None
        wanted = self.tree.input(branch, FieldNode(name=NameNode(value=name), arguments=()))
        if not wanted.visits:
            options = self._options(wanted, self._reach(branch))
            opened = [(site, route) for site, route in options if site.is_fetched]
            if not opened:
                return None
            site, _ = min(opened, key=lambda option: _cost(wanted, *option))
            self._open(site).include(wanted)
        return wanted

    # How to get to the sites of a branch

    def _reach(self, branch: Branch) -> Reached:
        """Every site of a branch with its cheapest route, as things stand now."""
        known = self._memo.get(branch)
        if known and known[0] == len(self.visits):
            return known[1]
        parent = branch.position.parent
        if parent is None:
            reached = {site: _left_to_open(site) for site in self._root_sites(branch)}
        else:
            options = self._options(parent, self._reach(parent.branch))
            reached = self._close(branch, self._direct(parent, branch, options))
        self._memo[branch] = (len(self.visits), reached)
        return reached

    def _root_sites(self, branch: Branch) -> list[Site]:
        if branch not in self._roots:
            self._roots[branch] = [
                Site(branch, Standpoint(subgraph))
                for subgraph in self._supergraph.subgraphs.values()
                if branch.types[0] in subgraph.types
                and (self.owners is None or subgraph.name in self.owners)
            ]
        return self._roots[branch]

    def _direct(self, via: Field, branch: Branch, options: Iterable[tuple[Site, Route]]) -> Reached:
        """The sites that a field leads to from its own sites; none if objects of these types
        never occur. Subgraphs that share a field mean the same by it, so there can be none where
        one of them returns no such objects.
        """
        reached: Reached = {}
        for parent, route in options:
            child = self._child(parent, via, branch)
            if child:
                reached[child] = route
            elif not branch.is_generic:
                return {}
        for seen_as in sorted({site.stand.seen_as for site in reached if site.stand.seen_as}):
            if not branch.is_generic:
                reached |= self._aside(self.tree.generic(branch.position, seen_as), branch)
        return reached

    def _child(self, parent: Site, via: Field, branch: Branch) -> Site | None:
        """Where one stands at the objects of `branch`, coming through a field of `parent`."""
        key = (via, branch)
        if key not in parent.children:
            found = self._found(parent.stand, via)
            stand = parent.stand.at(via.branch.names, found, branch.names) if found else None
            is_there = stand and (stand.seen_as or not branch.is_generic)
            child = Site(branch, stand, parent=parent, via=via) if stand and is_there else None
            parent.children[key] = child
        return parent.children[key]

    def _aside(self, generic: Branch, branch: Branch) -> Reached:
        """The sites of a branch within the entities of the generic one."""
        reached: Reached = {}
        for parent, route in self._reach(generic).items():
            if parent.parent is None and (site := self._beside(parent, branch)):
                reached[site] = route
        return reached

    def _beside(self, parent: Site, branch: Branch) -> Site | None:
        key = (None, branch)
        if key not in parent.children:
            entered_as = parent.stand.seen_as or parent.branch.types[0]
            guise = parent.stand.subgraph.guise_in(entered_as, branch.names)
            parent.children[key] = Site(branch, parent.stand, parent=parent) if guise else None
        return parent.children[key]

    def _close(self, branch: Branch, direct: Reached) -> Reached:
        """Add the sites that keys lead to, over the cheapest routes."""
        if not direct:
            return direct
        reached = dict(direct)
        for site in self._required.values():
            if site.branch is branch and site.visit:
                reached[site] = HERE
        improved = True
        while improved:
            improved = False
            for hop in self._hop_sites(branch):
                known = reached.get(hop)
                route = HERE if hop.visit else None if known == HERE else self._entry(hop, reached)
                if route is not None and (known is None or len(route) < len(known)):
                    reached[hop] = route
                    improved = True
        return reached

    def _hop_sites(self, branch: Branch) -> list[Site]:
        if branch not in self._hops:
            self._hops[branch] = [
                Site(branch, stand)
                for stand in self._standpoints(branch)
                if _keys(branch, stand) is not None
            ]
        return self._hops[branch]

    def _entry(self, site: Site, reached: Reached) -> Route | None:
        """The cheapest route into an entity, over any of its keys; None if there is none."""
        if site.visit:
            return HERE
        best = self._best_key(site, reached)
        if best is None:
            return None
        _, route = best
        if self._needs_name(site):
            namer = _namer(reached)
            if namer is None:
                return None
            route |= reached[namer]
        if site.requires:
            required = self._gather(site.branch, site.requires.selections, reached)
            if required is None:
                return None
            route |= required
        return route | {site}

    def _best_key(self, site: Site, reached: Reached) -> tuple[FieldSet | None, Route] | None:
        keys = _keys(site.branch, site.stand)
        if keys is None:
            return None
        if not keys:
            return None, HERE
        routes = ((key, self._gather(site.branch, key.selections, reached)) for key in keys)
        found = [(key, route) for key, route in routes if route is not None]
        return min(found, key=lambda choice: len(choice[1]), default=None)

    def _gather(
        self, branch: Branch, selections: SelectionSetNode, reached: Reached
    ) -> Route | None:
        """What has to be opened to know these fields; None if they can't be known."""
        gathered = HERE
        for node in selected_fields(selections, branch.names.all):
            if node.name.value == "__typename":
                continue
            wanted = self.tree.input(branch, node)
            options = list(self._options(wanted, reached))
            if not options:
                return None
            if wanted.child and node.selection_set:
                for below in wanted.child.branches:
                    sites = self._close(below, self._direct(wanted, below, options))
                    route = self._gather(below, node.selection_set, sites) if sites else HERE
                    if route is None:
                        return None
                    gathered |= route
            else:
                gathered |= min((route for _, route in options), key=len)
        return gathered

    # What types objects have

    def _needs_name(self, site: Site) -> bool:
        """Whether an entity can't be represented, or even picked out, while its type is unknown."""
        position, branch = site.branch.position, site.branch
        if not position.generics or branch.is_generic:
            return False
        return len(position.branches) > 1 or (not site.stand.seen_as and len(branch.types) > 1)

    def _name_where_it_matters(self, root: Position) -> None:
        for position in (wanted.child for wanted in _composites(root)):
            assert position is not None
            occurring = [branch for branch in position.branches if self._reach(branch)]
            position.is_nameless = bool(position.generics) and not self.tree.tells_apart(position)
            if position.generics and not position.is_nameless:
                for branch in occurring:
                    self._name(branch)

    def _name(self, branch: Branch) -> Visit:
        """Fetch the types of the objects of a branch."""
        namer = _namer(self._reach(branch))
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
        sources = {visit for chosen in inputs for visit in self._serve_all(site.branch, chosen)}
        if not site.is_root and not sources:
            sources = self._finders(site.branch)
        if self._needs_name(site):
            sources.add(self._name(site.branch))
        sources.update(self._names_above(site.branch))
        visit = Visit(len(self.visits), site.stand, site.branch)
        visit.inputs = inputs
        visit.sources = sources
        visit.depth = 1 + max((source.depth for source in sources), default=-1)
        self.visits.append(visit)
        return visit

    def _choose_inputs(self, site: Site) -> list[FieldSet]:
        best = self._best_key(site, self._reach(site.branch))
        assert best is not None
        return [fields for fields in (best[0], site.requires) if fields]

    def _serve_all(self, branch: Branch, fields: FieldSet) -> Iterator[Visit]:
        yield from self._serve_selections(branch, fields.selections)

    def _serve_selections(self, branch: Branch, selections: SelectionSetNode) -> Iterator[Visit]:
        for node in selected_fields(selections, branch.names.all):
            if node.name.value == "__typename":
                continue
            wanted = self.tree.input(branch, node)
            if wanted.child and node.selection_set:
                for below in wanted.child.branches:
                    yield from self._serve_selections(below, node.selection_set)
            elif visit := self._serve(wanted):
                yield visit

    def _finders(self, branch: Branch) -> set[Visit]:
        """The visit that finds the objects of a branch, for a hop that needs no key."""
        parent = branch.position.parent
        visit = self._serve(parent) if parent else None
        return {visit} if visit else set()


def _keys(branch: Branch, stand: Standpoint) -> list[FieldSet] | None:
    """The keys by which a subgraph can be entered; the query root needs none."""
    type_ = stand.subgraph.types[stand.seen_as or branch.types[0]]
    if type_.name != QUERY and not any(key.resolvable for key in type_.keys):
        return None
    return [key.fields for key in type_.keys if key.resolvable]


def _namer(reached: Reached) -> Site | None:
    """The cheapest site that tells the types of objects, best one that is open."""
    namers = [site for site in reached if site.stand.seen_as is None]
    return min(namers, key=lambda s: (len(reached[s]), s.visit is None), default=None)


def _is_common(wanted: Field, stand: Standpoint) -> bool:
    """Whether a field may be asked of all objects seen as an interface object: what is asked of
    some types only must not be, for it may fail for the others.
    """
    return not wanted.is_asked or all(
        _alike(wanted, branch)
        for branch in wanted.branch.position.branches
        if stand.seen_as in branch.names.all
    )


def _alike(wanted: Field, branch: Branch) -> Field | None:
    """What is asked of a branch like a field of another one."""
    asked = wanted.name, wanted.arguments
    return next((f for f in branch.fields.values() if (f.name, f.arguments) == asked), None)


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


def _left_to_open(site: Site) -> Route:
    return HERE if site.visit else frozenset((site,))


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
