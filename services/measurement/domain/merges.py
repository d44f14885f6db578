"""Which customer another one has become."""

from collections.abc import Iterable, Mapping
from uuid import UUID


def moves(merges: Iterable[tuple[UUID, UUID]], owners: Mapping[UUID, UUID]) -> dict[UUID, UUID]:
    """Whose records are to go where, chains followed to their end.

    Args:
        merges: Pairs (from, into), in the order they were made as far as known.
        owners: For every customer of `merges`, whom he has become before; himself if no one.

    Returns:
        From customer to the one he is now. A merge heard before is left out, and so is one that
        would close a circle.
    """
    moved: dict[UUID, UUID] = {}

    def owner(customer: UUID) -> UUID:
        customer = owners.get(customer, customer)
        while customer in moved:
            customer = moved[customer]
        return customer

    for source, target in merges:
        if owner(source) == source != owner(target):
            moved[source] = owner(target)
    return {source: owner(source) for source in moved}
