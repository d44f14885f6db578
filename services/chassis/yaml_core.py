"""YAML 1.2 as definitions use it: the core schema, composed from events counted as they come.

PyYAML's own constructors read YAML 1.1 (`NO` is false, `12:30` is 750), take time that grows with
the square of a number's length, and write merge keys out before anybody can count them. Here only
libyaml's parser is used, and what is too much ends the reading where it stands.
"""

import re
from typing import Any

import yaml

LARGEST_DOCUMENT = 2_000_000
MOST_VALUES = 20_000  # 0.2 s; 1,000 segments need 4,000, a journey of 200 steps as many
DEEPEST = 50  # libyaml recurses: 100,000 open brackets would end the process
SMALLEST, LARGEST = -(2**63), 2**64 - 1  # what JSON is written with here

_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile("0|-?[1-9][0-9]*")
_OTHER_BASE = re.compile("0o[0-7]+|0x[0-9a-fA-F]+")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+")
LONGEST_NUMBER = 30  # characters; no number of 64 bits is written with more
_TEXT_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})


class Unreadable(Exception):
    """A document cannot be read: line and column from 0, problem and hint."""

    def __init__(self, line: int, column: int, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.line, self.column, self.problem, self.hint = line, column, problem, hint


def compose(text: str, most_values: int = MOST_VALUES) -> yaml.Node:
    """The nodes of the one document in a text; raises Unreadable. No tag is left to resolve."""
    if len(text) > LARGEST_DOCUMENT:
        raise Unreadable(
            0,
            0,
            f"The document has {len(text)} characters.",
            f"At most {LARGEST_DOCUMENT}: send it in parts.",
        )
    try:
        return _Composer(text, most_values).document()
    except yaml.MarkedYAMLError as error:
        raise _not_yaml(text, error) from None
    except yaml.reader.ReaderError as error:
        before = text.encode()[: error.position].decode(errors="ignore")
        raise _invalid_character(before, f"a control character ({error.character:#04x})") from None
    except UnicodeEncodeError as error:
        raise _invalid_character(text[: error.start], "half a character") from None


def scalar_value(node: yaml.ScalarNode) -> str | int | float | bool | None:
    """What a scalar says, by the core schema; raises Unreadable.

    A number is one only if it would be written the same: `0755`, `1.10`, `1e3`, `+31` and `.inf`
    stay text, which a field that wants a number reads as one.
    """
    text: str = node.value
    if node.style or node.tag in _TEXT_TAGS:
        if "\0" in text:
            raise _at(node, "The text holds a NUL character.", "Leave it out.")
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text) or _OTHER_BASE.fullmatch(text):
        number = int(text, 0) if len(text) <= LONGEST_NUMBER else LARGEST + 1
        if not SMALLEST <= number <= LARGEST:
            raise _at(
                node,
                f"This is a whole number of {len(text)} characters.",
                "A number has at most 64 bits; put it in quotes if it is a name.",
            )
        return number
    if len(text) <= LONGEST_NUMBER and _DECIMAL.fullmatch(text):
        decimal = float(text)
        return decimal if repr(decimal) == text else text
    return text


