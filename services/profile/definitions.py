"""What a segment looks like in YAML."""

from pydantic import Field

from services.rules.definition_fields import DefinitionPart


class SegmentDefinition(DefinitionPart):
    """Customers who have something in common now, said by a condition."""

    key: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,99}$")
    name: str = Field(min_length=1, max_length=200)
    description: str = Field(default="", max_length=2_000)
    condition: str


class SegmentFile(DefinitionPart):
    """Several segments in one document."""

    segments: list[SegmentDefinition] = Field(min_length=1, max_length=1_000)
