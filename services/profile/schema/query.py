"""Profile's queries."""

from uuid import UUID

import strawberry

from services.chassis.graphql import masking_for
from services.chassis.pagination import (
    After,
    First,
    PageInfo,
    decode_cursor,
    encode_cursor,
    page_size,
)
from services.chassis.schema import CustomerRef
from services.profile.schema.inputs import parse_customer
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
    @strawberry.federation.field(requires_scopes=[["customers:read"]])
    async def customer(self, info: Info, ref: CustomerRef) -> Customer | None:
        """One customer; null if the reference names nobody.

        Args:
            ref: Whom to look for.
        """
        customer = await info.context.find(parse_customer(ref))
        return Customer.from_id(customer.id) if customer else None

    @strawberry.federation.field(requires_scopes=[["customers:list"]])
    async def customers(
        self,
        info: Info,
        segment: strawberry.ID | None = None,
        where: str | None = None,
        first: First = 20,
        after: After = None,
    ) -> CustomerConnection | None:
        """Customers by id, of a segment, of whom the condition `where` is true now. A page looks at
        a bounded number of customers: it can have fewer than `first`, even none, and still a next
        page.

        Args:
            segment: Only customers who are in the segment of this key.
            where: A condition in the condition language that must be true of them now: `traits.age
                >= 18`. One that compares what may identify somebody is `IDENTITIES_NOT_READABLE`
                for callers that may not read identities.
        """
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

    @strawberry.federation.field(requires_scopes=[["segments:read"]])
    async def segments(self, info: Info) -> list[Segment] | None:
        """All segments in force, by key."""
        definitions = await info.context.segment_definitions()
        return [Segment.from_domain(segment) for segment in definitions.segments]

    @strawberry.federation.field(requires_scopes=[["segments:read"]])
    async def segment(self, info: Info, key: strawberry.ID) -> Segment | None:
        """One segment; null if there is none of this key.

        Args:
            key: Its lasting name, as conditions write it.
        """
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
