"""Steps and triggers in words, for those who look at a journey drawn."""

from datetime import timedelta

from services.journey.domain.definition import Send, Step, Trigger, Wait


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


def of_period(period: timedelta) -> str:
    """A period as it is written: `90m`, `2h`, `7d`."""
    seconds = int(period.total_seconds())
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def _of_wait(wait: Wait) -> str:
    if wait.period:
        return f"Wait {of_period(wait.period)}"
    if wait.until:
        zone = f" ({wait.time_zone.key})" if wait.time_zone else ""
        return f"Wait until {wait.until:%H:%M}{zone}"
    assert wait.timeout is not None
    return f"Wait for {of_trigger(wait)}, at most {of_period(wait.timeout)}"


def _of_send(send: Send) -> str:
    return f"Send {send.template} by {send.channel}, with consent to {send.purpose}"
