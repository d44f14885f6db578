"""What can be asked of decision by itself."""

import strawberry
from strawberry.scalars import JSON

from services.decision.schema.inputs import CustomerRef, EventInput, json_object
from services.decision.schema.types import Action, Decision, Info, decided, decision_of
from services.decision.schema.words import ActionStatus, Channel
from services.decision.service.deciding import Request


@strawberry.type
class Query:
    """The root fields."""

    @strawberry.federation.field(
        description="What to say to anyone next, also to a visitor we have never seen.",
        requires_scopes=[["decisions:make"]],
        tags=["not-idempotent"],
    )
    async def next_best_actions(
        self,
        info: Info,
        customer: CustomerRef,
        channel: Channel,
        placement: str,
        limit: int = 3,
        context: JSON | None = None,
        event: EventInput | None = None,
    ) -> Decision | None:
        """Durable when it is answered."""
        said = event.read() if event else None
        request = Request(customer.read(), channel, placement, limit, json_object(context), said)
        return await decided(info.context, request)

    @strawberry.federation.field(
        description="A decision that was made; null if there is none of this id.",
        requires_scopes=[["decisions:read"]],
    )
    async def decision(self, info: Info, id: strawberry.ID) -> Decision | None:
        """As it was answered."""
        return await decision_of(info.context, str(id))

    @strawberry.federation.field(
        description="The actions of the catalogue, in its order.",
        requires_scopes=[["catalogue:read"]],
    )
    def actions(self, info: Info, status: ActionStatus | None = None) -> list[Action] | None:
        """As they are now."""
        catalogue = info.context.desk.knowledge.current
        if catalogue is None:
            return []
        return [
            Action.of(action, catalogue)
            for action in catalogue.actions
            if status in (None, action.status)
        ]

    @strawberry.federation.field(
        description="One action; null if there is none of this key.",
        requires_scopes=[["catalogue:read"]],
    )
    def action(self, info: Info, key: strawberry.ID) -> Action | None:
        """As it is now."""
        return Action.named(str(key), info.context.desk.knowledge.current)
