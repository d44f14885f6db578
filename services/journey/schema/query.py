"""What can be asked of journey by itself."""

import strawberry

from services.journey.schema.types import DataMapping, DataUse, Info, JourneyDefinition
from services.journey.service import queries


@strawberry.type
class Query:
    """The root fields."""

    @strawberry.federation.field(
        description="The current version of every journey.", requires_scopes=[["journeys:read"]]
    )
    async def journey_definitions(self, info: Info) -> list[JourneyDefinition] | None:
        """In the order of their keys."""
        book = await info.context.book()
        found = [await JourneyDefinition.of(book, key, None) for key in book.current]
        return [definition for definition in found if definition]

    @strawberry.federation.field(
        description="A version of a journey; without a version, the current one.",
        requires_scopes=[["journeys:read"]],
    )
    async def journey_definition(
        self, info: Info, key: strawberry.ID, version: int | None = None
    ) -> JourneyDefinition | None:
        """Null if there is none."""
        return await JourneyDefinition.of(await info.context.book(), key, version)

    @strawberry.federation.field(
        description="What data the current journeys need.", requires_scopes=[["journeys:read"]]
    )
    async def data_mapping(self, info: Info) -> DataMapping | None:
        """Read from their compiled form."""
        book = await info.context.book()
        journeys = book.journeys((row.key, row.version) for row in book.current.values())
        needed = queries.needed(journeys)
        return DataMapping(**{kind: DataUse.each(uses) for kind, uses in needed.items()})
