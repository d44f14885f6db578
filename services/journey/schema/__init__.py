"""Journey's subgraph."""

from services.chassis.graphql import Schema
from services.journey.schema.context import Context
from services.journey.schema.mutation import Mutation
from services.journey.schema.query import Query
from services.journey.schema.types import HIDES, Customer

schema = Schema(query=Query, mutation=Mutation, types=[Customer], hides=HIDES)

__all__ = ["Context", "schema"]
