"""What is wrong with a definition, where, and what to do about it."""

import resource
import sys
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from services.chassis.definitions import (
    MOST_PROBLEMS,
    DefinitionProblem,
    InvalidDefinition,
    parse_yaml,
    read_yaml,
)
from services.chassis.yaml_core import LARGEST_DOCUMENT, MOST_VALUES


class Strict(BaseModel):
    """A part of a recipe."""

    model_config = ConfigDict(extra="forbid")


class Wait(Strict):
    """Do nothing for a while."""

    kind: Literal["wait"]
    minutes: int = Field(ge=1)


class Bake(Strict):
    """Do it in the oven."""

    kind: Literal["bake"]
    degrees: int
    since: int | list[int] | None = Field(default=None, alias="from")


class Recipe(Strict):
    """How to make one thing."""

    name: str
    when: str = ""
    serves: int = 4
    tags: dict[str, int] = {}
    steps: list[Annotated[Wait | Bake, Field(discriminator="kind")]] = []


def problems(text: str) -> list[DefinitionProblem]:
    """What is wrong with a recipe."""
    with pytest.raises(InvalidDefinition) as details:
        parse_yaml(text, Recipe)
    return details.value.problems


def the_problem(text: str) -> DefinitionProblem:
    """The one thing that is wrong with a recipe."""
    [problem] = problems(text)
    return problem


def test_a_good_definition_becomes_its_model() -> None:
    recipe, source = parse_yaml("name: Bread\nsteps: [{kind: bake, degrees: 230}]", Recipe)

    assert recipe.name == "Bread"
    assert recipe.steps == [Bake(kind="bake", degrees=230)]
    assert source.value["name"] == "Bread"


def test_a_missing_field_is_named_where_it_belongs() -> None:
    problem = the_problem("name: Bread\nsteps:\n  - kind: wait\n    minutes: 1\n  - kind: bake\n")

    assert problem == DefinitionProblem(5, 5, "steps[1].degrees", "This is missing.", "Add it.")


def test_an_unknown_field_is_told_at_its_name_with_the_near_one() -> None:
    text = "name: Bread\nsteps:\n- kind: bake\n  degrees: 230\n  form:\n    a: 1\n"

    problem = the_problem(text)

    assert (problem.line, problem.column, problem.path) == (5, 3, "steps[0].form")
    assert str(problem).endswith("'form' is not known here. Did you mean `from`?")


def test_an_unknown_field_without_a_near_one_gets_the_list() -> None:
    problem = the_problem("name: Bread\nzzz: 1\n")

    assert problem.hint == "Known: name, serves, steps, tags, when."


def test_a_wrong_type_is_told_with_the_value_and_its_place_in_a_union() -> None:
    problem = the_problem("name: Bread\nsteps:\n- kind: wait\n  minutes: soon\n")

    assert (problem.line, problem.column, problem.path) == (4, 12, "steps[0].minutes")
    assert problem.problem == "'soon' does not fit."
    assert "valid integer" in problem.hint


def test_a_value_out_of_bounds_is_told_with_its_bound() -> None:
    problem = the_problem("name: Bread\nsteps: [{kind: wait, minutes: 0}]\n")

    assert (problem.line, problem.column) == (2, 31)
    assert str(problem).endswith("0 does not fit. Input should be greater than or equal to 1.")


def test_every_branch_of_a_union_points_at_the_value() -> None:
    details = problems("name: Bread\nsteps: [{kind: bake, degrees: 1, from: noon}]\n")

    assert {(p.line, p.column, p.path) for p in details} == {(2, 40, "steps[0].from")}


def test_an_unknown_kind_is_told_with_the_kinds_there_are() -> None:
    problem = the_problem("name: Bread\nsteps:\n- kind: boil\n")

    assert (problem.line, problem.path) == (3, "steps[0]")
    assert "'wait', 'bake'" in problem.hint


def test_all_problems_are_told_at_once_from_top_to_bottom() -> None:
    details = problems("serves: many\nnmae: Bread\ntags: {a: b}\n")

    assert [(p.line, p.path) for p in details] == [
        (1, "name"),
        (1, "serves"),
        (2, "nmae"),
        (3, "tags.a"),
    ]


def test_a_repeated_key_is_told_where_it_stands_again() -> None:
    problem = the_problem("name: Bread\ntags:\n  a: 1\n  b: 2\n  a: 3\n")

    assert (problem.line, problem.column, problem.path) == (5, 3, "tags.a")
    assert problem.hint == "Keep one of the two."


