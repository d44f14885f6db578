"""One sentence an agent can say aloud about why a customer is offered something."""

from services.decision.domain.catalogue import Action, ActionKind


def composed(
    action: Action, because: str | None, propensity: float, usual_propensity: float
) -> str:
    """A sentence from what spoke for the action, when its author wrote none.

    `because` comes from the context weight that raised it most; `usual_propensity` is what the
    average action reaches.
    """
    if because:
        return f"{action.name}: now, because {because.rstrip('.')}."
    if action.kind is ActionKind.SERVICE_MESSAGE:
        return f"{action.name}: this is good to know for you now."
    if propensity > usual_propensity:
        return f"{action.name}: many customers in this place gladly say yes to it."
    return f"{action.name}: it is open to you now and may suit you."
