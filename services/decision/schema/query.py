"""The queries of decision."""

import strawberry
from strawberry.scalars import JSON

from services.decision.schema.enums import ActionStatus, Channel
from services.decision.schema.inputs import CustomerRef, EventInput
from services.decision.schema.types import (
    Action,
    Decision,
    Info,
    build_request,
    load_decision,
    make_decision,
)


@strawberry.type
class Query:
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
        request = build_request(customer.parse(), channel, placement, limit, context, event)
        return await make_decision(info.context, request)

    @strawberry.federation.field(
        description="A decision that was made; null if there is none of this id.",
        requires_scopes=[["decisions:read"]],
    )
    async def decision(self, info: Info, id: strawberry.ID) -> Decision | None:
        return await load_decision(info.context, str(id))

    @strawberry.federation.field(
        description="The actions of the catalogue, in its order.",
        requires_scopes=[["catalogue:read"]],
    )
    def actions(self, info: Info, status: ActionStatus | None = None) -> list[Action] | None:
        catalogue = info.context.decision_context.catalogue_cache.current
        if catalogue is None:
            return []
        return [
            Action.from_definition(action, catalogue)
            for action in catalogue.actions
            if status in (None, action.status)
        ]

    @strawberry.federation.field(
        description="One action; null if there is none of this key.",
        requires_scopes=[["catalogue:read"]],
    )
    def action(self, info: Info, key: strawberry.ID) -> Action | None:
        return Action.find(str(key), info.context.decision_context.catalogue_cache.current)
