"""Content made personal: `{{ traits.first_name | friend }}`, and nothing more powerful.

A placeholder names a value as conditions do and, after a bar, what to say without it. Content is
read once, when it is published, and filled often. Values are put in as plain text and never read
again, so a customer's own words cannot become a placeholder; a client that shows content as HTML
escapes it, as it would any text.
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
    """Content has placeholders that cannot be filled in; `flaws` says all of them."""

    code: ClassVar[str] = "RULES_INVALID_TEMPLATE"

    def __init__(self, flaws: Sequence[Flaw]) -> None:
        super().__init__(flaws[0].problem, hint=flaws[0].hint)
        self.flaws = flaws


class Placeholder(NamedTuple):
    """One placeholder: where its value is found, what is said without, where it is written."""

    keys: Keys
    default: str
    place: DocumentPath

    def fill(self, sources: Sources) -> str:
        """The value as text, or the default where there is none that can be read aloud."""
        return format_value(value_at(self.keys, sources))[:LONGEST_VALUE] or self.default


@dataclass(frozen=True, slots=True)
class Template:
    """Content ready to be filled.

    `fill` gives it with its values. What holds no placeholder is given as it is, so it must not
    be changed.
    """

    fill: Fill
    placeholders: Sequence[Placeholder]


def read_template(content: Any, roots: Collection[str], alone: Collection[str] = ()) -> Template:
    """Read the placeholders in every text of a JSON value; raises InvalidTemplate.

    Args:
        content: What to say; names of fields stay as they are.
        roots: The names a placeholder may begin with, as `traits` in `traits.city`.
        alone: The names that are a whole placeholder, as `key`.
    """
    reader = _TemplateParser(roots, alone)
    fill = reader.content(content, ())
    if reader.flaws:
        raise InvalidTemplate(reader.flaws)
    return Template(fill, reader.placeholders)


def hide_values(
    content: Any,
    filled: Any,
    mask: str,
    is_hidden: Callable[[Keys], bool],
    change: Callable[[str], Any],
) -> Any:
    """Filled content without the values that are to be hidden.

    A text of which every placeholder is hidden is as it was written, with the mask in their places;
    where some are not, the mask is all there is, since what was put in can't be told apart. What
    holds no placeholder is as it was filled.

    Args:
        content: As it was written.
        filled: What `Template.fill` made of it.
        is_hidden: Whether the value of a placeholder is to be hidden, by its keys.
        change: What else is to be done to texts that hold values.
    """
    if isinstance(content, str) and isinstance(filled, str):
        found = filter(None, map(_INSIDE.fullmatch, _PLACEHOLDER.findall(content)))
        hidden = [is_hidden(keys_of(inside[1])) for inside in found]
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


def keys_of(path: str) -> Keys:
    """Where the value of a path is found: `event.total` is a property of the event, as in
    conditions; `event.properties.name` is one that has the name of something else.
    """
    root, *below = path.split(".")
    if root != "event" or not below or below in (["name"], ["at"]):
        return (root, *below)
    return ("event", *([] if below[0] == "properties" and below[1:] else ["properties"]), *below)


def value_at(keys: Keys, sources: Sources) -> Any:
    """The value keys lead to, None where they lead nowhere."""
    here: Any = sources
    for key in keys:
        here = here.get(key) if isinstance(here, Mapping) else None
    return here


def format_value(value: Any) -> str:
    """A value as it is read in a sentence; lists and objects are not, and stay out."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, int | float) else ""


class _ConstantFill:
    """A value without placeholders."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __call__(self, sources: Sources) -> Any:
        return self._value


class _TemplateParser:
    """Collects the placeholders of a content, and what is wrong with them."""

    def __init__(self, roots: Collection[str], alone: Collection[str]) -> None:
        self._roots, self._alone = roots, alone
        self.placeholders: list[Placeholder] = []
        self.flaws: list[Flaw] = []

    def content(self, content: Any, place: DocumentPath) -> Fill:
        if isinstance(content, str):
            return self._text(content, place)
        if isinstance(content, Mapping):
            return _mapping({k: self.content(v, (*place, k)) for k, v in content.items()}, content)
        if isinstance(content, list | tuple):
            return _sequence([self.content(v, (*place, n)) for n, v in enumerate(content)], content)
        return _ConstantFill(content)

    def _text(self, text: str, place: DocumentPath) -> Fill:
        pairs, end = [], 0
        for found in _PLACEHOLDER.finditer(text):
            self._braces(text, end, found.start(), place)
            placeholder = self._placeholder(found, place)
            if placeholder:
                self.placeholders.append(placeholder)
                pairs.append((text[end : found.start()], placeholder.fill))
            end = found.end()
        self._braces(text, end, len(text), place)
        if not pairs:
            return _ConstantFill(text)
        last = text[end:]
        return lambda sources: "".join([before + fill(sources) for before, fill in pairs]) + last

    def _braces(self, text: str, start: int, end: int, place: DocumentPath) -> None:
        """Tell of braces outside placeholders: they are one that was written wrong."""
        for braces, told in (
            ("{{", "opens {{ and does not close it"),
            ("}}", "has }} without {{"),
        ):
            offset = text.find(braces, start, end)
            if offset >= 0:
                hint = "Write {{ traits.name | otherwise }}; keep other braces apart: { {."
                self.flaws.append(Flaw(place, f"{_quoted(text)} {told}.", hint, offset))

    def _placeholder(self, found: re.Match[str], place: DocumentPath) -> Placeholder | None:
        inside = _INSIDE.fullmatch(found[1])
        if inside and "{{" not in found[1] and self._known(inside[1]):
            return Placeholder(keys_of(inside[1]), (inside[2] or "").strip(), place)
        names = ", ".join([*(f"{root}.…" for root in self._roots), *self._alone])
        hint = f"Write {{{{ traits.name | otherwise }}}}; the roots are {names}."
        told = f"{_quoted(found[0])} cannot be filled in."
        self.flaws.append(Flaw(place, told, hint, found.start()))
        return None

    def _known(self, path: str) -> bool:
        root, dot, _ = path.partition(".")
        return root in (self._roots if dot else self._alone)


def _quoted(text: str) -> str:
    return repr(text if len(text) <= LONGEST_QUOTED else f"{text[:LONGEST_QUOTED]}…")


def _mapping(parts: dict[Any, Fill], content: Mapping[Any, Any]) -> Fill:
    if all(isinstance(part, _ConstantFill) for part in parts.values()):
        return _ConstantFill(content)
    return lambda sources: {key: part(sources) for key, part in parts.items()}


def _sequence(parts: list[Fill], content: Sequence[Any]) -> Fill:
    if all(isinstance(part, _ConstantFill) for part in parts):
        return _ConstantFill(content)
    return lambda sources: [part(sources) for part in parts]
