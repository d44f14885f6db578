"""What can go wrong with a request to decision, and what to do about it."""

from services.chassis.errors import RaakError, Unavailable


class InvalidCustomerRef(RaakError):
    """A reference to a customer that names none, or two."""

    code = "INVALID_CUSTOMER_REF"


class UnknownPlacement(RaakError):
    """The catalogue has no such placement on the channel."""

    code = "DECISION_UNKNOWN_PLACEMENT"
    status = 404


class UnknownAction(RaakError):
    """The catalogue has no such action."""

    code = "DECISION_UNKNOWN_ACTION"
    status = 404


class UnknownProposition(RaakError):
    """No decision made this proposition."""

    code = "DECISION_UNKNOWN_PROPOSITION"
    status = 404

    def __init__(self, proposition: object) -> None:
        super().__init__(
            f"There is no proposition {str(proposition)!r}.",
            hint="Pass the id of a proposition as nextBestActions returned it.",
        )


class IdempotencyConflict(RaakError):
    """An idempotency key that was used for another outcome."""

    code = "DECISION_IDEMPOTENCY_CONFLICT"
    status = 409


class InvalidOutcome(RaakError):
    """An outcome that cannot have happened like this."""

    code = "DECISION_INVALID_OUTCOME"


class UntrustedOutcome(RaakError):
    """An outcome of a kind, or of a value, that only the company's servers may report."""

    code = "DECISION_SERVER_OUTCOME"
    status = 403


class UntrustedEvent(RaakError):
    """A request's event that only the company's servers may send."""

    code = "DECISION_SERVER_EVENT"
    status = 403


class InvalidDecisionRequest(RaakError):
    """A request for next best actions that cannot be answered."""

    code = "DECISION_INVALID_REQUEST"


class ActionInUse(RaakError):
    """A new catalogue would remove active actions that were offered lately."""

    code = "ACTION_IN_USE"
    status = 409


class DecisionNotDurable(Unavailable):
    """A decision could not be stored, so it is not returned."""

    code = "DECISION_NOT_DURABLE"


class DecisionsOverloaded(Unavailable):
    """More requests wait than can be answered in time."""

    code = "DECISION_OVERLOADED"
