"""Profile's queries."""

from uuid import UUID

import strawberry

from services.chassis.graphql import masking_for
from services.chassis.pagination import PageInfo, decode_cursor, encode_cursor, page_size
from services.profile.schema.inputs import CustomerRef
from services.profile.schema.types import (
    Customer,
    CustomerConnection,
    CustomerEdge,
    Info,
    Segment,
)
from services.profile.service import queries


@strawberry.type
class Query:
    @strawberry.federation.field(
        description="One customer; null if the reference names nobody.",
        requires_scopes=[["customers:read"]],
    )
    async def customer(self, info: Info, ref: CustomerRef) -> Customer | None:
        customer = await info.context.find(ref.read())
        return Customer.from_id(customer.id) if customer else None

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
        """One bounded scan. A caller that may not read identities may not search by them either."""
        if where is not None and (masking := masking_for(info.context)):
            masking.check([where])
        (start,) = decode_cursor(after, UUID) or (None,)
        async with info.context.database.connection() as connection:
            page = await queries.search(
                connection,
                segment=segment,
                where=where,
                first=page_size(first),
                after=start,
                scan_limit=info.context.scan_limit,
                now=info.context.clock(),
            )
        return _to_connection(page)

    @strawberry.federation.field(
        description="All segments, by key.", requires_scopes=[["segments:read"]]
    )
    async def segments(self, info: Info) -> list[Segment] | None:
        definitions = await info.context.segment_definitions()
        return [Segment.from_domain(segment) for segment in definitions.segments]

    @strawberry.federation.field(
        description="One segment; null if there is none of this key.",
        requires_scopes=[["segments:read"]],
    )
    async def segment(self, info: Info, key: strawberry.ID) -> Segment | None:
        segment = await info.context.segments.load(str(key))
        return Segment.from_domain(segment) if segment else None


def _to_connection(page: queries.CustomerPage) -> CustomerConnection:
    edges = [
        CustomerEdge(node=Customer.from_id(customer.id), cursor=encode_cursor(str(customer.id)))
        for customer in page.customers
    ]
    end = encode_cursor(str(page.last)) if page.last else None
    return CustomerConnection(
        edges=edges, page_info=PageInfo(has_next_page=page.has_more, end_cursor=end)
    )
