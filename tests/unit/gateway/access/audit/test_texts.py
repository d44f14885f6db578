"""Definitions and conditions in the audit log: which they were, and no value of anybody."""

from hashlib import sha256

import pytest

from gateway.access.audit.record import Digests
from gateway.access.audit.texts import describe, digest_values

DIGEST = Digests(b"secret").of


def test_of_a_condition_the_facts_are_told_and_the_values_are_digests() -> None:
    said = digest_values(
        'traits.email == "ann@example.com" and traits.born > 1980 or "vip" in segments', DIGEST
    )

    email, born, vip = (DIGEST("text", value) for value in ("ann@example.com", "1980", "vip"))
    assert said == f"traits.email == {email} and traits.born > {born} or {vip} in segments"


@pytest.mark.parametrize(
    "condition",
    [
        'traits.name == "ann"',
        'traits["ann"] == True',
        'f"{traits.x} ann" == traits.y',
        "ann",
        "ann.smith == 1",
        "ann(traits.x)",
        "traits.x == ann.smith.ann",
        "ann smith",
        "ann@ann.example",
        "# ann\n",
        "(" * 500 + "ann",
        "ann\x00",
        "ann\ud800",
        "ann " * 10_000,
        "",
    ],
)
def test_no_value_can_be_read_in_what_is_said_of_a_condition(condition: str) -> None:
    said = digest_values(condition, DIGEST)

    assert "ann" not in said
    assert len(said) < 200


def test_of_a_definition_its_keys_and_the_hash_of_its_text_are_told() -> None:
    text = "segments:\n  - key: loyal\n    name: Ann\n  - key: 'lapsing'\n"

    said = describe([("publishSegment", "yaml", text)], DIGEST)

    assert said == {
        "published": [
            {
                "field": "publishSegment",
                "sha256": sha256(text.encode()).hexdigest(),
                "keys": ["loyal", "lapsing"],
            }
        ]
    }


def test_where_there_are_no_texts_nothing_is_said() -> None:
    assert describe([], DIGEST) == {}
