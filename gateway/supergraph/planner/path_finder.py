"""What can be reached from what is fetched already, and over which routes.

At each branch there are *sites*: places where its objects can be had. A site is the root of a
subgraph, a field of a parent's site, or an entity entered by a key. A *route* to a site is
the set of sites that would still have to be opened, each costing a fetch; what an opened site
(a *visit*) can give costs nothing more.

Objects may be found as an interface object, so that their types are not known. They can then be
entered as that interface in a subgraph that knows its implementations: by a site of the generic
branch, from which one steps aside, for nothing, to a site of the branch of each type. Whatever
depends on the type waits for such a site.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from graphql import SelectionSetNode
from graphql.language import InlineFragmentNode

from gateway.supergraph.field_sets import FieldSet, selected_fields
from gateway.supergraph.planner.query_graph import HERE, Reached, Route, Site, Visit
from gateway.supergraph.planner.selection_tree import TYPENAME, Branch, Field, Tree
from gateway.supergraph.supergraph import JoinField, SubgraphView, Supergraph

QUERY = "Query"


@dataclass(slots=True)
class Ways:
    """Finds sites and routes for one tree; changes nothing but what it remembers."""

    tree: Tree
    owners: tuple[str, ...] | None
    """Where root fields may be fetched; None leaves the choice open."""
    visits: Sequence[Visit]
    """What is opened so far. With each visit, routes get shorter."""
    _roots: dict[Branch, list[Site]] = field(default_factory=dict)
    _stands: dict[Branch, list[SubgraphView]] = field(default_factory=dict)
    _hops: dict[Branch, list[Site]] = field(default_factory=dict)
    _required: dict[Branch, dict[tuple[SubgraphView, FieldSet], Site]] = field(default_factory=dict)
    _requiring: set[Field] = field(default_factory=set)
    _entering: set[tuple[str, SubgraphView]] = field(default_factory=set)
    """What is being entered: keys of two types may hold objects of each other's."""
    _memo: dict[Branch, tuple[int, Reached]] = field(default_factory=dict)

    @property
    def _supergraph(self) -> Supergraph:
        return self.tree.supergraph

    def of(self, branch: Branch) -> Reached:
        """Every site of a branch with its cheapest route, as things stand now."""
        known = self._memo.get(branch)
        if known and known[0] == len(self.visits):
            return known[1]
        parent = branch.position.parent
        if parent is None:
            reached = {site: _left_to_open(site) for site in self._root_sites(branch)}
        else:
            options = self.options(parent, self.of(parent.branch))
            reached = self._close(branch, self._direct(parent, branch, options))
        self._memo[branch] = (len(self.visits), reached)
        return reached

    def options(self, wanted: Field, reached: Reached) -> Iterator[tuple[Site, Route]]:
        """The sites that can resolve a field, with the routes to them."""
        for site, route in reached.items():
            found = self.found(site.view, wanted)
            if (
                found
                and (not found.requires or site.requires == found.requires)
                and (not site.is_nameless or _is_common(wanted, site.view))
            ):
                yield site, route
        yield from self._options_by_requirement(wanted, reached)

    def can_give(self, option: tuple[Site, Route], wanted: Field) -> bool:
        """Whether one of the sites of a parent leads on to a field."""
        parent = wanted.branch.position.parent
        assert parent is not None
        sites = self._close(wanted.branch, self._direct(parent, wanted.branch, [option]))
        return not sites or any(True for _ in self.options(wanted, sites))

    def found(self, view: SubgraphView, wanted: Field) -> JoinField | None:
        """The field as it is resolved from a standpoint, if it is."""
        return view.field(wanted.branch.names, wanted.name)

    def standpoints(self, branch: Branch) -> list[SubgraphView]:
        """Where one may stand at the objects of a branch, as far as a key leads there."""
        if branch not in self._stands:
            self._stands[branch] = [
                SubgraphView(
                    subgraph,
                    interface_object=local_type.name if local_type.is_interface_object else None,
                )
                for subgraph in self._supergraph.subgraphs.values()
                for local_type in subgraph.local_types(branch.names)
            ]
        return self._stands[branch]

    def _root_sites(self, branch: Branch) -> list[Site]:
        if branch not in self._roots:
            self._roots[branch] = [
                Site(branch, SubgraphView(subgraph))
                for subgraph in self._supergraph.subgraphs.values()
                if branch.types[0] in subgraph.types
                and (self.owners is None or subgraph.name in self.owners)
            ]
        return self._roots[branch]

    def _options_by_requirement(
        self, wanted: Field, reached: Reached
    ) -> Iterator[tuple[Site, Route]]:
        if wanted.name not in self._supergraph.fields_with_requires or wanted in self._requiring:
            return
        self._requiring.add(wanted)
        for view in self.standpoints(wanted.branch):
            found = self.found(view, wanted)
            if found and found.requires:
                site = self._required_site(wanted.branch, view, found.requires)
                route = None if site in reached else self._entry(site, reached)
                if route is not None:
                    yield site, route
        self._requiring.discard(wanted)

    def _required_site(self, branch: Branch, view: SubgraphView, requires: FieldSet) -> Site:
        sites = self._required.setdefault(branch, {})
        if (view, requires) not in sites:
            sites[view, requires] = Site(branch, view, requires=requires)
        return sites[view, requires]

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
        for interface_object in sorted(
            {site.view.interface_object for site in reached if site.view.interface_object}
        ):
            if not branch.is_generic:
                reached |= self._aside(self.tree.generic(branch.position, interface_object), branch)
        return reached

    def _child(self, parent: Site, via: Field, branch: Branch) -> Site | None:
        """Where one stands at the objects of `branch`, coming through a field of `parent`."""
        key = (via, branch)
        if key not in parent.children:
            found = self.found(parent.view, via)
            view = parent.view.follow(via.branch.names, found, branch.names) if found else None
            is_there = view and (view.interface_object or not branch.is_generic)
            child = Site(branch, view, parent=parent, via=via) if view and is_there else None
            parent.children[key] = child
        return parent.children[key]

    def _aside(self, generic: Branch, branch: Branch) -> Reached:
        """The sites of a branch within the entities of the generic one."""
        reached: Reached = {}
        for parent, route in self.of(generic).items():
            if parent.parent is None and (site := self._beside(parent, branch)):
                reached[site] = route
        return reached

    def _beside(self, parent: Site, branch: Branch) -> Site | None:
        key = (None, branch)
        if key not in parent.children:
            entered_as = parent.view.interface_object or parent.branch.types[0]
            local_type = parent.view.subgraph.find_local_type(entered_as, branch.names)
            parent.children[key] = Site(branch, parent.view, parent=parent) if local_type else None
        return parent.children[key]

    def _close(self, branch: Branch, direct: Reached) -> Reached:
        """Add the sites that keys lead to, over the cheapest routes."""
        if not direct:
            return direct
        reached = dict(direct)
        for site in self._required.get(branch, {}).values():
            if site.visit:
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
                Site(branch, view)
                for view in self.standpoints(branch)
                if _keys(branch, view) is not None
            ]
        return self._hops[branch]

    def _entry(self, site: Site, reached: Reached) -> Route | None:
        """The cheapest route into an entity, over any of its keys; None if there is none."""
        if site.visit:
            return HERE
        best = self.best_key(site, reached)
        if best is None:
            return None
        _, route = best
        if self.needs_name(site):
            namer = cheapest_namer(reached)
            if namer is None:
                return None
            route |= reached[namer]
        if site.requires:
            required = self._gather(site.branch, site.requires.selections, reached)
            if required is None:
                return None
            route |= required
        return route | {site}

    def best_key(self, site: Site, reached: Reached) -> tuple[FieldSet | None, Route] | None:
        """The key to enter a site by, None at the query root, which takes none; and what has to be
        opened to know it. None if no key can be known.
        """
        keys = _keys(site.branch, site.view)
        if keys is None:
            return None
        if not keys:
            return None, HERE
        asked = (site.branch.types[0], site.view)
        if asked in self._entering:
            return None
        self._entering.add(asked)
        routes = [(key, self._gather(site.branch, key.selections, reached)) for key in keys]
        self._entering.discard(asked)
        found = [(key, route) for key, route in routes if route is not None]
        return min(found, key=lambda choice: len(choice[1]), default=None)

    def _gather(
        self, branch: Branch, selections: SelectionSetNode, reached: Reached
    ) -> Route | None:
        """What has to be opened to know these fields; None if they can't be known."""
        gathered = HERE
        for node in selected_fields(selections, branch.names.all):
            if node.name.value == TYPENAME:
                continue
            wanted = self.tree.input(branch, node)
            options = list(self.options(wanted, reached))
            if not options:
                return None
            if wanted.child and node.selection_set:
                for below in wanted.child.branches:
                    direct = self._direct(wanted, below, options)
                    route = self._gather_below(below, node.selection_set, direct)
                    if route is None:
                        return None
                    gathered |= route
            else:
                gathered |= min((route for _, route in options), key=len)
        return gathered

    def _gather_below(
        self, branch: Branch, selections: SelectionSetNode, direct: Reached
    ) -> Route | None:
        """The same inside a field. Keys are followed only where they must be: each key that holds
        objects would open as many ways again.
        """
        if not direct:
            return HERE
        route = self._gather_named(branch, selections, direct)
        if route is not None:
            return route
        return self._gather_named(branch, selections, self._close(branch, direct))

    def _gather_named(
        self, branch: Branch, selections: SelectionSetNode, reached: Reached
    ) -> Route | None:
        route = self._gather(branch, selections, reached)
        if route is None or not needs_types(branch, selections):
            return route
        namer = cheapest_namer(reached)
        return route | reached[namer] if namer else None

    def needs_name(self, site: Site) -> bool:
        """Whether an entity can't be represented, or even picked out, while its type is unknown."""
        position, branch = site.branch.position, site.branch
        if not position.generics or branch.is_generic:
            return False
        return len(position.branches) > 1 or (
            not site.view.interface_object and len(branch.types) > 1
        )


