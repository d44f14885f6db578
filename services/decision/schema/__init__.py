"""Decision's part of the graph."""

from services.chassis.graphql import Schema
from services.decision.schema.context import Context
from services.decision.schema.mutation import Mutation
from services.decision.schema.query import Query
from services.decision.schema.types import HIDES, Action, Customer, Decision

schema = Schema(query=Query, mutation=Mutation, types=[Customer, Decision, Action], hides=HIDES)

__all__ = ["Context", "schema"]
