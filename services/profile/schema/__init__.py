"""Profile's part of the graph."""

from services.chassis.graphql import Schema
from services.profile.schema.context import Context
from services.profile.schema.mutation import Mutation
from services.profile.schema.query import Query
from services.profile.schema.types import HIDES, Customer

schema = Schema(query=Query, mutation=Mutation, types=[Customer], hides=HIDES)

__all__ = ["Context", "schema"]
