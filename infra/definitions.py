"""`raak apply`: a folder of segments, catalogue and journeys, published through the graph.

A folder holds `segments/*.yaml`, `catalogue.yaml` and `journeys/*.yaml`; each may be missing.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from infra.graph_client import GraphClient, Refused
from services.chassis.errors import RaakError


class DefinitionKind(NamedTuple):
    """A kind of definition: where its files are, and the document that publishes one."""

    pattern: str
    document: str

    def mutation(self) -> str:
        """The document's text, which is registered as it is (`infra.operations`)."""
        return (DOCUMENTS / self.document).read_bytes().decode()


DOCUMENTS = Path(__file__).with_name("documents")

DEFINITION_KINDS = (
    DefinitionKind("segments/*.yaml", "publish_segment.graphql"),
    DefinitionKind("catalogue*.yaml", "publish_catalogue.graphql"),
    DefinitionKind("journeys/*.yaml", "publish_journey.graphql"),
)
"""In the order in which they need each other."""


class NothingToApply(RaakError, code="NOTHING_TO_APPLY"):
    """A folder holds no definitions."""


class NotPublished(RaakError, code="NOT_PUBLISHED"):
    """A definition was refused."""


def apply(graph: GraphClient, folder: Path) -> Iterator[Path]:
    """Publish every definition of a folder; gives each file when it is published."""
    found = [
        (kind, path) for kind in DEFINITION_KINDS for path in sorted(folder.glob(kind.pattern))
    ]
    if not found:
        raise NothingToApply(
            f"{str(folder)!r} holds no definitions.",
            hint=f"Put {', '.join(kind.pattern for kind in DEFINITION_KINDS)} there.",
        )
    for kind, path in found:
        try:
            graph.data(kind.mutation(), yaml=path.read_text(encoding="utf-8"))
        except Refused as refusal:
            raise NotPublished(f"{path}: {refusal.problem}", hint=refusal.hint) from None
        except UnicodeDecodeError as error:
            raise NotPublished(
                f"{path}: byte {error.start} is not UTF-8.", hint="Save the file as UTF-8."
            ) from None
        yield path
