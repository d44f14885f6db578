"""Who has become whom, along whatever chain and in whatever order it was heard."""

from collections.abc import Iterable, Mapping
from uuid import UUID


def resolved(merges: Iterable[tuple[UUID, UUID]], earlier: Mapping[UUID, UUID]) -> dict[UUID, UUID]:
    """The merges as pairs of a customer and who he is now: no value is a key.

    Args:
        merges: (source, target), in the order heard.
        earlier: What was resolved before of any of them; no value is a key there either.
    """
    became = dict(earlier)

    def now(customer: UUID) -> UUID:
        while customer in became:
            customer = became[customer]
        return customer

    sources = []
    for source, target in merges:
        if (end := now(target)) != source:
            became[source] = end
            sources.append(source)
    return {source: now(source) for source in sources}
