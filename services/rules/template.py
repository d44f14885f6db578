"""Templates: content with placeholders such as `{{ traits.first_name | friend }}`.

A placeholder names a value as conditions do and, after a bar, a default. Content is parsed once,
when it is published, and filled often. Values are put in as plain text and never parsed again, so
a customer's own words cannot become a placeholder; a client that shows content as HTML escapes it,
as it would any text.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest
from typing import Any, ClassVar, NamedTuple

from services.chassis.errors import RaakError
from services.rules.flaw import DocumentPath, Flaw

LONGEST_VALUE = 200
LONGEST_QUOTED = 80

Sources = Mapping[str, Any]
"""What placeholders name, by root. `event` has `name`, `at` and `properties`, or is empty."""
Fill = Callable[[Sources], Any]
Keys = tuple[str, ...]

_PLACEHOLDER = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_INSIDE = re.compile(r"\s*([^\W\d]\w*(?:\.[^\W\d]\w*)*)\s*(?:\|(.*))?", re.DOTALL)


class InvalidTemplate(RaakError):
    """Content has placeholders that cannot be filled in; `flaws` lists all of them."""

    code: ClassVar[str] = "RULES_INVALID_TEMPLATE"

    def __init__(self, flaws: Sequence[Flaw]) -> None:
        super().__init__(flaws[0].problem, hint=flaws[0].hint)
        self.flaws = flaws


class Placeholder(NamedTuple):
    """One placeholder: the keys of its value, its default, and its path in the content."""

    keys: Keys
    default: str
    path: DocumentPath

    def fill(self, sources: Sources) -> str:
        return format_value(get_value(self.keys, sources))[:LONGEST_VALUE] or self.default


@dataclass(frozen=True, slots=True)
class Template:
    """Content ready to be filled.

    `fill` returns it with its values. What holds no placeholder is returned as it is, so it must
    not be changed.
    """

    fill: Fill
    placeholders: Sequence[Placeholder]


def parse_template(content: Any, roots: Collection[str], exact: Collection[str] = ()) -> Template:
    """Parse the placeholders in every text of a JSON value; raises InvalidTemplate.

    Args:
        content: What to say; names of fields stay as they are.
        roots: The names that paths may begin with, as `traits` in `traits.city`.
        exact: The names that are a whole placeholder, as `key`.
    """
    parser = _TemplateParser(roots, exact)
    fill = parser.parse_content(content, ())
    if parser.flaws:
        raise InvalidTemplate(parser.flaws)
    return Template(fill or (lambda sources: content), parser.placeholders)


def hide_values(
    content: Any,
    filled: Any,
    mask: str,
    is_hidden: Callable[[Keys], bool],
    change: Callable[[str], Any],
) -> Any:
    """Filled content without the values that are to be hidden.

    A text of which every placeholder is hidden is as it was written, with the mask in their places;
    where some are not, the mask replaces the whole text, since filled values cannot be found in it.
    What holds no placeholder is as it was filled.

    Args:
        content: As it was written.
        filled: What `Template.fill` made of it.
        is_hidden: Whether the value of a placeholder is to be hidden, by its keys.
        change: What else is to be done to texts that hold values.
    """
    if isinstance(content, str) and isinstance(filled, str):
        match = filter(None, map(_INSIDE.fullmatch, _PLACEHOLDER.findall(content)))
        hidden = [is_hidden(parse_path(inside[1])) for inside in match]
        if not any(hidden):
            return change(filled) if hidden else filled
        return _PLACEHOLDER.sub(mask, content) if all(hidden) else mask
    if isinstance(content, Mapping) and isinstance(filled, Mapping):
        return {
            key: hide_values(content.get(key), value, mask, is_hidden, change)
            for key, value in filled.items()
        }
    if isinstance(content, list | tuple) and isinstance(filled, list | tuple):
        pairs = zip_longest(content[: len(filled)], filled)
        return [hide_values(was, value, mask, is_hidden, change) for was, value in pairs]
    return filled if content == filled else mask


def parse_path(path: str) -> Keys:
    """Where the value of a path is found: `event.total` is a property of the event, as in
    conditions; `event.properties.name` is one that has the name of something else.
    """
    root, *below = path.split(".")
    if root != "event" or not below or below in (["name"], ["at"]):
        return (root, *below)
    return ("event", *([] if below[0] == "properties" and below[1:] else ["properties"]), *below)


def get_value(keys: Keys, sources: Sources) -> Any:
    """The value at the end of the keys, None if there is none."""
    here: Any = sources
    for key in keys:
        here = here.get(key) if isinstance(here, Mapping) else None
    return here


def format_value(value: Any) -> str:
    """A value as a sentence shows it; empty for lists and objects."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, int | float) else ""


