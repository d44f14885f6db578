"""Write what is selected of a subgraph, with each object type's fields where it stands for them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from gateway.supergraph.planner.query_graph import Visit
from gateway.supergraph.planner.selection_tree import TYPENAME, Branch, Position
from gateway.supergraph.supergraph import JoinType, Subgraph


@dataclass(slots=True)
class SelectionWriter:
    """Writes what some visits select, for one request. What several types select alike is
    written once, as a fragment, or else the text would double with each level.
    """

    visits: set[Visit]
    subgraph: Subgraph
    fragments: dict[str, str]
    """Name of a fragment by its text, shared by all writers of a request."""
    _written: dict[tuple[Position, str], str] = field(default_factory=dict)

    def entities(self, branch: Branch, interface_object: str | None) -> str:
        """The selection on `_entities` for what the visits fetch of a branch."""
        if interface_object or branch.is_generic:
            local_type = self.subgraph.types[interface_object or branch.types[0]]
            return f"{{ ... on {local_type.name} {self._position(branch.position, local_type)} }}"
        types = [name for name in branch.types if name in self.subgraph.types]
        parts = (f"... on {name} {self.object(branch, name, len(types) > 1)}" for name in types)
        return f"{{ {' '.join(parts)} }}"

    def object(self, branch: Branch, type_name: str, is_shared: bool = False) -> str:
        """`{ … }` for the fields of a branch, on one of its object types."""
        printed = self._fields(branch, self.subgraph.types[type_name], is_shared)
        return f"{{ {' '.join(printed) or TYPENAME} }}"

    def _fields(self, branch: Branch, type_: JoinType, is_shared: bool) -> Iterator[str]:
        for wanted in branch.fields.values():
            if self.visits.isdisjoint(wanted.visits):
                continue
            alias = "" if wanted.raw_key == wanted.name else f"{wanted.raw_key}: "
            printed = f"{alias}{wanted.name}{wanted.arguments}"
            if wanted.child:
                returned = self.subgraph.types[type_.fields[wanted.name].type_name]
                below = self._position(wanted.child, returned)
                printed += " " + (self._fragment(returned.name, below) if is_shared else below)
            yield printed

    def _fragment(self, type_name: str, selection: str) -> str:
        text = f"on {type_name} {selection}"
        name = self.fragments.setdefault(text, f"Shared{len(self.fragments)}")
        return f"{{ ...{name} }}"

    def _position(self, position: Position, type_: JoinType) -> str:
        """`{ … }` for a position, where the subgraph returns `type_`."""
        key = (position, type_.name)
        if key not in self._written:
            self._written[key] = (
                f"{{ {' '.join(self._abstract(position, type_))} }}"
                if position.is_abstract
                else self.object(position.branches[0], type_.name)
            )
        return self._written[key]

    def _abstract(self, position: Position, type_: JoinType) -> Iterable[str]:
        if type_.is_interface_object:
            return self._nameless(position, type_)
        local = [self.subgraph.types[name] for name in sorted(type_.possible_types)]
        if any(local_type.is_interface_object for local_type in local):
            return (
                f"... on {local_type.name} {self._local(position, local_type)}"
                for local_type in local
            )
        generic = position.generics.get(type_.name)
        own = self._fields(generic, type_, False) if generic else ()
        return TYPENAME, *own, *self._branches(position, type_)

    def _nameless(self, position: Position, local_type: JoinType) -> Iterable[str]:
        """What is asked of an interface object. Its `__typename` would be the interface's, so it
        goes by another name, and only where there is nothing else to ask.
        """
        branches = [b for b in position.all_branches() if local_type.name in b.names.all]
        printed = (text for branch in branches for text in self._fields(branch, local_type, False))
        return dict.fromkeys(printed) or (f"raak_typename: {TYPENAME}",)

    def _local(self, position: Position, local_type: JoinType) -> str:
        """`{ … }` for objects of a type that a subgraph returns beside interface objects."""
        if local_type.is_interface_object:
            return f"{{ {' '.join(self._nameless(position, local_type))} }}"
        branches = [branch for branch in position.branches if local_type.name in branch.types]
        fields = (text for branch in branches for text in self._fields(branch, local_type, False))
        return f"{{ {' '.join((TYPENAME, *fields))} }}"

    def _branches(self, position: Position, type_: JoinType) -> Iterator[str]:
        for branch in position.branches:
            types = [name for name in branch.types if name in type_.possible_types]
            if self._is_alike(branch, type_, types):
                yield from self._fields(branch, type_, False)
                continue
            for name in types:
                fields = self._fields(branch, self.subgraph.types[name], len(types) > 1)
                if printed := " ".join(fields):
                    yield f"... on {name} {{ {printed} }}"

    def _is_alike(self, branch: Branch, type_: JoinType, types: list[str]) -> bool:
        """Whether the branch is all there is here, and the type itself has its fields."""
        if len(types) < len(type_.possible_types):
            return False
        wanted = [f.name for f in branch.fields.values() if not self.visits.isdisjoint(f.visits)]
        return all(
            name in type_.fields
            and all(
                self.subgraph.types[t].fields[name].type_name == type_.fields[name].type_name
                for t in types
            )
            for name in wanted
        )
