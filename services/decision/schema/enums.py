"""The enums of decision's part of the graph."""

import strawberry

from services.contracts.enums import Channel, OutcomeKind, SenderClass
from services.decision.domain.catalogue import ActionKind, ActionStatus
from services.decision.domain.trace import Stage

strawberry.enum(Channel, description="Where a customer is spoken to.")
strawberry.enum(OutcomeKind, description="What became of a proposition.")
strawberry.enum(ActionKind, description="What an action is for.")
strawberry.enum(ActionStatus, description="Whether an action takes part in decisions.")
strawberry.enum(
    SenderClass,
    description="Who sent something: a visitor's or app's token, a write key, a server's API key,"
    " or staff.",
)
strawberry.enum(Stage, description="What an action must pass, in this order.")

__all__ = ["ActionKind", "ActionStatus", "Channel", "OutcomeKind", "SenderClass", "Stage"]
