"""Definitions as code: YAML read into a model; every problem has its line, field and remedy."""

from dataclasses import asdict, dataclass
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from services.chassis.errors import RaakError, nearest
from services.chassis.yaml_core import (
    DEEPEST,
    MOST_VALUES,
    Unreadable,
    compose,
    scalar_value,
)

MOST_PROBLEMS = 50
MOST_READ = 1_000  # of the problems pydantic finds: near names cost 50 µs each
MAX_QUOTE = 80

Path = tuple[str | int, ...]
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class DefinitionProblem:
    """What is wrong at one place; lines and columns count from 1, `path` reads `actions[2].key`."""

    line: int
    column: int
    path: str
    problem: str
    hint: str

    def __str__(self) -> str:
        where = f" {self.path}:" if self.path else ""
        return f"line {self.line}, column {self.column}:{where} {self.problem} {self.hint}"


class InvalidDefinition(RaakError, code="INVALID_DEFINITION"):
    """A definition cannot be used; `problems` says all that is wrong with it."""

    def __init__(self, problems: list[DefinitionProblem]) -> None:
        self.problems = sorted(problems, key=lambda p: (p.line, p.column))[:MOST_PROBLEMS]
        count = f"{len(problems)} problems" if len(problems) > 1 else "1 problem"
        message = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(
            f"The definition has {count}:\n{message}\n", hint="Fix these and send it again."
        )

    def as_json(self) -> dict[str, Any]:
        return {**super().as_json(), "problems": list(map(asdict, self.problems))}


class DefinitionSource:
    """A YAML 1.2 document with the position of each value; raises InvalidDefinition.

    Takes up to 10 µs a value: run it in a thread.
    """

    def __init__(self, text: str, most_values: int = MOST_VALUES) -> None:
        self._lines = text.splitlines()
        self._values: dict[Path, yaml.Node] = {}
        self._keys: dict[Path, yaml.Mark] = {}
        self._repeated: list[DefinitionProblem] = []
        self.value: Any = self._read(text, most_values)

    def _read(self, text: str, most_values: int) -> Any:
        try:
            value = self._record(compose(text, most_values), ())
        except Unreadable as error:
            line, column = error.line + 1, error.column + 1
            raise InvalidDefinition(
                [DefinitionProblem(line, column, "", error.problem, error.hint)]
            ) from None
        if self._repeated:
            raise InvalidDefinition(self._repeated)
        return value

    def _record(self, node: yaml.Node, path: Path) -> Any:
        """The value of a node; records the position of every value in it."""
        if len(path) > DEEPEST:
            mark = node.start_mark
            raise Unreadable(
                mark.line,
                mark.column,
                f"What aliases repeat is more than {DEEPEST} levels deep.",
                "Write it out, flatter.",
            )
        self._values[path] = node
        if isinstance(node, yaml.SequenceNode):
            return [self._record(item, (*path, n)) for n, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return {key.value: self._record_field(key, value, path) for key, value in node.value}
        assert isinstance(node, yaml.ScalarNode)
        return scalar_value(node)

    def _record_field(self, key: yaml.ScalarNode, value: yaml.Node, path: Path) -> Any:
        """The value of a field; names are text, however they are written."""
        field_path = (*path, key.value)
        if field_path in self._keys:
            message = f"{key.value!r} is here a second time."
            self._repeated.append(
                _problem_at(key.start_mark, field_path, message, "Keep one of the two.")
            )
        self._keys[field_path] = key.start_mark
        return self._record(value, field_path)

    def problem(
        self, path: Path, problem: str, hint: str, *, offset: int | None = None
    ) -> DefinitionProblem:
        """A problem at `path` or around it; `offset` counts characters into the value."""
        known = path
        while known not in self._values and known:
            known = known[:-1]
        node = self._values[known]
        line, column = node.start_mark.line, node.start_mark.column
        if offset is not None and isinstance(node, yaml.ScalarNode):
            line, column = self._inside(node, offset)
        return DefinitionProblem(line + 1, column + 1, format_path(path), problem, hint)

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

    def problem_with_key(self, path: Path, problem: str, hint: str) -> DefinitionProblem:
        mark = self._keys.get(path)
        return _problem_at(mark, path, problem, hint) if mark else self.problem(path, problem, hint)


def read_yaml(text: str) -> Any:
    """A YAML document as plain values; raises InvalidDefinition with line, column and remedy."""
    return DefinitionSource(text).value


def parse_yaml(
    text: str, model: type[M], *, most_values: int = MOST_VALUES
) -> tuple[M, DefinitionSource]:
    """Read a YAML document into a model; the source locates problems that its owner finds.

    Raises InvalidDefinition with every problem.
    """
    source = DefinitionSource(text, most_values)
    return read_model(source, model), source


def read_model(source: DefinitionSource, model: type[M]) -> M:
    try:
        return model.model_validate(source.value)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False)[:MOST_READ]
        raise InvalidDefinition(
            [_model_problem(source, details, model) for details in errors]
        ) from None


def format_path(path: Path) -> str:
    """`("actions", 2, "key")` as `actions[2].key`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _problem_at(mark: yaml.Mark, path: Path, problem: str, hint: str) -> DefinitionProblem:
    return DefinitionProblem(mark.line + 1, mark.column + 1, format_path(path), problem, hint)


def _model_problem(
    source: DefinitionSource, details: ErrorDetails, model: type[BaseModel]
) -> DefinitionProblem:
    kind, value = details["type"], details["input"]
    path = _path_in(source.value, details["loc"], missing=kind == "missing")
    if kind == "missing":
        return source.problem(path, "This is missing.", "Add it.")
    if kind == "extra_forbidden":
        hint = nearest(str(path[-1]), _fields_at(model, path[:-1]))
        return source.problem_with_key(path, f"{path[-1]!r} is not known here.", hint)
    message = quote(value) if isinstance(value, str | int | float | bool | None) else "What is here"
    return source.problem(path, f"{message} does not fit.", f"{details['msg']}.")


def quote(value: object) -> str:
    """A value as an error may quote it, cut when it is long."""
    text = repr(value)
    return text if len(text) <= MAX_QUOTE else f"{text[: MAX_QUOTE - 1]}…"


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
    """The names a document may use at a path, of all models allowed there."""
    models: list[Any] = [model]
    for part in path:
        if isinstance(part, str):
            fields = [found for each in models if (found := _field(each, part))]
            models = [inner for field in fields for inner in _models_in(field.annotation)]
    return [field.alias or name for each in models for name, field in each.model_fields.items()]


def _field(model: type[BaseModel], name: str) -> FieldInfo | None:
    fields = model.model_fields.items()
    return next((field for own, field in fields if name in (own, field.alias)), None)


def _models_in(annotation: Any) -> list[Any]:
    """The models named in an annotation such as `list[Offer | Message] | None`."""
    if hasattr(annotation, "model_fields"):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models_in(inner)]
