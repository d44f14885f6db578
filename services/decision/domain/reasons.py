"""One sentence an agent can say aloud about why a customer is offered something."""

from services.decision.domain.catalogue import Action, ActionKind


def compose_reason(
    action: Action, because: str | None, propensity: float, usual_propensity: float
) -> str:
    """A reason for an action whose author wrote none, from what raised it.

    `because` is that of the context weight that raised it most; `usual_propensity` is the mean
    over all treatments.
    """
    if because:
        return f"{action.name}: now, because {because.rstrip('.')}."
    if action.kind is ActionKind.SERVICE_MESSAGE:
        return f"{action.name}: this is good to know for you now."
    if propensity > usual_propensity:
        return f"{action.name}: many customers in this place gladly say yes to it."
    return f"{action.name}: it is open to you now and may suit you."
