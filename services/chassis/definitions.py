"""Definitions as code: YAML read into a model; every problem has its line, field and remedy."""

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, ClassVar, TypeVar, cast

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from services.chassis.errors import RaakError

LARGEST_DOCUMENT = 2_000_000
MOST_PROBLEMS = 50

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
        if len(text) > LARGEST_DOCUMENT:
            raise InvalidDefinition(
                [
                    Problem(
                        1,
                        1,
                        "",
                        f"The document has {len(text)} characters.",
                        f"At most {LARGEST_DOCUMENT}.",
                    )
                ]
            )
        self._places: dict[Path, yaml.Mark] = {}
        self._repeated: list[Problem] = []
        self.value: Any = self._read(text)

    def _read(self, text: str) -> Any:
        loader = yaml.CSafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                raise InvalidDefinition(
                    [Problem(1, 1, "", "The document is empty.", "Write the definition into it.")]
                )
            self._note(node, ())
            value = cast(Any, loader).construct_document(node)
        except yaml.MarkedYAMLError as error:
            raise InvalidDefinition([_syntax_problem(error)]) from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise InvalidDefinition(
                [Problem(1, 1, "", f"This is not YAML ({error}).", "Save it as UTF-8 text.")]
            ) from None
        finally:
            cast(Any, loader).dispose()
        if self._repeated:
            raise InvalidDefinition(self._repeated)
        return value

    def _note(self, node: yaml.Node, path: Path) -> None:
        """Remember where every value begins; an alias is noted where it is used first."""
        self._places[path] = node.start_mark
        if isinstance(node, yaml.SequenceNode):
            for position, item in enumerate(node.value):
                self._note(item, (*path, position))
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                here = (*path, str(key.value))
                if here in self._places:
                    self._repeated.append(
                        Problem(
                            key.start_mark.line + 1,
                            key.start_mark.column + 1,
                            dotted(here),
                            f"{key.value!r} stands here a second time.",
                            "Keep one of the two.",
                        )
                    )
                self._note(value, here)

    def problem(self, path: Path, problem: str, hint: str, *, offset: int = 0) -> Problem:
        """A problem with the value at `path`, or with the nearest one around it that exists.

        `offset` counts characters into the value, for text that has columns of its own.
        """
        known = path
        while known not in self._places and known:
            known = known[:-1]
        mark = self._places.get(known)
        line, column = (mark.line + 1, mark.column + 1 + offset) if mark else (1, 1)
        return Problem(line, column, dotted(path), problem, hint)


def parse_yaml(text: str, model: type[M]) -> tuple[M, Source]:
    """Read a YAML document into a model; raises InvalidDefinition with every problem found.

    The source is returned too: what only its owner can check is reported with its places.
    """
    source = Source(text)
    try:
        return model.model_validate(source.value), source
    except ValidationError as error:
        raise InvalidDefinition(
            [_model_problem(source, details, model) for details in error.errors()]
        ) from None


def dotted(path: Path) -> str:
    """`("actions", 2, "key")` as `actions[2].key`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def did_you_mean(name: str, names: list[str]) -> str:
    """`Did you mean 'loyal'?`, or the names there are, or nothing to choose from."""
    near = get_close_matches(name, names, n=1)
    if near:
        return f"Did you mean {near[0]!r}?"
    listed = ", ".join(sorted(names)[:12])
    return f"There are: {listed}." if names else "There are none yet."


def _syntax_problem(error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    told = f"This is not YAML: {error.problem or error.context}."
    return Problem(line, column, "", told, "Check indentation, colons and quotes.")


def _model_problem(source: Source, details: ErrorDetails, model: type[BaseModel]) -> Problem:
    path = tuple(part for part in details["loc"] if _is_place(source, part))
    kind, given = details["type"], details["input"]
    if kind == "missing":
        return source.problem(path, "This is missing.", "Add it.")
    if kind == "extra_forbidden":
        hint = did_you_mean(str(path[-1]), _fields_at(model, path[:-1]))
        return source.problem(path, f"{path[-1]!r} is not known here.", hint)
    told = repr(given) if isinstance(given, str | int | float | bool | None) else "What is here"
    return source.problem(path, f"{told} does not fit.", f"{details['msg']}.")


def _is_place(source: Source, part: str | int) -> bool:
    """Leave pydantic's own words for union branches out of a path."""
    return isinstance(part, int) or not part.startswith(("function-", "tagged-", "list[", "dict["))


def _fields_at(model: type[BaseModel], path: Path) -> list[str]:
    """The field names of the model found by following a path, empty when it leads out of models."""
    here: Any = model
    for part in path:
        if isinstance(part, int):
            continue
        field = getattr(here, "model_fields", {}).get(part)
        here = _model_in(field.annotation) if field else None
    return list(getattr(here, "model_fields", {}))


def _model_in(annotation: Any) -> Any:
    """The first model named in an annotation such as `list[Action] | None`."""
    if hasattr(annotation, "model_fields"):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        if found := _model_in(inner):
            return found
    return None
