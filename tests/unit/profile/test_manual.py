"""docs/profile.md tells the truth: its examples work, and nothing is left out."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from services.chassis.errors import RaakError
from services.chassis.settings import ServiceSettings
from services.contracts.enums import OutcomeKind, SenderClass
from services.contracts.identity import TYPES
from services.profile import app
from services.profile.domain.calls import Provenance
from services.profile.domain.enums import ConsentStatus, ContextCategory, LawfulBasis, TraitKind
from services.profile.domain.spec import CALLS, read_call
from services.profile.service.call_reader import CallReader
from services.profile.service.publishing import read_segments
from services.profile.settings import ProfileSettings

ROOT = Path(__file__).parents[3]
MANUAL = (ROOT / "docs" / "profile.md").read_text()
EXAMPLES = sorted((ROOT / "examples").glob("*/segments/*.yaml"))
NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
READER = CallReader(32 * 1024, timedelta(minutes=5))


def read_blocks(language: str) -> list[str]:
    """The examples in a language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", MANUAL, re.DOTALL)


def test_the_events_shown_are_taken_in() -> None:
    batch = orjson.loads(read_blocks("json")[0])

    calls, rejected = READER.read_all(batch["batch"], READER.open_batch(SenderClass.SERVER, NOW))

    assert [call.kind for call in calls] == ["track", "identify"]
    assert rejected == []


def test_the_provenance_shown_is_the_one_unsaid() -> None:
    fields = orjson.loads(read_blocks("json")[2])
    event = {"type": "identify", "userId": "u", **fields}

    assert read_call(event, READER.open_batch(SenderClass.SERVER, NOW)).provenance == Provenance()


def test_the_segments_shown_can_be_published() -> None:
    [yaml] = read_blocks("yaml")

    assert [segment.key for segment in read_segments(yaml)] == ["explorers", "reachable"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_segments_can_be_published(path: Path) -> None:
    assert read_segments(path.read_text())


def test_every_word_setting_and_error_is_explained() -> None:
    own = set(ProfileSettings.model_fields) - set(ServiceSettings.model_fields)
    words = [
        *CALLS,
        *TYPES,
        *TraitKind,
        *ContextCategory,
        *LawfulBasis,
        *ConsentStatus,
        *(f"outcome_{kind.lower()}" for kind in OutcomeKind),
        *(f"RAAK_PROFILE_{name.upper()}" for name in own),
        *codes(RaakError),
    ]

    missing = [word for word in words if f"`{word}`" not in MANUAL and f"/{word}`" not in MANUAL]

    assert app.create is not None  # everything that defines an error is imported
    assert missing == []


def codes(error: type[RaakError]) -> Iterator[str]:
    """The codes of profile's own errors, among an error and all its kinds."""
    if error.__module__.startswith("services.profile."):
        yield error.code
    for kind in error.__subclasses__():
        yield from codes(kind)
