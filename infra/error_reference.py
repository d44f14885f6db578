"""docs/errors.md: every error code of the product, from the classes and literals that define it."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from types import ModuleType

import gateway
import infra
import services
from services.chassis.errors import RaakError

PACKAGES = (services, gateway, infra)
NOT_IMPORTED = ("__main__", "migrations")

ROOMS = {
    "services.profile": "Customers",
    "services.rules": "Conditions",
    "services.decision": "Decisions",
    "services.journey": "Journeys",
    "services.measurement": "Measurement",
    "gateway.supergraph": "Federation",
    "gateway": "Gateway",
    "services": "Every process",
    "infra": "Command line",
}
"""Packages and their titles; a class belongs to the first that holds its module."""

MOST_HINTS = 3

WITHOUT_CLASS = {
    "BAD_USER_INPUT": "An argument or a variable does not fit its type.",
    "INTERNAL": "An unexpected error, logged where it happened; its text is masked.",
    "INTROSPECTION_FAILED": "A field of the schema itself could not be answered.",
    "NULL_IN_NON_NULL_FIELD": "A service answered null for a field that cannot be null.",
    "SUBGRAPH_ERROR": "A service answered with an error that has no code of its own.",
    "SUBGRAPH_NOT_ASKED": "What a service needs for this field could not be had from another.",
    "TOO_MANY_ERRORS": "More errors than an answer lists; the others are left out.",
}
"""Codes in `extensions` of errors that are made in place, not raised as a class."""

OPENING = """\
# Errors

Every error has a stable code: over GraphQL in `extensions.code`, over plain HTTP in `error.code`,
on the command line before the message. It comes with a problem, which names the value at fault, and
a hint, which says what to do. A code keeps its meaning; match on it, not on the text. The status is
that over HTTP; over GraphQL it holds where nothing was executed.

This page is written from the code by `make generate`; `…` stands for a value.
"""


@dataclass(frozen=True, slots=True)
class ErrorEntry:
    room: str
    code: str
    status: str
    name: str
    meaning: str
    hints: tuple[str, ...] = ()

    def row(self) -> str:
        hints = "<br>".join(self.hints) or "see its hint"
        cells = (f"`{self.code}`", self.status, self.name, self.meaning, hints)
        return "| " + " | ".join(_escape(cell) for cell in cells) + " |"


def page() -> str:
    by_room: dict[str, list[ErrorEntry]] = {title: [] for title in ROOMS.values()}
    for entry in entries():
        by_room[entry.room].append(entry)
    lines = [OPENING]
    for title, found in by_room.items():
        lines += [f"## {title}", "", "| code | status | class | meaning | what to do |"]
        lines += ["| --- | --- | --- | --- | --- |", *(entry.row() for entry in found), ""]
    lines += ["## Codes without a class", "", "| code | meaning |", "| --- | --- |"]
    lines += [f"| `{code}` | {meaning} |" for code, meaning in WITHOUT_CLASS.items()]
    return "\n".join(lines) + "\n"


def entries() -> list[ErrorEntry]:
    hints = _read_hints()
    found = [
        ErrorEntry(
            room=_room(error),
            code=error.code,
            status="–" if error.__module__.startswith("infra.") else str(error.status),
            name=error.__name__,
            meaning=_first_paragraph(error),
            hints=tuple(hints.get(error, {}))[:MOST_HINTS],
        )
        for error in error_classes()
        if error.code != RaakError.code  # a base class
    ]
    return sorted(found, key=lambda entry: (entry.code, entry.room, entry.name))


@cache
def modules() -> tuple[ModuleType, ...]:
    """Every module of the product, imported; but for those that run when they are."""
    return tuple(
        import_module(module.name)
        for package in PACKAGES
        for module in walk_packages(package.__path__, f"{package.__name__}.")
        if not any(part in module.name for part in NOT_IMPORTED)
    )


def error_classes() -> list[type[RaakError]]:
    names = {module.__name__ for module in modules()}
    return [error for error in _subclasses(RaakError) if error.__module__ in names]


def _subclasses(error: type[RaakError]) -> Iterator[type[RaakError]]:
    for subclass in error.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def _room(error: type[RaakError]) -> str:
    module = f"{error.__module__}."
    return next(title for package, title in ROOMS.items() if module.startswith(f"{package}."))


def _first_paragraph(error: type[RaakError]) -> str:
    return " ".join((error.__doc__ or "").strip().partition("\n\n")[0].split())


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


# --- hints, from the source -------------------------------------------------------------------


@cache
def _read_hints() -> dict[type, dict[str, None]]:
    """The hints of each class, in the order of the source, from every place that makes one."""
    found: dict[type, dict[str, None]] = {}
    for module in modules():
        tree = ast.parse(Path(str(module.__file__)).read_text())
        constants = dict(_constants(tree))
        for name, hint in _hints(tree):
            error = vars(module).get(name)
            if isinstance(error, type):
                hints = found.setdefault(error, {})
                hints |= {" ".join(text.split()): None for text in _texts(hint, constants)}
    return found


def _constants(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value


def _hints(tree: ast.AST, inside: str = "") -> Iterator[tuple[str, ast.expr]]:
    """The `hint=` of each call, with the class that is called; in `super()`, the class around."""
    for node in ast.iter_child_nodes(tree):
        here = node.name if isinstance(node, ast.ClassDef) else inside
        if isinstance(node, ast.Call):
            name = _callee(node.func, here)
            yield from ((name, each.value) for each in node.keywords if each.arg == "hint")
        yield from _hints(node, here)


def _callee(function: ast.expr, inside: str) -> str:
    if isinstance(function, ast.Attribute):
        return inside if function.attr == "__init__" else function.attr
    name = function.id if isinstance(function, ast.Name) else ""
    return inside if name == "cls" else name


def _texts(node: ast.expr, constants: dict[str, ast.expr]) -> list[str]:
    """The texts an expression may be, with `…` for what only a run knows."""
    match node:
        case ast.Constant(value=str(text)):
            return [text] if text else []
        case ast.JoinedStr(values=parts):
            pieces = (part.value if isinstance(part, ast.Constant) else "…" for part in parts)
            return [re.sub(r"…(\W?…)+", "…", "".join(map(str, pieces)))]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            first, second = _texts(left, constants) or ["…"], _texts(right, constants) or ["…"]
            return [one + other for one in first for other in second]
        case ast.IfExp(body=body, orelse=other):
            return [*_texts(body, constants), *_texts(other, constants)]
        case ast.Name(id=name) if name in constants:
            return _texts(constants[name], {})
        case ast.Call(func=ast.Name(id="nearest")):
            return ["Use one of the names it lists."]
    return []
