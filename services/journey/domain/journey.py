"""A journey ready to run: transitions looked up, conditions compiled, data needs collected."""

from collections.abc import Iterable, Mapping
from functools import cached_property

from services.contracts.base import Json
from services.journey.domain.definition import JourneyDefinition, Step, Trigger
from services.rules import (
    JOURNEY,
    Facts,
    Needs,
    RuleSet,
    Series,
    Template,
    parse,
    parse_template,
)
from services.rules.template import Keys, parse_path


def parse_content(content: Json) -> Template:
    """The content of a message as a template; raises InvalidTemplate."""
    return parse_template(content, roots=("traits", "event"), exact=("key",))


class Journey:
    """One version of a definition, compiled; it must be valid (`validation.find_flaws`)."""

    def __init__(self, definition: JourneyDefinition, version: int) -> None:
        self.definition = definition
        self.version = version
        self.steps: Mapping[str, Step] = {step.key: step for step in definition.steps}
        self.next_steps: Mapping[str, str | None] = {
            step.key: definition.next_step(position)
            for position, step in enumerate(definition.steps)
        }
        self.contents: Mapping[str, Template] = {
            step.key: parse_content(step.send.content) for step in definition.steps if step.send
        }
        self._rules = {
            source: _compile_condition(source) for source in sorted(_find_conditions(definition))
        }

    @property
    def key(self) -> str:
        return self.definition.key

    @property
    def conditions(self) -> frozenset[str]:
        """All conditions, as the definition writes them."""
        return frozenset(self._rules)

    @property
    def first_step(self) -> str:
        return self.definition.steps[0].key

    @cached_property
    def triggers(self) -> tuple[Trigger, ...]:
        """All triggers: of entry, of exit, of waits."""
        waits = [step.wait for step in self.definition.steps if step.wait and step.wait.is_set]
        return (self.definition.entry, *self.definition.exit_when, *waits)

    @cached_property
    def event_names(self) -> frozenset[str]:
        return frozenset(trigger.event for trigger in self.triggers if trigger.event)

    @cached_property
    def watches_customer(self) -> bool:
        """Whether a changed snapshot, without an event, can move an instance or let someone in."""
        return any(trigger.event is None for trigger in self.triggers)

    @cached_property
    def needs(self) -> Needs:
        return Needs.from_conditions(rules.conditions[0] for rules in self._rules.values())

    @property
    def series(self) -> frozenset[Series]:
        return self.needs.series

    @cached_property
    def purposes(self) -> frozenset[str]:
        """The purposes of consent it reads, in conditions and to send."""
        sends = {step.send.purpose for step in self.definition.steps if step.send}
        return self.needs.purposes | sends

    @cached_property
    def traits(self) -> frozenset[str]:
        """The traits its conditions and contents read."""
        return self.needs.traits | _names_below(("traits",), self._placeholders)

    @cached_property
    def properties(self) -> frozenset[str]:
        """The event properties its conditions, keys and contents read: no others are stored."""
        keys = {parse_path(trigger.key) for trigger in self.triggers if trigger.key}
        return self.needs.event | _names_below(("event", "properties"), keys | self._placeholders)

    @cached_property
    def _placeholders(self) -> set[Keys]:
        return {one.keys for content in self.contents.values() for one in content.placeholders}

    def is_true(self, condition: str | None, facts: Facts) -> bool:
        """Whether one of its conditions is true; None always is."""
        return condition is None or self._rules[condition](facts)[0]


def _compile_condition(source: str) -> RuleSet:
    return RuleSet([parse(source, JOURNEY)])


def _find_conditions(definition: JourneyDefinition) -> set[str]:
    triggers: list[Trigger] = [definition.entry, *definition.exit_when]
    triggers += [step.wait for step in definition.steps if step.wait]
    cases = [case.when for step in definition.steps for case in step.branch or ()]
    return {trigger.condition for trigger in triggers if trigger.condition} | set(cases)


def _names_below(root: Keys, found: Iterable[Keys]) -> set[str]:
    """The names directly below a root: `home` for `traits.home.city`."""
    depth = len(root)
    return {keys[depth] for keys in found if keys[:depth] == root and len(keys) > depth}
