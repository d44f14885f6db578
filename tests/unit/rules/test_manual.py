"""The manual says what is true: its examples run, and it leaves nothing out."""

import dataclasses
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.rules import ROOTS, SEGMENT, ConditionLimits, Facts, evaluate, parse
from services.rules.functions import AGGREGATES, PUBLIC

MANUAL = (Path(__file__).parents[3] / "docs" / "conditions.md").read_text()
EXAMPLES = re.findall(r"```condition\n(.*?)```", MANUAL, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_the_manual_can_be_decided(example: str) -> None:
    nobody = Facts(now=datetime(2026, 6, 15, tzinfo=UTC))

    assert evaluate(parse(example), nobody) is ("missing(" in example)


def test_the_manual_names_every_function_aggregate_and_root() -> None:
    words = set(re.findall(r"`(?:events\.)?(\w+)", MANUAL))

    assert len(EXAMPLES) >= 5
    assert {*PUBLIC, *AGGREGATES, *ROOTS} <= words


def test_the_manual_gives_every_limit_its_value() -> None:
    limits = [int(value) for value in re.findall(r"^\| .* \| (\d+) \|$", MANUAL, re.MULTILINE)]

    assert limits == list(dataclasses.asdict(ConditionLimits()).values())


def test_the_manual_tells_what_a_segment_may_use() -> None:
    everywhere = {
        root for root in ROOTS if re.search(rf"^\| `{root}\..*\| everywhere \|$", MANUAL, re.M)
    }

    assert everywhere == SEGMENT.roots
