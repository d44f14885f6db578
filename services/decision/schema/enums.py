"""The enums of decision's part of the graph."""

import strawberry

from services.chassis.schema import Channel, OutcomeKind, SenderClass
from services.decision.domain.catalogue import ActionKind, ActionStatus
from services.decision.domain.trace import Stage

for enum in (ActionKind, ActionStatus, Stage):
    strawberry.enum(enum)

__all__ = ["ActionKind", "ActionStatus", "Channel", "OutcomeKind", "SenderClass", "Stage"]
