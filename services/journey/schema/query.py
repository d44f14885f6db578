"""The root query fields of journey."""

import strawberry

from services.journey.schema.types import DataMapping, DataUse, Info, JourneyDefinition
from services.journey.service import queries


@strawberry.type
class Query:
    @strawberry.federation.field(requires_scopes=[["journeys:read"]])
    async def journey_definitions(self, info: Info) -> list[JourneyDefinition] | None:
        """The current version of every journey; empty before one is published."""
        journeys = await info.context.load_journeys()
        found = [await JourneyDefinition.load(journeys, key, None) for key in journeys.current]
        return [definition for definition in found if definition]

    @strawberry.federation.field(requires_scopes=[["journeys:read"]])
    async def journey_definition(
        self, info: Info, key: strawberry.ID, version: int | None = None
    ) -> JourneyDefinition | None:
        """A version of a journey; null if there is none of this key and version.

        Args:
            key: The journey's lasting name.
            version: 1 or more; null asks for the version customers enter now.
        """
        return await JourneyDefinition.load(await info.context.load_journeys(), key, version)

    @strawberry.federation.field(requires_scopes=[["journeys:read"]])
    async def data_mapping(self, info: Info) -> DataMapping | None:
        """What data the current journeys need: what to send before publishing, and what not to drop
        after.
        """
        journeys = await info.context.load_journeys()
        current = journeys.get_all((row.key, row.version) for row in journeys.current.values())
        uses = queries.collect_data_uses(current)
        return DataMapping(**{kind: DataUse.from_uses(names) for kind, names in uses.items()})
