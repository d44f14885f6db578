"""Resolving names: what a condition reads, and whether it may."""

import ast
import re

from services.chassis.errors import nearest
from services.rules.errors import InvalidArgument, NotAllowed, UnknownName
from services.rules.formula import ClockTerm, KindCast, Lookup, Term, ValueKind
from services.rules.functions import PUBLIC
from services.rules.parser.kind_converter import KindConverter, encodable
from services.rules.vocabulary import ROOT_HINTS, ROOTS

MOMENTS = {"now": ValueKind.TIME, "hour": ValueKind.NUMBER, "weekday": ValueKind.TEXT}

NEEDS_OF_ROOT = {
    "traits": "traits",
    "consent": "purposes",
    "context": "context",
    "event": "event",
    "journey": "journeys",
}


class NameResolver(KindConverter):
    """Resolves names, and notes those the condition reads."""

    def _parse_name(self, node: ast.expr, whole: bool) -> Term:
        root, path = self._parse_path(node)
        if self.vocabulary.bare_properties:
            return self._parse_bare_property(root, path, node)
        if root in PUBLIC or root not in ROOTS:
            near = nearest(root, self.vocabulary.roots)
            raise self.error(UnknownName, node, f"There is no `{root}`.", near)
        self._check_root(root, node)
        if root in MOMENTS and not path:
            return ClockTerm(root, MOMENTS[root])
        if root in NEEDS_OF_ROOT and path:
            return self._parse_lookup(root, path, node, whole)
        raise self.error(
            InvalidArgument, node, f"`{ast.unparse(node)}` is not a value.", ROOT_HINTS[root]
        )

    def _parse_bare_property(self, root: str, path: tuple[str, ...], node: ast.expr) -> Lookup:
        if root == "properties" and path:
            return Lookup("properties", path)
        if root in ROOTS or root == "properties":
            raise self.error(
                UnknownName,
                node,
                f"`{root}` cannot be used inside `events.…(…)`.",
                "A filter sees the properties of the event only; one that is really called "
                f'so is `properties["{root}"]`.',
            )
        return Lookup("properties", (root, *path))

    def _parse_lookup(self, root: str, path: tuple[str, ...], node: ast.expr, whole: bool) -> Term:
        if root == "event":
            return self._parse_event_path(path)
        if root == "journey" and len(path) == 1 and not whole:
            problem = f"`journey.{path[0]}` needs a field."
            hint = f"Write `journey.{path[0]}.phase`, or `exists(journey.{path[0]})`."
            raise self.error(InvalidArgument, node, problem, hint)
        self.names[NEEDS_OF_ROOT[root]].add(path[0])
        return Lookup(root, path, ValueKind.YES_NO if root == "consent" else ValueKind.ANY)

    def _parse_event_path(self, path: tuple[str, ...]) -> Term:
        if path == ("at",):
            return KindCast(Lookup("event", path), ValueKind.TIME)
        if path == ("name",):
            return KindCast(Lookup("event", path), ValueKind.TEXT)
        below = path[1:] if path[0] == "properties" and len(path) > 1 else path
        self.names["event"].add(below[0])
        return Lookup("properties", below)

    def _parse_path(self, node: ast.expr) -> tuple[str, tuple[str, ...]]:
        keys: list[str] = []
        inner = node
        while True:
            match inner:
                case ast.Name(id=root):
                    return root, tuple(reversed(keys))
                case ast.Attribute(value=value, attr=key):
                    pass
                case ast.Subscript(value=value, slice=ast.Constant(value=str() as key)):
                    if not encodable(key):
                        raise self.error(
                            NotAllowed, node, "The name holds half a character.", "Mend it."
                        )
                case _:
                    problem = f"Conditions have no {python_name(inner)} here."
                    hint = 'Name things as `traits.city` or `traits["favourite genre"]`.'
                    raise self.error(NotAllowed, inner, problem, hint)
            keys.append(key)
            inner = value

    def _check_root(self, root: str, node: ast.expr) -> None:
        if root not in self.vocabulary.roots:
            allowed = ", ".join(sorted(self.vocabulary.roots))
            problem = f"`{root}` cannot be used in {self.vocabulary.title}."
            hint = f"Here there are: {allowed}."
            raise self.error(UnknownName, node, problem, hint)
        self.names["roots"].add(root)


def python_name(node: ast.AST) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(node).__name__).lower()
