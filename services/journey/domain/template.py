"""Personal content: `{{ traits.first_name | there }}` in the texts of a message.

A placeholder names a trait, a property of the event the journey was entered by, or `key`. What
stands behind `|` is said when the value is missing; without it, nothing is.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from services.contracts.base import Json

_PLACEHOLDER = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_PATH = re.compile(r"^(?:key|(?:traits|event)(?:\.[A-Za-z_]\w*)+)$")

Values = Mapping[str, Any]
"""`traits` and `event` as mappings, `key` as a text."""


def texts(content: Json, place: tuple[str | int, ...] = ()) -> Iterator[tuple[Any, str]]:
    """Every text in a content, with the place it stands at."""
    if isinstance(content, str):
        yield place, content
    elif isinstance(content, Mapping):
        for name, value in content.items():
            yield from texts(value, (*place, name))
    elif isinstance(content, list | tuple):
        for position, value in enumerate(content):
            yield from texts(value, (*place, position))


def paths(text: str) -> list[str]:
    """The paths a text's placeholders name, as written."""
    return [_read(found[1])[0] for found in _PLACEHOLDER.finditer(text)]


def unreadable(text: str) -> str | None:
    """The first thing in a text that cannot be filled in, None when all can."""
    for path in paths(text):
        if not _PATH.match(path):
            return f"{{{{ {path} }}}}"
    rest = _PLACEHOLDER.sub("", text)
    return next((brace for brace in ("{{", "}}") if brace in rest), None)


def personalised(content: Json, values: Values) -> Json:
    """The content with its placeholders filled in."""
    if isinstance(content, str):
        return _PLACEHOLDER.sub(lambda found: _filled(found[1], values), content)
    if isinstance(content, Mapping):
        return {name: personalised(value, values) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [personalised(value, values) for value in content]
    return content


def walk(values: Values, path: str) -> Any:
    """The value a dotted path leads to, None where it leads nowhere."""
    here: Any = values
    for name in path.split("."):
        here = here.get(name) if isinstance(here, Mapping) else None
    return here


def shown(value: Any) -> str:
    """A JSON value as it is read in a sentence; lists and objects are not, and stay out."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value) if isinstance(value, str | int | float) else ""


def _read(inside: str) -> tuple[str, str]:
    path, _, otherwise = inside.partition("|")
    return path.strip(), otherwise.strip()


def _filled(inside: str, values: Values) -> str:
    path, otherwise = _read(inside)
    return shown(walk(values, path)) or otherwise
