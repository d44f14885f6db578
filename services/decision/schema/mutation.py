"""What can be told to decision. One mutation is one transaction."""

from datetime import timedelta

import strawberry

from services.chassis.graphql import masking_for
from services.decision.schema.inputs import OutcomeInput
from services.decision.schema.types import CatalogueChange, Info, Outcome
from services.decision.service.outcomes import record
from services.decision.service.publishing import publish


@strawberry.type
class Mutation:
    """The root fields."""

    @strawberry.federation.mutation(
        description="Report what became of a proposition. The next decision takes it into account.",
        requires_scopes=[["outcomes:write"]],
    )
    async def record_outcome(self, info: Info, input: OutcomeInput) -> Outcome:
        """Once for each idempotency key."""
        context, desk = info.context, info.context.desk
        async with desk.database.transaction() as connection:
            recorded = await record(
                connection, context.principal, input.read(), desk.clock(), desk.settings
            )
        desk.knowledge.learn(recorded.counted)
        return Outcome.of(recorded.outcome)

    @strawberry.federation.mutation(
        description="Make a YAML document the catalogue. Every decision from now on is made by it; "
        "versions before it are kept.",
        requires_scopes=[["catalogue:write"]],
    )
    async def publish_catalogue(
        self, info: Info, yaml: str, force: bool = False
    ) -> CatalogueChange:
        """The same text is no new version."""
        context, desk = info.context, info.context.desk
        async with desk.database.transaction(computes=True) as connection:
            publication = await publish(
                connection,
                desk.knowledge,
                yaml,
                by=context.principal.subject,
                force=force,
                now=desk.clock(),
                recently=timedelta(days=desk.settings.recently_offered_days),
                masking=masking_for(context),
            )
        desk.knowledge.use(publication.catalogue)
        return CatalogueChange.of(publication)
