"""Content made personal: `{{ traits.first_name | friend }}`, and nothing more powerful.

A placeholder names a value of `traits`, `context` or `event` and, after a bar, what to say without
it. Values are put in as plain text and never read again, so a customer's own words cannot become a
placeholder; a client that shows content as HTML escapes it, as it would any text.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

ROOTS = ("traits", "context", "event")
LONGEST_VALUE = 200

_PLACEHOLDER = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_INSIDE = re.compile(r"^\s*([a-z]+)((?:\.[A-Za-z_][A-Za-z0-9_]*)+)\s*(?:\|(.*))?$", re.DOTALL)

Sources = Mapping[str, Mapping[str, Any]]
Personal = Callable[[Sources], Any]


class TemplateProblem(ValueError):
    """A placeholder cannot be read."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint


class _Placeholder(NamedTuple):
    root: str
    keys: tuple[str, ...]
    default: str

    def fill(self, sources: Sources) -> str:
        """The value as text, or the default where there is none that can be read aloud."""
        value: Any = sources.get(self.root)
        for key in self.keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return self.default
        return str(value)[:LONGEST_VALUE] or self.default


def compiled(content: Any) -> Personal:
    """Read the placeholders of a JSON value once; raises TemplateProblem.

    The function returned fills them in. What holds no placeholder is returned as it is, so it
    must not be changed.
    """
    if isinstance(content, str):
        return _text(content)
    if isinstance(content, dict):
        return _mapping({key: compiled(value) for key, value in content.items()}, content)
    if isinstance(content, list):
        return _sequence([compiled(value) for value in content], content)
    return _Fixed(content)


class _Fixed:
    """A value without placeholders."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __call__(self, sources: Sources) -> Any:
        return self._value


def _text(text: str) -> Personal:
    pieces = _PLACEHOLDER.split(text)
    if "{{" in "".join(pieces[::2]):
        raise TemplateProblem(f"{text!r} opens {{{{ and does not close it.", "Write }} behind it.")
    if len(pieces) == 1:
        return _Fixed(text)
    fixed, placeholders = pieces[::2], [_placeholder(inside) for inside in pieces[1::2]]

    def fill(sources: Sources) -> str:
        filled = [fixed[0]]
        for placeholder, after in zip(placeholders, fixed[1:], strict=True):
            filled += (placeholder.fill(sources), after)
        return "".join(filled)

    return fill


def _placeholder(inside: str) -> _Placeholder:
    found = _INSIDE.match(inside)
    if not found or found[1] not in ROOTS:
        raise TemplateProblem(
            f"{{{{{inside}}}}} cannot be filled in.",
            f"Write {{{{ traits.name | default }}}}; the roots are {', '.join(ROOTS)}.",
        )
    return _Placeholder(found[1], tuple(found[2][1:].split(".")), (found[3] or "").strip())


def _mapping(parts: dict[str, Personal], content: dict[str, Any]) -> Personal:
    if all(isinstance(part, _Fixed) for part in parts.values()):
        return _Fixed(content)
    return lambda sources: {key: part(sources) for key, part in parts.items()}


def _sequence(parts: list[Personal], content: list[Any]) -> Personal:
    if all(isinstance(part, _Fixed) for part in parts):
        return _Fixed(content)
    return lambda sources: [part(sources) for part in parts]
