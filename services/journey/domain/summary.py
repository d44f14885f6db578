"""Steps and triggers in words, as a drawn journey shows them."""

from services.journey.domain.definition import Step, Trigger, Wait
from services.rules.definition_fields import format_period


def describe_step(step: Step) -> str:
    """What a step does, in a few words."""
    if step.wait:
        return _describe_wait(step.wait)
    if step.branch:
        return "Choose a way"
    if send := step.send:
        return f"Send {send.template} by {send.channel}, with consent to {send.purpose}"
    return f"End: {step.exit}"


def describe_trigger(trigger: Trigger) -> str:
    """What a trigger waits for, in a few words."""
    if trigger.event is None:
        return trigger.condition or ""
    condition = f" where {trigger.when}" if trigger.when else ""
    key = f", per {trigger.key}" if trigger.key else ""
    return f"{trigger.event}{condition}{key}"


def _describe_wait(wait: Wait) -> str:
    if wait.period:
        return f"Wait {format_period(wait.period)}"
    if wait.until:
        zone = f" ({wait.time_zone.key})" if wait.time_zone else ""
        return f"Wait until {wait.until:%H:%M}{zone}"
    assert wait.timeout is not None
    return f"Wait for {describe_trigger(wait)}, at most {format_period(wait.timeout)}"
