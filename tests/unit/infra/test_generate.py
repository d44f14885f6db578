"""What `make generate` writes is fresh, and docs/errors.md has every code, once."""

import re
from collections import defaultdict
from pathlib import Path

import pytest

from infra import error_reference, generate
from services.chassis.errors import RaakError

SHARED = {"LIMIT_EXCEEDED"}
"""Codes of several classes that mean the same in each of their places."""


def test_every_generated_file_is_fresh() -> None:
    assert list(generate.find_stale()) == [], "run `make generate`, and review what it changes"


def test_what_is_stale_is_found_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.setattr(generate, "PAGES", {page: lambda: "fresh"})

    before = list(generate.find_stale())
    changed = generate.generate()

    assert before == changed == ["page.md"]
    assert page.read_text() == "fresh"
    assert list(generate.find_stale()) == generate.generate() == []


# --- errors -----------------------------------------------------------------------------------


def test_no_code_has_two_meanings() -> None:
    """Classes share a code where one is a special case of the other, or the code is in SHARED."""
    by_code: dict[str, set[type[RaakError]]] = defaultdict(set)
    for error in error_reference.error_classes():
        by_code[error.code].add(error)

    unrelated = {
        code
        for code, errors in by_code.items()
        if not any(all(issubclass(error, base) for error in errors) for base in errors)
    }

    assert unrelated - {RaakError.code} == SHARED


def test_every_error_says_what_it_means_in_words_of_its_own() -> None:
    said = [entry.meaning for entry in error_reference.entries()]

    assert all(said)
    assert len(said) > 140


def test_codes_that_no_class_has_are_on_the_page_too() -> None:
    classes = {entry.code for entry in error_reference.entries()}
    literal = re.compile(r'"code": "([A-Z_]+)"')
    sources = (Path(str(module.__file__)).read_text() for module in error_reference.modules())
    literals = {code for text in sources for code in literal.findall(text)}

    assert literals - classes == error_reference.WITHOUT_CLASS.keys()


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("BODY_INCOMPLETE", "Send it again."),  # where it is raised
        ("PORT_TAKEN", "Is Raak running already? Otherwise choose others: --port 9000."),
        ("SCHEMA_STALE", "Run `raak schema`."),  # in its own `__init__`
        ("UNAUTHENTICATED", "Gateway and service must share one key pair"),  # a constant
    ],
)
def test_a_remedy_is_read_from_the_source(code: str, hint: str) -> None:
    hints = [h for entry in error_reference.entries() if entry.code == code for h in entry.hints]

    assert any(each.startswith(hint) for each in hints), hints
