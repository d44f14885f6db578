"""A journey made ready to run: its ways looked up, its conditions compiled, its needs known."""

from collections.abc import Iterable, Mapping
from functools import cached_property

from services.contracts.base import Json
from services.journey.domain.definition import Definition, Step, Trigger
from services.rules import (
    JOURNEY,
    PASSED,
    Facts,
    Needs,
    RuleSet,
    Series,
    Template,
    compile_rules,
    parse,
    read_template,
)
from services.rules.template import Keys, keys_of


def personal(content: Json) -> Template:
    """The content of a message, its placeholders read; raises InvalidTemplate."""
    return read_template(content, roots=("traits", "event"), alone=("key",))


class Journey:
    """One version of a definition. Only sound definitions (`checks.flaws`) can be made ready."""

    def __init__(self, definition: Definition, version: int) -> None:
        self.definition = definition
        self.version = version
        self.steps: Mapping[str, Step] = {step.key: step for step in definition.steps}
        self.following: Mapping[str, str | None] = {
            step.key: definition.following(position)
            for position, step in enumerate(definition.steps)
        }
        self.contents: Mapping[str, Template] = {
            step.key: personal(step.send.content) for step in definition.steps if step.send
        }
        self._rules = {source: _compiled(source) for source in sorted(_sources(definition))}

    @property
    def key(self) -> str:
        """The journey's key."""
        return self.definition.key

    @property
    def conditions(self) -> frozenset[str]:
        """All conditions, as they are written."""
        return frozenset(self._rules)

    @property
    def first(self) -> str:
        """The step an instance begins with."""
        return self.definition.steps[0].key

    @cached_property
    def triggers(self) -> tuple[Trigger, ...]:
        """Everything that can set an instance going, on its way, or aside."""
        waits = [step.wait for step in self.definition.steps if step.wait and step.wait.given]
        return (self.definition.entry, *self.definition.exit_when, *waits)

    @cached_property
    def event_names(self) -> frozenset[str]:
        """The events the journey listens to."""
        return frozenset(trigger.event for trigger in self.triggers if trigger.event)

    @cached_property
    def watches_customer(self) -> bool:
        """Whether a change of the customer alone, without an event, can matter."""
        return any(trigger.event is None for trigger in self.triggers)

    @cached_property
    def needs(self) -> Needs:
        """What all its conditions look at."""
        return Needs.of(rules.conditions[0] for rules in self._rules.values())

    @property
    def series(self) -> frozenset[Series]:
        """The histories its conditions ask for."""
        return self.needs.series

    @cached_property
    def purposes(self) -> frozenset[str]:
        """The consents it asks for, in conditions and to send."""
        sends = {step.send.purpose for step in self.definition.steps if step.send}
        return self.needs.purposes | sends

    @cached_property
    def traits(self) -> frozenset[str]:
        """The traits its conditions and contents show or compare."""
        return self.needs.traits | _below(("traits",), self._placeholders)

    @cached_property
    def properties(self) -> frozenset[str]:
        """The properties of events its conditions, keys and contents use: no others are kept."""
        keys = {keys_of(trigger.key) for trigger in self.triggers if trigger.key}
        return self.needs.event | _below(("event", "properties"), keys | self._placeholders)

    @cached_property
    def _placeholders(self) -> set[Keys]:
        return {one.keys for content in self.contents.values() for one in content.placeholders}

    def holds(self, condition: str | None, facts: Facts) -> bool:
        """Whether one of its conditions is true; none always is."""
        return condition is None or self._rules[condition](facts)[0] == PASSED


def _compiled(source: str) -> RuleSet:
    return compile_rules([parse(source, JOURNEY)])


def _sources(definition: Definition) -> set[str]:
    triggers: list[Trigger] = [definition.entry, *definition.exit_when]
    triggers += [step.wait for step in definition.steps if step.wait]
    cases = [case.when for step in definition.steps for case in step.branch or ()]
    return {trigger.condition for trigger in triggers if trigger.condition} | set(cases)


def _below(root: Keys, found: Iterable[Keys]) -> set[str]:
    """The names directly below a root: `home` for `traits.home.city`."""
    depth = len(root)
    return {keys[depth] for keys in found if keys[:depth] == root and len(keys) > depth}
