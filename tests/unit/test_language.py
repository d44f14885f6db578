"""One language: docs/glossary.md is the law of names, and this reads it."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
CODE = sorted(
    path
    for top in ("services", "gateway", "infra")
    for path in (ROOT / top).rglob("*.py")
    if "migrations" not in path.parts
)
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()

TWINS = {"tables", "schema"}
"""Rooms whose classes may be called as those of a domain are."""
NOT_OURS = {
    "connection_made": "asyncio calls it so",
    "outbox_kept_hours": "the setting RAAK_OUTBOX_KEPT_HOURS",
    "made_at": "a column",
    "seen_at": "a column",
    "GIVEN": "a status of consents in the graph",
    "DEFAULT_GIVEN": "a status of consents in the graph",
}
"""Names with a banned word, and why they stay."""
TRUTHS = ("is", "has", "can", "was")
GENDERED = re.compile(r"\b(he|him|his|himself|she|her|hers|herself)\b", re.IGNORECASE)
TEXTS = sorted(
    path
    for top in ("services", "gateway", "infra", "docs", "examples", "tests")
    for path in (ROOT / top).rglob("*")
    if path.suffix in (".py", ".md", ".graphql", ".yaml", ".html")
    and path != Path(__file__)
    and "node_modules" not in path.parts
)


class Row(NamedTuple):
    """A line of the glossary that names a class."""

    word: str
    name: str
    room: str


def glossary_rows() -> Iterator[Row]:
    for line in GLOSSARY.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[0] not in ("word", "---"):
            for name in re.findall(r"`(\w+)`", cells[2]):
                yield Row(cells[0], name, cells[3])


ROWS = list(glossary_rows())
BANNED = set(re.split(r",\s*", GLOSSARY.partition("## Not names")[2].strip()))


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def path_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.word}-{row.name}")
def test_what_the_glossary_names_stands_where_it_says(row: Row) -> None:
    names = {
        name
        for node in parse(ROOT / row.room).body
        for name in (
            [node.name]
            if isinstance(node, ast.ClassDef)
            else [target.id for target in node.targets if isinstance(target, ast.Name)]
            if isinstance(node, ast.Assign)
            else [node.target.id]
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
            else []
        )
    }

    assert row.name in names


def test_the_glossary_has_each_word_once() -> None:
    words = re.findall(r"^\| ([^|]+) \| [^|]+ \| [^|]* \| [^|]* \|$", GLOSSARY, flags=re.M)

    assert len(words) >= 80
    assert sorted({word for word in words if words.count(word) > 1} - {"word", "---"}) == []


def test_the_walks_of_the_architecture_lead_through_the_code() -> None:
    steps = re.findall(
        r"^\| [^|]+ \| `([\w/]+\.py)` \| `(\w+)` \|$",
        (ROOT / "docs" / "architecture.md").read_text(),
        flags=re.M,
    )

    assert len(steps) > 20
    for path, name in steps:
        assert name in {getattr(node, "name", "") for node in parse(ROOT / path).body}, (path, name)


def test_a_class_name_is_defined_once() -> None:
    places = defaultdict(list)
    for path in CODE:
        if not TWINS & {path.stem, path.parent.name}:
            for node in ast.walk(parse(path)):
                if isinstance(node, ast.ClassDef):
                    places[node.name].append(path_of(path))

    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_no_name_is_a_word_that_names_nothing() -> None:
    found = {
        f"{path_of(path)}: {name}"
        for path in CODE
        for name in names_in(parse(path))
        if name not in NOT_OURS and has_banned_word(name)
    }

    assert sorted(found) == []


def test_helpers_of_tests_have_names_of_the_same_language() -> None:
    """The names of tests are sentences, of variables their own business."""
    found = {
        f"{path_of(path)}: {node.name}"
        for path in (ROOT / "tests").rglob("*.py")
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("test_")
        and has_banned_word(node.name)
    }

    assert sorted(found) == []


def names_in(tree: ast.Module) -> Iterator[str]:
    """What a module names: its classes, functions, arguments, variables and attributes."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                yield name
            case ast.AsyncFunctionDef(name=name) | ast.arg(arg=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name


def has_banned_word(name: str) -> bool:
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower().strip("_").split("_")
    return words[0] not in TRUTHS and not BANNED.isdisjoint(words)


def test_customers_are_they_and_callers_it() -> None:
    lines = chain(
        *(
            ((path, number, line) for number, line in enumerate(path.read_text().splitlines(), 1))
            for path in (*TEXTS, *ROOT.glob("*.md"))
        )
    )

    found = [f"{path_of(p)}:{n}: {line.strip()}" for p, n, line in lines if GENDERED.search(line)]
    assert found == []