def _keys(branch: Branch, view: SubgraphView) -> list[FieldSet] | None:
    """The keys by which a subgraph can be entered; the query root needs none."""
    type_ = view.subgraph.types[view.interface_object or branch.types[0]]
    if type_.name != QUERY and not any(key.resolvable for key in type_.keys):
        return None
    return [key.fields for key in type_.keys if key.resolvable]


def needs_types(branch: Branch, selections: SelectionSetNode) -> bool:
    """Whether what is selected as an input depends on types that may not be known."""
    return bool(branch.position.generics) and any(
        isinstance(selection, InlineFragmentNode) for selection in selections.selections
    )


def cheapest_namer(reached: Reached) -> Site | None:
    """The cheapest site that tells the types of objects, best one that is open."""
    namers = [site for site in reached if site.view.interface_object is None]
    return min(namers, key=lambda s: (len(reached[s]), s.visit is None), default=None)


def _is_common(wanted: Field, view: SubgraphView) -> bool:
    """Whether a field may be asked of all objects seen as an interface object: what is asked of
    some types only must not be, for it may fail for the others.
    """
    return not wanted.is_asked or all(
        alike(wanted, branch)
        for branch in wanted.branch.position.branches
        if view.interface_object in branch.names.all
    )


def alike(wanted: Field, branch: Branch) -> Field | None:
    """What is asked of a branch like a field of another one."""
    asked = wanted.name, wanted.arguments
    return next((f for f in branch.fields.values() if (f.name, f.arguments) == asked), None)


def _left_to_open(site: Site) -> Route:
    return HERE if site.visit else frozenset((site,))