class _TemplateParser:
    def __init__(self, roots: Collection[str], exact: Collection[str]) -> None:
        self._roots, self._exact = roots, exact
        self.placeholders: list[Placeholder] = []
        self.flaws: list[Flaw] = []

    def parse_content(self, content: Any, path: DocumentPath) -> Fill | None:
        """What fills the content in; None if it has no placeholder, so that it stays as it is."""
        if isinstance(content, str):
            return self._parse_text(content, path)
        if not isinstance(content, Mapping | list | tuple):
            return None
        is_mapping = isinstance(content, Mapping)
        values = dict(content if is_mapping else enumerate(content))
        fills = {key: self.parse_content(value, (*path, key)) for key, value in values.items()}
        if not any(fills.values()):
            return None

        def fill_parts(sources: Sources) -> Any:
            parts = {key: fill(sources) if fill else values[key] for key, fill in fills.items()}
            return parts if is_mapping else list(parts.values())

        return fill_parts

    def _parse_text(self, text: str, path: DocumentPath) -> Fill | None:
        pairs, end = [], 0
        for match in _PLACEHOLDER.finditer(text):
            self._find_stray_braces(text, end, match.start(), path)
            placeholder = self._parse_placeholder(match, path)
            if placeholder:
                self.placeholders.append(placeholder)
                pairs.append((text[end : match.start()], placeholder.fill))
            end = match.end()
        self._find_stray_braces(text, end, len(text), path)
        if not pairs:
            return None
        last = text[end:]
        return lambda sources: "".join([before + fill(sources) for before, fill in pairs]) + last

    def _find_stray_braces(self, text: str, start: int, end: int, path: DocumentPath) -> None:
        """Report braces outside placeholders: they are placeholders with a mistake."""
        for braces, problem in (
            ("{{", "opens {{ and does not close it"),
            ("}}", "has }} without {{"),
        ):
            offset = text.find(braces, start, end)
            if offset >= 0:
                hint = "Write {{ traits.name | otherwise }}; keep other braces apart: { {."
                self.flaws.append(Flaw(path, f"{_quote(text)} {problem}.", hint, offset))

    def _parse_placeholder(self, match: re.Match[str], path: DocumentPath) -> Placeholder | None:
        inside = _INSIDE.fullmatch(match[1])
        if inside and "{{" not in match[1] and self._is_allowed(inside[1]):
            return Placeholder(parse_path(inside[1]), (inside[2] or "").strip(), path)
        names = ", ".join([*(f"{root}.…" for root in self._roots), *self._exact])
        hint = f"Write {{{{ traits.name | otherwise }}}}; the roots are {names}."
        problem = f"{_quote(match[0])} cannot be filled in."
        self.flaws.append(Flaw(path, problem, hint, match.start()))
        return None

    def _is_allowed(self, path: str) -> bool:
        root, dot, _ = path.partition(".")
        return root in (self._roots if dot else self._exact)


def _quote(text: str) -> str:
    return repr(text if len(text) <= LONGEST_QUOTED else f"{text[:LONGEST_QUOTED]}…")