class _Composer:
    """Nodes from events. A node that an alias repeats counts each time with all that is in it."""

    def __init__(self, text: str, most_values: int) -> None:
        self._most_values = most_values
        self._next: Any = yaml.CSafeLoader(text).get_event
        self._values = 0
        self._anchors: dict[str, tuple[yaml.Node, int] | None] = {}
        """Node and number of values by anchor; None while the node is being composed."""

    def document(self) -> yaml.Node:
        self._next()  # the stream begins
        if isinstance(self._next(), yaml.StreamEndEvent):
            raise Unreadable(0, 0, "The document is empty.", "Write the definition into it.")
        node = self._node(self._next(), 0)
        self._next()  # the document ends
        event = self._next()
        if not isinstance(event, yaml.StreamEndEvent):
            raise _at(event, "A second document begins here.", "Send one document at a time.")
        return node

    def _node(self, event: Any, depth: int) -> yaml.Node:
        begins, ends = event.start_mark, event.end_mark
        before = self._values
        if isinstance(event, yaml.AliasEvent):
            return self._repeated(event)
        self._count(event, 1)
        if event.anchor:
            self._anchors[event.anchor] = None
        node: yaml.Node
        if isinstance(event, yaml.ScalarEvent):
            _check_tag(event, _TEXT_TAGS)
            node = yaml.ScalarNode(event.tag or "", event.value, begins, ends, event.style)
        else:
            node = self._collection(event, depth + 1)
        if event.anchor:
            self._anchors[event.anchor] = (node, self._values - before)
        return node

    def _collection(self, event: Any, depth: int) -> yaml.Node:
        if depth > DEEPEST:
            raise _at(event, f"The document is more than {DEEPEST} levels deep.", "Flatten it.")
        _check_tag(event, ())
        begins = event.start_mark
        value: list[Any] = []
        if isinstance(event, yaml.SequenceStartEvent):
            while not isinstance(item := self._next(), yaml.SequenceEndEvent):
                value.append(self._node(item, depth))
            return yaml.SequenceNode("", value, begins)
        while not isinstance(key := self._next(), yaml.MappingEndEvent):
            name = self._key(key, depth)
            value.append((name, self._node(self._next(), depth)))
        return yaml.MappingNode("", value, begins)

    def _key(self, event: Any, depth: int) -> yaml.Node:
        node = self._node(event, depth)
        self._values -= 1  # a field counts once, not its name and its value
        if not isinstance(node, yaml.ScalarNode):
            raise _at(event, "This name is not text.", "Write a plain name before the colon.")
        if node.value == "<<" and not node.style:
            raise _at(
                event,
                "Merge keys (`<<`) are not part of YAML 1.2.",
                "Write the fields out, or put << in quotes if it is a name.",
            )
        return node

    def _repeated(self, event: yaml.AliasEvent) -> yaml.Node:
        if event.anchor not in self._anchors:
            raise _at(
                event,
                f"There is no anchor &{event.anchor} before this alias.",
                "Name one that stands above, or put the text in quotes.",
            )
        found = self._anchors[event.anchor]
        if found is None:
            raise _at(
                event,
                f"The document repeats itself without end (*{event.anchor} is inside itself).",
                "Write the value out.",
            )
        node, values = found
        self._count(event, values)
        return node

    def _count(self, event: Any, values: int) -> None:
        self._values += values
        if self._values > self._most_values:
            raise _at(
                event,
                f"The document holds more than {self._most_values} values,"
                " those counted that aliases repeat.",
                "Send it in parts.",
            )


def _check_tag(event: Any, known: frozenset[str] | tuple[str, ...]) -> None:
    if event.tag is not None and event.tag != "!" and event.tag not in known:
        raise _at(
            event, f"The tag {event.tag!r} is not read here.", "Leave it out; quote what is text."
        )


def _at(place: Any, problem: str, hint: str) -> Unreadable:
    mark = place.start_mark
    return Unreadable(mark.line, mark.column, problem, hint)


def _not_yaml(text: str, error: yaml.MarkedYAMLError) -> Unreadable:
    message = " ".join(filter(None, (error.context, error.problem)))
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return Unreadable(0, 0, f"This is not YAML: {message}.", "Check its beginning.")
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    is_tab = line[mark.column : mark.column + 1] == "\t"
    hint = "Indent with spaces." if is_tab else "Check indentation, colons and quotes."
    return Unreadable(mark.line, mark.column, f"This is not YAML: {message}.", hint)


def _invalid_character(before: str, message: str) -> Unreadable:
    *lines, last = before.split("\n")
    return Unreadable(
        len(lines), len(last), f"This cannot be read: {message}.", "Save it as UTF-8 text."
    )
