"""What can go wrong with a request to decision, and what to do about it."""

from services.chassis.errors import RaakError, Unavailable


class UnknownPlacement(RaakError, code="DECISION_UNKNOWN_PLACEMENT", status=404):
    """The catalogue has no such placement on the channel."""


class UnknownAction(RaakError, code="DECISION_UNKNOWN_ACTION", status=404):
    """The catalogue has no such action."""


class UnknownProposition(RaakError, code="DECISION_UNKNOWN_PROPOSITION", status=404):
    """No decision made this proposition."""

    def __init__(self, proposition: object) -> None:
        super().__init__(
            f"There is no proposition {str(proposition)!r}.",
            hint="Pass its id or trackingCode as nextBestActions returned it.",
        )


class OtherCustomer(RaakError, code="DECISION_OTHER_CUSTOMER", status=403):
    """An outcome names one customer, and its proposition was made for another."""

    def __init__(self, proposition: str) -> None:
        super().__init__(
            f"The proposition {proposition!r} was not made for the customer who is named.",
            hint="Pass the customer of the decision that the proposition is from.",
        )


class IdempotencyConflict(RaakError, code="DECISION_IDEMPOTENCY_CONFLICT", status=409):
    """An idempotency key that was used for another outcome."""


class InvalidOutcome(RaakError, code="DECISION_INVALID_OUTCOME"):
    """An outcome that cannot have happened like this."""


class UntrustedOutcome(RaakError, code="DECISION_SERVER_OUTCOME", status=403):
    """An outcome of a kind, or of a value, that only the company's servers may report."""


class UntrustedEvent(RaakError, code="DECISION_SERVER_EVENT", status=403):
    """A request's event that only the company's servers may send."""


class InvalidDecisionRequest(RaakError, code="DECISION_INVALID_REQUEST"):
    """A request for next best actions that cannot be answered."""


class ActionInUse(RaakError, code="ACTION_IN_USE", status=409):
    """A new catalogue would remove active actions that were offered lately."""


class DecisionNotDurable(Unavailable, code="DECISION_NOT_DURABLE"):
    """A decision could not be stored, so it is not returned."""


class DecisionsOverloaded(Unavailable, code="DECISION_OVERLOADED"):
    """More requests wait than can be answered in time."""
