"""What pydantic cannot check of a catalogue: keys are unique, and exist where they are used."""

from collections.abc import Iterable, Iterator
from typing import Any

from services.chassis.errors import nearest
from services.decision.domain.catalogue import Catalogue, Scope
from services.rules import DocumentPath, Flaw, InvalidTemplate, Template, parse_template

TEMPLATE_ROOTS = ("traits", "context", "event")
"""What placeholders in a catalogue may name."""
POLICIES = ("caps", "suppressions", "quiet_hours")


def parse_catalogue_template(content: object) -> Template:
    """Parse the placeholders of a text or a content; raises InvalidTemplate."""
    return parse_template(content, TEMPLATE_ROOTS)


def find_flaws(catalogue: Catalogue) -> list[Flaw]:
    """Find all that is wrong with a catalogue apart from its conditions."""
    return [
        *_find_repeated_keys(catalogue),
        *_find_unknown_placements(catalogue),
        *_find_unknown_scopes(catalogue),
        *_find_invalid_templates(catalogue),
        *_find_empty_periods(catalogue),
    ]


def find_warnings(catalogue: Catalogue) -> list[str]:
    """Find what is allowed, but probably a mistake."""
    used = {p for action in catalogue.actions for t in action.treatments for p in t.placements}
    return [
        *(f"Action {a.key!r} has no treatment, so it is never shown." for a in catalogue.actions
          if not a.treatments),
        *(f"No action has a treatment for placement {p.key!r}." for p in catalogue.placements
          if p.key not in used),
        *(f"Action {a.key!r} is worth 0 cents and can only come last." for a in catalogue.actions
          if a.value_cents == 0 and not a.value_by and a.kind == "OFFER"),
    ]  # fmt: skip


def _find_repeated_keys(catalogue: Catalogue) -> Iterator[Flaw]:
    policies = catalogue.contact_policies
    lists: list[tuple[DocumentPath, Iterable[Any]]] = [
        (("placements",), catalogue.placements),
        (("actions",), catalogue.actions),
        (("control_groups",), catalogue.control_groups),
        *((("contact_policies", name), getattr(policies, name)) for name in POLICIES),
        *((("actions", n, "treatments"), a.treatments) for n, a in enumerate(catalogue.actions)),
    ]
    for path, parts in lists:
        earlier: set[str] = set()
        for position, part in enumerate(parts):
            if part.key in earlier:
                problem = f"The key {part.key!r} stands here a second time."
                yield Flaw((*path, position, "key"), problem, "Give one of the two another key.")
            earlier.add(part.key)


def _find_unknown_placements(catalogue: Catalogue) -> Iterator[Flaw]:
    placements = {placement.key: placement for placement in catalogue.placements}
    for number, action in enumerate(catalogue.actions):
        for position, treatment in enumerate(action.treatments):
            for index, key in enumerate(treatment.placements):
                path = ("actions", number, "treatments", position, "placements", index)
                placement = placements.get(key)
                if placement is None:
                    problem = f"There is no placement {key!r}."
                    yield Flaw(path, problem, nearest(key, placements))
                elif treatment.channel not in placement.channels:
                    problem = f"Placement {key!r} is not on channel {treatment.channel}."
                    channels = ", ".join(placement.channels)
                    yield Flaw(path, problem, f"It is on {channels}: choose one, or add this one.")


def _find_unknown_scopes(catalogue: Catalogue) -> Iterator[Flaw]:
    known = {
        "issue": {action.issue for action in catalogue.actions},
        "group": {action.group for action in catalogue.actions},
        "action": {action.key for action in catalogue.actions},
    }
    for path, scope in _list_scopes(catalogue):
        for name, names in known.items():
            for position, key in enumerate(getattr(scope, name)):
                if key not in names:
                    problem = f"No action has the {name} {key!r}."
                    if name == "action":
                        problem = f"There is no action {key!r}."
                    yield Flaw((*path, name, position), problem, nearest(key, names))


def _list_scopes(catalogue: Catalogue) -> Iterator[tuple[DocumentPath, Scope]]:
    policies = catalogue.contact_policies
    for name in POLICIES:
        for position, policy in enumerate(getattr(policies, name)):
            yield ("contact_policies", name, position, "only"), policy.only
    for position, group in enumerate(catalogue.control_groups):
        yield ("control_groups", position, "withholds"), group.withholds


def _find_invalid_templates(catalogue: Catalogue) -> Iterator[Flaw]:
    for number, action in enumerate(catalogue.actions):
        texts: list[tuple[DocumentPath, object]] = [(("actions", number, "reason"), action.reason)]
        for position, treatment in enumerate(action.treatments):
            texts.append(
                (("actions", number, "treatments", position, "content"), treatment.content)
            )
        for path, text in texts:
            try:
                parse_catalogue_template(text)
            except InvalidTemplate as error:
                yield from (flaw.prefix(path) for flaw in error.flaws)


def _find_empty_periods(catalogue: Catalogue) -> Iterator[Flaw]:
    for number, action in enumerate(catalogue.actions):
        if action.valid_from and action.valid_until and action.valid_from >= action.valid_until:
            problem = f"{action.key!r} ends before it begins."
            yield Flaw(("actions", number, "valid_until"), problem, "Let valid_until be the later.")
