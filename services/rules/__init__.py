"""The condition language: parse, compile, explain. Pure: no I/O, no clock, no randomness.

One language for segments, policies and journeys, so the same condition gives the same answer
in every service. The manual is docs/conditions.md.
"""

from services.rules.condition import Condition, Needs
from services.rules.declaration import Declaration
from services.rules.errors import ConditionError
from services.rules.facts import Facts
from services.rules.flaw import DocumentPath, Flaw
from services.rules.history import (
    RecordedEvent,
    SeriesSet,
    SeriesState,
    next_expiry,
    observe,
    prune,
    rebuild,
)
from services.rules.parser import parse, series_from_json
from services.rules.ruleset import MISSING, FailedPart, RuleSet, evaluate
from services.rules.series import Series, merge_series
from services.rules.template import InvalidTemplate, Template, parse_template
from services.rules.vocabulary import DECISION, JOURNEY, ROOTS, SEGMENT, ConditionLimits, Vocabulary

__all__ = [
    "DECISION",
    "JOURNEY",
    "MISSING",
    "ROOTS",
    "SEGMENT",
    "Condition",
    "ConditionError",
    "ConditionLimits",
    "Declaration",
    "DocumentPath",
    "Facts",
    "FailedPart",
    "Flaw",
    "InvalidTemplate",
    "Needs",
    "RecordedEvent",
    "RuleSet",
    "Series",
    "SeriesSet",
    "SeriesState",
    "Template",
    "Vocabulary",
    "evaluate",
    "merge_series",
    "next_expiry",
    "observe",
    "parse",
    "parse_template",
    "prune",
    "rebuild",
    "series_from_json",
]
