"""Steps and triggers in words, for those who look at a journey drawn."""

from services.journey.domain.definition import Send, Step, Trigger, Wait
from services.rules.written import period_in_words


def of_step(step: Step) -> str:
    """What a step does, in a few words."""
    if step.wait:
        return _of_wait(step.wait)
    if step.branch:
        return "Choose a way"
    if step.send:
        return _of_send(step.send)
    return f"End: {step.exit}"


def of_trigger(trigger: Trigger) -> str:
    """What a trigger asks, in a few words."""
    if trigger.event is None:
        return trigger.condition or ""
    asked = f" where {trigger.when}" if trigger.when else ""
    keyed = f", per {trigger.key}" if trigger.key else ""
    return f"{trigger.event}{asked}{keyed}"


def _of_wait(wait: Wait) -> str:
    if wait.period:
        return f"Wait {period_in_words(wait.period)}"
    if wait.until:
        zone = f" ({wait.time_zone.key})" if wait.time_zone else ""
        return f"Wait until {wait.until:%H:%M}{zone}"
    assert wait.timeout is not None
    return f"Wait for {of_trigger(wait)}, at most {period_in_words(wait.timeout)}"


def _of_send(send: Send) -> str:
    return f"Send {send.template} by {send.channel}, with consent to {send.purpose}"
