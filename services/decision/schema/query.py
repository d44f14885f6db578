"""The queries of decision."""

import strawberry

from services.chassis.schema import CustomerRef
from services.decision.schema.enums import ActionStatus
from services.decision.schema.inputs import (
    RequestChannel,
    RequestContext,
    RequestEvent,
    RequestLimit,
    RequestPlacement,
    parse_customer,
)
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
    @strawberry.federation.field(requires_scopes=[["decisions:make"]], tags=["not-idempotent"])
    async def next_best_actions(
        self,
        info: Info,
        customer: CustomerRef,
        channel: RequestChannel,
        placement: RequestPlacement,
        limit: RequestLimit = 3,
        context: RequestContext = None,
        event: RequestEvent = None,
    ) -> Decision | None:
        """What to say to anyone next, also to a visitor we have never seen. Makes and stores a
        decision each time; an unknown e-mail address or id is `UNKNOWN_CUSTOMER`.

        Args:
            customer: Whom to decide for. A browser or device nobody knows yet is a new customer.
        """
        request = build_request(parse_customer(customer), channel, placement, limit, context, event)
        return await make_decision(info.context, request)

    @strawberry.federation.field(requires_scopes=[["decisions:read"]])
    async def decision(self, info: Info, id: strawberry.ID) -> Decision | None:
        """A decision that was made; null if there is none of this id.

        Args:
            id: Its `id`, as nextBestActions returned it.
        """
        return await load_decision(info.context, str(id))

    @strawberry.federation.field(requires_scopes=[["catalogue:read"]])
    def actions(self, info: Info, status: ActionStatus | None = None) -> list[Action] | None:
        """The actions of the catalogue in force, in its order; empty before one is published.

        Args:
            status: Only actions that are active, or paused; null asks for both.
        """
        catalogue = info.context.decision_context.catalogue_cache.current
        if catalogue is None:
            return []
        return [
            Action.from_definition(action, catalogue)
            for action in catalogue.actions
            if status in (None, action.status)
        ]

    @strawberry.federation.field(requires_scopes=[["catalogue:read"]])
    def action(self, info: Info, key: strawberry.ID) -> Action | None:
        """One action of the catalogue in force; null if there is none of this key.

        Args:
            key: Its lasting name in the catalogue.
        """
        return Action.find(str(key), info.context.decision_context.catalogue_cache.current)
