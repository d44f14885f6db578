"""The pages about decisions cannot lie."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from services.chassis.errors import RaakError
from services.decision.domain import catalogue
from services.decision.domain.catalogue import ActionKind
from services.decision.domain.catalogue_validation import find_warnings
from services.decision.domain.trace import Stage
from services.decision.service import errors
from services.decision.service.catalogue_cache import read_catalogue

DOCS = Path(__file__).parents[3] / "docs"
REFERENCE = (DOCS / "catalogue.md").read_text()
EXPLAINED = (DOCS / "decisions-explained.md").read_text()
PARTS = [
    part
    for part in vars(catalogue).values()
    if isinstance(part, type) and issubclass(part, catalogue.CataloguePart) and part.model_fields
]


def test_the_example_catalogue_can_be_published_without_a_warning() -> None:
    [example] = re.findall(r"```yaml\n(.*?)```", REFERENCE, re.DOTALL)

    compiled = read_catalogue(example, 1)

    assert len(compiled.actions) == 2
    assert find_warnings(compiled.catalogue) == []


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_every_field_is_described(part: type[BaseModel]) -> None:
    for name, field in part.model_fields.items():
        assert f"`{field.alias or name}`" in REFERENCE


def test_every_kind_stage_and_error_is_described() -> None:
    codes = {
        error.code
        for error in vars(errors).values()
        if isinstance(error, type)
        and issubclass(error, RaakError)
        and error.__module__ == errors.__name__
    }

    assert {kind for kind in ActionKind if f"`{kind}`" not in REFERENCE} == set()
    assert {stage for stage in Stage if f"| `{stage}` |" not in EXPLAINED} == set()
    assert {code for code in codes if f"`{code}`" not in EXPLAINED} == set()


def test_the_stages_are_described_in_their_order() -> None:
    stages = re.findall(r"^\| `([A-Z_]+)` \| (?!what)", EXPLAINED, re.MULTILINE)

    assert [stage for stage in stages if stage in set(Stage)] == list(Stage)
