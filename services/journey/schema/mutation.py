"""The root mutation fields of journey. One mutation is one transaction."""

import strawberry

from services.chassis.errors import RaakError
from services.chassis.graphql import masking_for
from services.journey.schema.types import Info, JourneyDefinition, JourneyInstance
from services.journey.service import publishing

LONGEST_REASON = 300


class InvalidReason(RaakError, code="JOURNEY_INVALID_REASON"):
    """A reason is empty or too long."""


@strawberry.type
class Mutation:
    @strawberry.federation.mutation(requires_scopes=[["journeys:write"]])
    async def publish_journey(self, info: Info, yaml: str) -> JourneyDefinition:
        """Make a journey's next version the one customers enter. Active instances finish on theirs;
        publishing what is published already changes nothing.

        Args:
            yaml: The whole definition. What is wrong is reported line by line
                (`INVALID_DEFINITION`), and nothing is published.
        """
        context = info.context
        async with context.database.transaction(computes=True) as connection:
            row, journeys = await publishing.publish(
                context.engine,
                connection,
                yaml,
                context.principal.subject,
                masking_for(context),
            )
        definition = await JourneyDefinition.load(journeys, row.key, row.version)
        assert definition is not None
        return definition

    @strawberry.federation.mutation(requires_scopes=[["journeys:exit"]])
    async def exit_journey(
        self, info: Info, instance: strawberry.ID, reason: str
    ) -> JourneyInstance:
        """End an instance by hand; an ended one stays as it ended. An unknown one is
        `JOURNEY_UNKNOWN_INSTANCE`.

        Args:
            instance: The `id` of a `JourneyInstance`.
            reason: Why it ends, for people, in 1 to 300 characters; it is shown as `endReason`.
        """
        context = info.context
        if not 0 < len(reason.strip()) <= LONGEST_REASON:
            raise InvalidReason(
                f"reason has {len(reason.strip())} characters.",
                hint=f"Say in 1 to {LONGEST_REASON} characters why the journey ends.",
            )
        async with context.database.transaction() as connection:
            ended = await publishing.exit_instance(
                context.engine, connection, instance, reason.strip()
            )
        masking_journeys = await context.load_masking_journeys(ended.customer_id)
        return JourneyInstance.from_domain(ended, masking_journeys.get(ended.id))
