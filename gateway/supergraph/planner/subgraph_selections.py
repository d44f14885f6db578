"""Write what is selected of a subgraph, with each object type's fields where it stands for them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from gateway.supergraph.planner.fetch_groups import FetchGroup
from gateway.supergraph.planner.selection_tree import Branch, ResponsePosition
from gateway.supergraph.supergraph import JoinType, Subgraph
from gateway.supergraph.syntax import TYPENAME


@dataclass(slots=True)
class SelectionWriter:
    """Writes what some fetch groups select, for one fetch. What several types select alike is
    written once, as a fragment, or else the text would double with each level.
    """

    groups: set[FetchGroup]
    subgraph: Subgraph
    fragments: dict[str, str]
    """Name of a fragment by its text, shared by all writers of a fetch."""
    _cache: dict[tuple[ResponsePosition, str], str] = field(default_factory=dict)

    def write_entities(self, branch: Branch, interface_object: str | None) -> str:
        """The selection on `_entities` for what the groups fetch of a branch."""
        if interface_object or branch.is_generic:
            local_type = self.subgraph.types[interface_object or branch.types[0]]
            selection = self._write_position(branch.position, local_type)
            return f"{{ ... on {local_type.name} {selection} }}"
        types = [name for name in branch.types if name in self.subgraph.types]
        parts = (
            f"... on {name} {self.write_object(branch, name, len(types) > 1)}" for name in types
        )
        return f"{{ {' '.join(parts)} }}"

    def write_object(self, branch: Branch, type_name: str, is_shared: bool = False) -> str:
        """`{ … }` for the fields of a branch, on one of its object types."""
        printed = self._write_fields(branch, self.subgraph.types[type_name], is_shared)
        return f"{{ {' '.join(printed) or TYPENAME} }}"

    def _write_fields(self, branch: Branch, type_: JoinType, is_shared: bool) -> Iterator[str]:
        for wanted in branch.fields.values():
            if self.groups.isdisjoint(wanted.fetch_groups):
                continue
            alias = "" if wanted.subgraph_key == wanted.name else f"{wanted.subgraph_key}: "
            printed = f"{alias}{wanted.name}{wanted.arguments}"
            if wanted.child:
                returned = self.subgraph.types[type_.fields[wanted.name].type_name]
                below = self._write_position(wanted.child, returned)
                printed += " " + (
                    self._share_as_fragment(returned.name, below) if is_shared else below
                )
            yield printed

    def _share_as_fragment(self, type_name: str, selection: str) -> str:
        text = f"on {type_name} {selection}"
        name = self.fragments.setdefault(text, f"Shared{len(self.fragments)}")
        return f"{{ ...{name} }}"

    def _write_position(self, position: ResponsePosition, type_: JoinType) -> str:
        key = (position, type_.name)
        if key not in self._cache:
            self._cache[key] = (
                f"{{ {' '.join(self._write_abstract(position, type_))} }}"
                if position.is_abstract
                else self.write_object(position.branches[0], type_.name)
            )
        return self._cache[key]

    def _write_abstract(self, position: ResponsePosition, type_: JoinType) -> Iterable[str]:
        if type_.is_interface_object:
            return self._write_untyped(position, type_)
        local = [self.subgraph.types[name] for name in sorted(type_.possible_types)]
        if any(local_type.is_interface_object for local_type in local):
            return (
                f"... on {local_type.name} {self._write_local_type(position, local_type)}"
                for local_type in local
            )
        generic = position.generics.get(type_.name)
        own = self._write_fields(generic, type_, False) if generic else ()
        return TYPENAME, *own, *self._write_branches(position, type_)

    def _write_untyped(self, position: ResponsePosition, local_type: JoinType) -> Iterable[str]:
        """What is selected of an interface object. Its `__typename` would be the interface's, so
        it goes by another name, and only where there is nothing else to select.
        """
        branches = [b for b in position.all_branches() if local_type.name in b.names.all]
        printed = (
            text for branch in branches for text in self._write_fields(branch, local_type, False)
        )
        return dict.fromkeys(printed) or (f"raak_typename: {TYPENAME}",)

    def _write_local_type(self, position: ResponsePosition, local_type: JoinType) -> str:
        """`{ … }` for objects of a type that a subgraph returns beside interface objects."""
        if local_type.is_interface_object:
            return f"{{ {' '.join(self._write_untyped(position, local_type))} }}"
        branches = [branch for branch in position.branches if local_type.name in branch.types]
        fields = (
            text for branch in branches for text in self._write_fields(branch, local_type, False)
        )
        return f"{{ {' '.join((TYPENAME, *fields))} }}"

    def _write_branches(self, position: ResponsePosition, type_: JoinType) -> Iterator[str]:
        for branch in position.branches:
            types = [name for name in branch.types if name in type_.possible_types]
            if self._has_same_fields(branch, type_, types):
                yield from self._write_fields(branch, type_, False)
                continue
            for name in types:
                fields = self._write_fields(branch, self.subgraph.types[name], len(types) > 1)
                if printed := " ".join(fields):
                    yield f"... on {name} {{ {printed} }}"

    def _has_same_fields(self, branch: Branch, type_: JoinType, types: list[str]) -> bool:
        """Whether the branch is all there is here, and the type itself has its fields."""
        if len(types) < len(type_.possible_types):
            return False
        wanted = [
            f.name for f in branch.fields.values() if not self.groups.isdisjoint(f.fetch_groups)
        ]
        return all(
            name in type_.fields
            and all(
                self.subgraph.types[t].fields[name].type_name == type_.fields[name].type_name
                for t in types
            )
            for name in wanted
        )
