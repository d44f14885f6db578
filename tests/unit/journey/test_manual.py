"""docs/journeys.md tells the truth: its journeys can be published, and nothing is left out."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from services.chassis.settings import ServiceSettings
from services.contracts.enums import Channel, OutcomeKind
from services.journey.domain.definition import (
    BranchCase,
    EntryTrigger,
    ExitTrigger,
    JourneyDefinition,
    OutboundMessage,
    ReentryRule,
    Step,
    Wait,
)
from services.journey.service.publishing import parse_definition
from services.journey.settings import JourneySettings

ROOT = Path(__file__).parents[3]
MANUAL = (ROOT / "docs" / "journeys.md").read_text()
EXAMPLES = sorted((ROOT / "examples").glob("*/journeys/*.yaml"))


def test_the_journeys_shown_can_be_published() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", MANUAL, re.DOTALL)

    assert examples
    for yaml in examples:
        assert parse_definition(yaml).name


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_journeys_can_be_published(path: Path) -> None:
    assert parse_definition(path.read_text()).key == path.stem


@pytest.mark.parametrize(
    "model", [JourneyDefinition, EntryTrigger, ExitTrigger, Step, Wait, BranchCase, OutboundMessage]
)
def test_every_field_is_explained(model: type[BaseModel]) -> None:
    for name, field in model.model_fields.items():
        written = field.alias or name
        assert re.search(rf"[`{{ ]{written}[`:]", MANUAL), f"{written} is missing"


def test_every_word_and_setting_is_explained() -> None:
    words = [*ReentryRule, *Channel, *(f"outcome_{kind.lower()}" for kind in OutcomeKind)]
    own = set(JourneySettings.model_fields) - set(ServiceSettings.model_fields)
    settings = [f"RAAK_JOURNEY_{name.upper()}" for name in own]

    for word in [*words, *settings]:
        assert f"`{word}`" in MANUAL, f"{word} is missing"
