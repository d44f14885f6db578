"""The shared examples of what conditions mean, run."""

from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.rules import (
    Condition,
    Facts,
    RecordedEvent,
    RuleSet,
    SeriesSet,
    parse,
    rebuild,
)

from .oracle import truth

FILE = yaml.safe_load((Path(__file__).parent / "vectors.yaml").read_text())
CUSTOMER: dict[str, Any] = FILE["customer"]
VECTORS: list[dict[str, Any]] = FILE["vectors"]
EVENTS = [RecordedEvent(*event) for event in CUSTOMER["events"]]


def facts_for(condition: Condition, changes: dict[str, Any]) -> Facts:
    known = {key: value for key, value in CUSTOMER.items() if key != "events"} | changes
    return Facts(
        **known
        | {
            "zone": timezone(timedelta(hours=known.get("zone", 0))),
            "segments": frozenset(known["segments"]),
            "history": rebuild(SeriesSet(condition.needs.series), EVENTS, CUSTOMER["now"]),
        }
    )


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["condition"])
def test_a_vector_means_what_it_says(vector: dict[str, Any]) -> None:
    condition = parse(vector["condition"])
    facts = facts_for(condition, vector.get("facts", {}))
    rules = RuleSet([condition])

    failed = {part.text: part.actual for part in rules.explain(0, facts)}

    assert failed == vector.get("failed", {})
    assert (rules(facts) == [True]) is (not failed)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["condition"])
def test_the_plain_interpreter_reads_a_vector_the_same_way(vector: dict[str, Any]) -> None:
    condition = parse(vector["condition"])
    facts = facts_for(condition, vector.get("facts", {}))

    assert truth(condition.source, facts, EVENTS) is ("failed" not in vector)


def test_all_vectors_compiled_together_answer_as_they_do_alone() -> None:
    usual = [vector for vector in VECTORS if "facts" not in vector]
    conditions = [parse(vector["condition"]) for vector in usual]
    rules = RuleSet(conditions)
    facts = facts_for(conditions[0], {})
    facts.history = rebuild(SeriesSet(rules.needs.series), EVENTS, facts.now)

    outcomes = rules(facts)

    assert outcomes == ["failed" not in one for one in usual]


def test_a_failed_or_shows_every_alternative_and_what_it_saw() -> None:
    condition = parse('traits.age > 50 or (consent.sms and traits.city == "Zeist") or consent.x')
    [failed] = RuleSet([condition]).explain(0, facts_for(condition, {}))

    [age, both, consent] = failed.within

    assert (age.text, age.actual) == ("traits.age > 50", 41)
    assert (consent.text, consent.actual) == ("consent.x", "missing")
    assert {part.text: part.actual for part in both.within} == {
        "consent.sms": False,
        'traits.city == "Zeist"': "Utrecht",
    }
    assert both.text == 'consent.sms and traits.city == "Zeist"'
