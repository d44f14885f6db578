"""The mutations of decision. One mutation is one transaction."""

from datetime import timedelta

import strawberry

from services.chassis.graphql import masking_for
from services.decision.schema.inputs import OutcomeInput
from services.decision.schema.types import CatalogueChange, Info, Outcome
from services.decision.service.outcomes import record_outcome
from services.decision.service.publishing import publish


@strawberry.type
class Mutation:
    @strawberry.federation.mutation(requires_scopes=[["outcomes:write"]])
    async def record_outcome(self, info: Info, input: OutcomeInput) -> Outcome:
        """Report what became of a proposition. The next decision takes it into account.

        Args:
            input: Which proposition they reacted to, and how.
        """
        context, deciding = info.context, info.context.decision_context
        async with deciding.database.transaction() as connection:
            receipt = await record_outcome(
                connection, context.principal, input.parse(), deciding.clock(), deciding.settings
            )
        deciding.catalogue_cache.learn(receipt.tallies)
        return Outcome.from_record(receipt.outcome)

    @strawberry.federation.mutation(requires_scopes=[["catalogue:write"]])
    async def publish_catalogue(
        self, info: Info, yaml: str, force: bool = False
    ) -> CatalogueChange:
        """Make a YAML document the catalogue. Every decision from now on is made by it; versions
        before it are kept.

        Args:
            yaml: The whole catalogue, not only what changes. What is wrong is reported line by line
                (`INVALID_DEFINITION`), and nothing is published.
            force: Whether an active action that was offered lately may be left out; otherwise that
                is `ACTION_IN_USE`.
        """
        context, deciding = info.context, info.context.decision_context
        async with deciding.database.transaction(computes=True) as connection:
            publication = await publish(
                connection,
                deciding.catalogue_cache,
                yaml,
                by=context.principal.subject,
                force=force,
                now=deciding.clock(),
                recently=timedelta(days=deciding.settings.recently_offered_days),
                masking=masking_for(context),
            )
        deciding.catalogue_cache.use(publication.catalogue)
        return CatalogueChange.from_publication(publication)