def test_a_name_is_text_whatever_it_looks_like() -> None:
    recipe, _ = parse_yaml("name: Bread\ntags:\n  on: 1\n  7: 2\n  null: 3\n  1.10: 4\n", Recipe)

    assert recipe.tags == {"on": 1, "7": 2, "null": 3, "1.10": 4}


@pytest.mark.parametrize(
    "written",
    [
        *("NO", "yes", "on", "12:30", "1:1:1", "0755", "1.10", "1_000", "1e3", "+31", "-0", "0b1"),
        *("2026-01-01", "2026-01-01 10:00:00", ".inf", ".nan", "1.", ".5", "0" * 5_000, "<", "="),
        *("0.10000000000000000001", "12:30:45.5", "0o8", "0xg", "1.7976931348623157e+309"),
    ],
)
def test_what_would_be_written_otherwise_stays_what_was_written(written: str) -> None:
    assert read_yaml(f"content: {{value: {written}}}") == {"content": {"value": written}}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        *[("~", None), ("", None), ("null", None), ("true", True), ("False", False)],
        *[("12", 12), ("-7", -7), ("0o17", 15), ("0xff", 255), ("1.5", 1.5), ("-0.25", -0.25)],
        *[
            ("'12'", "12"),
            ("!!str 12", "12"),
            ("! true", "true"),
            ("18446744073709551615", 2**64 - 1),
        ],
    ],
)
def test_what_the_core_schema_knows_is_read_as_that(written: str, value: object) -> None:
    read = read_yaml(f"value: {written}\n")["value"]

    assert (read, type(read)) == (value, type(value))


def test_a_field_that_wants_a_number_reads_one_that_was_kept_as_text() -> None:
    recipe, _ = parse_yaml("name: Bread\nserves: 0012\n", Recipe)

    assert recipe.serves == 12


