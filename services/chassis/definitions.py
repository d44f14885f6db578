"""Definitions as code: YAML read into a model; every problem has its line, field and remedy."""

from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, cast, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from services.chassis.errors import RaakError, nearest

LARGEST_DOCUMENT = 2_000_000
MOST_VALUES = 200_000  # about 200 MB while it is read; 1,000 actions need some 50,000
DEEPEST = 50  # libyaml recurses: 100,000 open brackets would end the process
MOST_PROBLEMS = 50
MOST_READ = 1_000  # of the problems pydantic finds: near names cost 50 µs each
LONGEST_SHOWN = 80

Path = tuple[str | int, ...]
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at one place; lines and columns count from 1, `path` reads `actions[2].key`."""

    line: int
    column: int
    path: str
    problem: str
    hint: str

    def __str__(self) -> str:
        where = f" {self.path}:" if self.path else ""
        return f"line {self.line}, column {self.column}:{where} {self.problem} {self.hint}"


class InvalidDefinition(RaakError):
    """A definition cannot be used; `problems` says all that is wrong with it."""

    code: ClassVar[str] = "INVALID_DEFINITION"

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(problems, key=lambda p: (p.line, p.column))[:MOST_PROBLEMS]
        count = f"{len(problems)} problems" if len(problems) > 1 else "1 problem"
        told = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(
            f"The definition has {count}:\n{told}\n", hint="Mend these and send it again."
        )

    def as_json(self) -> dict[str, Any]:
        """The error with its problems, one by one."""
        problems = [
            {
                "line": p.line,
                "column": p.column,
                "path": p.path,
                "problem": p.problem,
                "hint": p.hint,
            }
            for p in self.problems
        ]
        return {**super().as_json(), "problems": problems}


class Source:
    """A YAML document that remembers where each of its values stood."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()
        self._values: dict[Path, yaml.Node] = {}
        self._keys: dict[Path, yaml.Mark] = {}
        self._repeated: list[Problem] = []
        self.value: Any = self._read(text)

    def _read(self, text: str) -> Any:
        try:
            _refuse_oversized(text)
            loader = yaml.CSafeLoader(text)
            node = loader.get_single_node()
            if node is None:
                raise _Refused("The document is empty.", "Write the definition into it.")
            self._note(node, ())
            value = cast(Any, loader).construct_document(node)
        except _Refused as refusal:
            raise InvalidDefinition([Problem(1, 1, "", *refusal.args)]) from None
        except yaml.MarkedYAMLError as error:
            raise InvalidDefinition([self._syntax_problem(error)]) from None
        except (yaml.YAMLError, ValueError) as error:
            told = f"This cannot be read ({' '.join(str(error).split())})."
            raise InvalidDefinition(
                [Problem(1, 1, "", told, "Save it as UTF-8 text, and put odd values in quotes.")]
            ) from None
        if self._repeated:
            raise InvalidDefinition(self._repeated)
        return value

    def _syntax_problem(self, error: yaml.MarkedYAMLError) -> Problem:
        told = " ".join(filter(None, (error.context, error.problem)))
        mark = error.problem_mark or error.context_mark
        if mark is None:
            return Problem(1, 1, "", f"This is not YAML: {told}.", "Check its beginning.")
        line = self._lines[mark.line] if mark.line < len(self._lines) else ""
        is_tab = line[mark.column : mark.column + 1] == "\t"
        hint = "Indent with spaces." if is_tab else "Check indentation, colons and quotes."
        return _problem_at(mark, (), f"This is not YAML: {told}.", hint)

    def _note(self, node: yaml.Node, path: Path) -> None:
        """Remember where every value stands; what an alias repeats counts every time."""
        if len(path) > DEEPEST or len(self._values) > MOST_VALUES:
            raise _Refused(
                "The document repeats itself without end (`*` and `&`).",
                f"Written out it may hold {MOST_VALUES} values, {DEEPEST} deep.",
            )
        self._values[path] = node
        if isinstance(node, yaml.SequenceNode):
            for position, item in enumerate(node.value):
                self._note(item, (*path, position))
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                here = (*path, str(key.value))
                if here in self._keys:
                    told = f"{key.value!r} stands here a second time."
                    self._repeated.append(
                        _problem_at(key.start_mark, here, told, "Keep one of the two.")
                    )
                self._keys[here] = key.start_mark
                self._note(value, here)

    def problem(self, path: Path, problem: str, hint: str, *, offset: int | None = None) -> Problem:
        """A problem with the value at `path`, or with the nearest one around it that exists.

        `offset` counts characters into the value, for text that has columns of its own.
        """
        known = path
        while known not in self._values and known:
            known = known[:-1]
        node = self._values[known]
        line, column = node.start_mark.line, node.start_mark.column
        if offset is not None and isinstance(node, yaml.ScalarNode):
            line, column = self._inside(node, offset)
        return Problem(line + 1, column + 1, dotted(path), problem, hint)

    def _inside(self, node: yaml.ScalarNode, offset: int) -> tuple[int, int]:
        """Line and column, from 0, of a character of a value; a line break counts as one."""
        line, column = node.start_mark.line, node.start_mark.column
        if node.style in ("|", ">"):
            line, column = line + 1, self._indentation(line + 1)
        elif node.style in ("'", '"'):
            column += 1
        while line < node.end_mark.line and offset > (rest := len(self._lines[line]) - column):
            offset -= rest + 1
            line, column = line + 1, self._indentation(line + 1)
        return line, column + offset

    def _indentation(self, line: int) -> int:
        text = self._lines[line] if line < len(self._lines) else ""
        return len(text) - len(text.lstrip())

    def problem_with_key(self, path: Path, problem: str, hint: str) -> Problem:
        """A problem with the name a value has been given, not with the value."""
        mark = self._keys.get(path)
        return _problem_at(mark, path, problem, hint) if mark else self.problem(path, problem, hint)


