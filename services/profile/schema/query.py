"""What can be asked of profile."""

from uuid import UUID

import strawberry

from services.chassis.graphql import masking_for
from services.chassis.pagination import PageInfo, encode_cursor, page_size
from services.profile.schema.inputs import CustomerRef
from services.profile.schema.types import (
    Customer,
    CustomerConnection,
    CustomerEdge,
    Info,
    Segment,
    read_cursor,
)
from services.profile.service import queries


@strawberry.type
class Query:
    """The root fields."""

    @strawberry.federation.field(
        description="The customer meant; null if we know nobody like that.",
        requires_scopes=[["customers:read"]],
    )
    async def customer(self, info: Info, ref: CustomerRef) -> Customer | None:
        """Also answers a visitor who asks for himself."""
        found = await info.context.find(ref.read())
        return Customer.of(found) if found else None

    @strawberry.federation.field(
        description="Customers by id, of a segment, of whom the condition `where` is true now."
        " A page looks at a bounded number of customers: it can have fewer than `first`, even"
        " none, and still a next page.",
        requires_scopes=[["customers:list"]],
    )
    async def customers(
        self,
        info: Info,
        segment: strawberry.ID | None = None,
        where: str | None = None,
        first: int = 20,
        after: str | None = None,
    ) -> CustomerConnection | None:
        """One bounded scan. Whoever may not see identities may not ask for them either."""
        if where is not None and (masking := masking_for(info.context)):
            masking.check([where])
        place = read_cursor(after, UUID)
        async with info.context.database.connection() as connection:
            found = await queries.search(
                connection,
                segment=segment,
                where=where,
                first=page_size(first),
                after=place[0] if place else None,
                scan_limit=info.context.scan_limit,
                now=info.context.clock(),
            )
        return _connection(found)

    @strawberry.federation.field(
        description="All segments, by key.", requires_scopes=[["segments:read"]]
    )
    async def segments(self, info: Info) -> list[Segment] | None:
        """As they are defined now."""
        return [Segment.of(segment) for segment in (await info.context.rulebook()).segments]

    @strawberry.federation.field(
        description="One segment; null if there is none of this key.",
        requires_scopes=[["segments:read"]],
    )
    async def segment(self, info: Info, key: strawberry.ID) -> Segment | None:
        """As it is defined now."""
        found = await info.context.segments.load(str(key))
        return Segment.of(found) if found else None


def _connection(found: queries.Found) -> CustomerConnection:
    edges = [
        CustomerEdge(node=Customer.of(customer), cursor=encode_cursor(str(customer.id)))
        for customer in found.customers
    ]
    end = encode_cursor(str(found.last)) if found.last else None
    return CustomerConnection(
        edges=edges, page_info=PageInfo(has_next_page=found.more, end_cursor=end)
    )
