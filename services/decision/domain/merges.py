"""Which customer became which, along chains of merges that arrive in any order."""

from collections.abc import Iterable, Mapping
from uuid import UUID


def resolve_merges(
    merges: Iterable[tuple[UUID, UUID]], earlier: Mapping[UUID, UUID]
) -> dict[UUID, UUID]:
    """Map each merged customer to the one they are now: no value is a key.

    Args:
        merges: (source, target), in the order of arrival.
        earlier: Merges of any of them resolved before; no value is a key there either.
    """
    targets = dict(earlier)

    def resolve(customer: UUID) -> UUID:
        while customer in targets:
            customer = targets[customer]
        return customer

    sources = []
    for source, target in merges:
        if (end := resolve(target)) != source:
            targets[source] = end
            sources.append(source)
    return {source: resolve(source) for source in sources}