HOSTILE = {
    "sexagesimals": (f"key: {':'.join(['1'] * 80_000)}\nkey: 1", (2, 1), "a second time"),
    "doublings": (
        "a0: &a0 {x: 1}\n"
        + "".join(f"a{n}: &a{n}\n  <<: [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 20)),
        (3, 3),
        "Merge keys",
    ),
    "a merge key in a list": ("a: &a {x: 1}\nb:\n- {y: 1, <<: *a}\n", (3, 10), "Merge keys"),
    "scalars": (f"key: [{','.join(['1'] * 190_000)}]", (1, 40_003), f"than {MOST_VALUES} values"),
    "fields": (
        "".join(f"k{n}: 1\n" for n in range(100_000)),
        (MOST_VALUES, 1),
        f"than {MOST_VALUES} values",
    ),
    "a long integer": (f"a: 1\nkey: {'1' * 5_000}", (2, 6), "of 5000 characters"),
    "65 bits": (f"key: {2**64}", (1, 6), "at most 64 bits"),
    "a long hexadecimal": (f"key: 0x{'f' * 100_000}", (1, 6), "at most 64 bits"),
    "a tag": ("a: 1\nb: !!binary aGk=", (2, 4), "is not read here"),
    "a tag of a list": ("a: !!set {b, c}", (1, 4), "is not read here"),
    "a name that is a list": ("a: 1\n? [b]\n: 1", (2, 3), "This name is not text"),
    "a NUL": ('a: 1\nb: "x\\0y"', (2, 4), "NUL"),
    "a control character": ("name: Bread\nb: a\x07", (2, 5), "control character (0x07)"),
    "half an emoji": ("name: Bread\nb: a\ud83d", (2, 5), "half a character"),
    "half an emoji, escaped": ('a: 1\nb: "\\ud83d"', (2, 7), "This is not YAML"),
    "aliases too deep": (
        "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 60)),
        (1, 10),
        "levels deep",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_document_is_refused_where_it_becomes_one(name: str) -> None:
    text, place, expected = HOSTILE[name]

    with pytest.raises(InvalidDefinition) as details:
        read_yaml(text)

    [problem] = details.value.problems
    assert expected in str(problem)
    assert (problem.line, problem.column) == place


def test_a_document_is_left_as_soon_as_it_holds_too_much() -> None:
    beginning = "[" + "a," * MOST_VALUES

    problem = the_problem(beginning + "}} not yaml {{")

    assert f"more than {MOST_VALUES} values" in problem.problem


@pytest.mark.parametrize(
    ("text", "line", "column", "expected"),
    [
        ("name: Bread\nsteps: [1, 2\n", 3, 1, "Check indentation, colons and quotes."),
        ("name: Bread\ntags:\n\ta: 1\n", 3, 1, "Indent with spaces."),
        ("name: Bread\n--- \nname: Cake\n", 2, 1, "A second document begins"),
        ("name: !!python/name:os.system x\n", 1, 7, "is not read here"),
        ("name: *bread\n", 1, 7, "no anchor &bread"),
        ("name: Br\0ead\n", 1, 9, "Save it as UTF-8 text"),
        ("", 1, 1, "The document is empty."),
        ("# only a remark\n", 1, 1, "The document is empty."),
        ("- name: Bread\n", 1, 1, "does not fit"),
        ("x" * (LARGEST_DOCUMENT + 1), 1, 1, f"At most {LARGEST_DOCUMENT}:"),
    ],
)
def test_what_is_no_definition_at_all_is_told_with_a_remedy(
    text: str, line: int, column: int, expected: str
) -> None:
    problem = the_problem(text)

    assert expected in str(problem)
    assert (problem.line, problem.column) == (line, column)


def laughs(levels: int) -> str:
    """A document of `levels` lines that means ten to the power of `levels` values."""
    lines = ["l0: &l0 ha"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("bomb", "expected"),
    [
        (laughs(12), "that aliases repeat"),
        ("a: &a [*a]", "repeats itself without end"),
        ("[" * 100_000, "levels deep"),  # ended the process when libyaml composed it
        ("- " * 100_000, "levels deep"),
        ("[" + "a," * 999_000 + "]", f"more than {MOST_VALUES} values"),
    ],
    ids=["a billion laughs", "a snake", "brackets", "dashes", "crumbs"],
)
def test_a_bomb_is_put_out_before_it_takes_memory(bomb: str, expected: str) -> None:
    unit = 1 if sys.platform == "darwin" else 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    problem = the_problem(bomb)

    taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit
    assert expected in problem.problem
    assert taken < 300_000_000


def test_an_alias_is_a_fine_way_not_to_repeat_oneself() -> None:
    recipe, _ = parse_yaml("name: &it Bread\nwhen: *it\n", Recipe)

    assert recipe.when == "Bread"


def test_a_thousand_wrong_values_are_told_by_the_first_of_them() -> None:
    details = problems("name: Bread\ntags:\n" + "".join(f"  k{n}: x\n" for n in range(5_000)))

    assert len(details) == MOST_PROBLEMS
    assert details[0].line == 3


def test_a_long_value_is_not_repeated_at_length() -> None:
    problem = the_problem(f"name: Bread\nserves: {'x' * 100_000}\n")

    assert len(problem.problem) < 200


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("name: x\nwhen: abc ? def\n", 2, 11),
        ("name: x\nwhen: 'abc ? def'\n", 2, 12),
        ('name: x\nwhen: "abc ? def"\n', 2, 12),
        ("name: x\nwhen: >\n  abc ? def\n", 3, 7),
        ("name: x\nwhen: |\n    abc ? def\n", 3, 9),
        ("name: x\nwhen: >\n  abc\n  ? def\n", 4, 3),
        ("name: x\nwhen: |\n  abc\n  ? def\n", 4, 3),
        ("name: x\nwhen: abc\n  ? def\n", 3, 3),
    ],
)
def test_a_column_inside_a_value_is_found_however_it_is_written(
    text: str, line: int, column: int
) -> None:
    recipe, source = parse_yaml(text, Recipe)

    problem = source.problem(("when",), "Odd.", "Mend it.", offset=recipe.when.index("?"))

    assert (problem.line, problem.column) == (line, column)


def test_a_path_that_is_not_there_is_told_at_what_surrounds_it() -> None:
    _, source = parse_yaml("name: Bread\ntags:\n  a: 1\n", Recipe)

    problem = source.problem(("tags", "b"), "Odd.", "Mend it.")

    assert (problem.line, problem.column, problem.path) == (3, 3, "tags.b")


def test_the_error_lists_its_problems_for_machines_too() -> None:
    with pytest.raises(InvalidDefinition, match="has 2 problems") as details:
        parse_yaml("serves: many\n", Recipe)

    answer = details.value.as_json()

    assert answer["code"] == "INVALID_DEFINITION"
    assert [p["path"] for p in answer["problems"]] == ["name", "serves"]
    assert set(answer["problems"][0]) == {"line", "column", "path", "problem", "hint"}
