"""How large an operation may be, and what it may cost."""

from dataclasses import fields

from pydantic import Field

from gateway.access.limits.cost import CostWeights
from gateway.access.limits.operation_limits import OperationLimits
from services.chassis.settings import ServiceSettings


class OperationSettings(ServiceSettings):
    """How large an operation may be, and what it may cost."""

    max_query_chars: int = Field(
        default=20_000, ge=100, description="longest text of a GraphQL document"
    )
    max_tokens: int = Field(default=2_000, ge=10, description="most tokens in a GraphQL document")
    max_nesting: int = Field(
        default=50, ge=5, le=100, description="deepest nesting of brackets, and of variables"
    )
    max_depth: int = Field(default=12, ge=1, le=100, description="deepest nesting of fields")
    max_aliases: int = Field(default=30, ge=0, description="most aliases in an operation")
    max_directives: int = Field(default=50, ge=0, description="most directives in an operation")
    max_root_fields: int = Field(default=10, ge=1, description="most root fields in an operation")
    max_fragments: int = Field(
        default=50, ge=0, le=100, description="most fragments defined in a document"
    )
    max_repeats: int = Field(
        default=30, ge=1, description="how often one selection may ask the same field"
    )
    max_selections: int = Field(
        default=1_000,
        ge=1,
        le=20_000,
        description="most fields and fragments selected in an operation",
    )
    max_page_size: int = Field(
        default=100, ge=1, description="largest `first`, `last` or `limit` of a list"
    )
    max_list_items: int = Field(
        default=1_000, ge=1, description="longest list in an argument or a variable"
    )
    max_variable_values: int = Field(
        default=10_000, ge=1, description="most values in the variables of a request"
    )
    max_cost: int = Field(
        default=20_000, ge=1, description="dearest operation, by the sizes of its lists"
    )
    assumed_list_size: int = Field(
        default=10, ge=1, description="items expected of a list whose size nothing tells"
    )
    max_errors: int = Field(
        default=100, ge=1, le=1_000, description="most errors listed in an answer"
    )

    @property
    def limits(self) -> OperationLimits:
        """How large an operation may be."""
        return OperationLimits(
            **{f.name: getattr(self, f"max_{f.name}") for f in fields(OperationLimits)}
        )

    @property
    def weights(self) -> CostWeights:
        """What costs how much where nothing is marked."""
        return CostWeights(assumed_list_size=self.assumed_list_size)