def parse_yaml(text: str, model: type[M]) -> tuple[M, Source]:
    """Read a YAML document into a model; raises InvalidDefinition with every problem found.

    The source is returned too: what only its owner can check is reported with its places.
    """
    source = Source(text)
    try:
        return model.model_validate(source.value), source
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)[:MOST_READ]
        raise InvalidDefinition(
            [_model_problem(source, details, model) for details in found]
        ) from None


def dotted(path: Path) -> str:
    """`("actions", 2, "key")` as `actions[2].key`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


class _Refused(Exception):
    """A document as a whole cannot be used: problem and hint."""


def _refuse_oversized(text: str) -> None:
    """Raise before a hostile document is composed, which takes memory and the C stack."""
    if len(text) > LARGEST_DOCUMENT:
        raise _Refused(f"The document has {len(text)} characters.", f"At most {LARGEST_DOCUMENT}.")
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=yaml.CSafeLoader)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST:
            raise _Refused(f"The document is more than {DEEPEST} levels deep.", "Flatten it.")
        if count > 2 * MOST_VALUES:  # a mapping has two events a value: its key and itself
            raise _Refused(
                f"The document holds more than {MOST_VALUES} values.", "Send it in parts."
            )


def _problem_at(mark: yaml.Mark, path: Path, problem: str, hint: str) -> Problem:
    return Problem(mark.line + 1, mark.column + 1, dotted(path), problem, hint)


def _model_problem(source: Source, details: ErrorDetails, model: type[BaseModel]) -> Problem:
    kind, given = details["type"], details["input"]
    path = _path_in(source.value, details["loc"], missing=kind == "missing")
    if kind == "missing":
        return source.problem(path, "This is missing.", "Add it.")
    if kind == "extra_forbidden":
        hint = nearest(str(path[-1]), _fields_at(model, path[:-1]))
        return source.problem_with_key(path, f"{path[-1]!r} is not known here.", hint)
    if kind == "invalid_key" or details["loc"][-1:] == ("[key]",):
        hint = "Put it in quotes: YAML reads on, off, yes and no as true and false."
        return source.problem(path[:-1], f"The name {given!r} is not text.", hint)
    told = shown(given) if isinstance(given, str | int | float | bool | None) else "What is here"
    return source.problem(path, f"{told} does not fit.", f"{details['msg']}.")


def shown(value: object) -> str:
    """A value as an error may quote it, cut when it is long."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"


def _path_in(value: Any, loc: Path, *, missing: bool) -> Path:
    """Where in the document an error is: without pydantic's own words for branches of a union."""
    path: list[str | int] = []
    for position, part in enumerate(loc):
        if _has(value, part):
            value = value[part]
            path.append(part)
        elif missing and position == len(loc) - 1:
            path.append(part)
    return tuple(path)


def _has(value: Any, part: str | int) -> bool:
    if isinstance(value, list):
        return isinstance(part, int) and part < len(value)
    return isinstance(value, dict) and part in value


def _fields_at(model: type[BaseModel], path: Path) -> list[str]:
    """The names a document may use at a path, of all models that may stand there."""
    here: list[Any] = [model]
    for part in path:
        if isinstance(part, str):
            fields = [found for each in here if (found := _field(each, part))]
            here = [inner for field in fields for inner in _models_in(field.annotation)]
    return [field.alias or name for each in here for name, field in each.model_fields.items()]


def _field(model: type[BaseModel], name: str) -> FieldInfo | None:
    """The field a document calls `name`."""
    for own, field in model.model_fields.items():
        if name in (own, field.alias):
            return field
    return None


def _models_in(annotation: Any) -> list[Any]:
    """The models named in an annotation such as `list[Offer | Message] | None`."""
    if hasattr(annotation, "model_fields"):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models_in(inner)]
