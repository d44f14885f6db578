"""Which customer a merged one has become."""

from collections.abc import Iterable, Mapping
from uuid import UUID


def find_new_owners(
    merges: Iterable[tuple[UUID, UUID]], owners: Mapping[UUID, UUID]
) -> dict[UUID, UUID]:
    """To whom the records of merged customers move, chains followed to their end.

    Args:
        merges: Pairs (from, into), in the order they happened as far as known.
        owners: For every customer of `merges`, whom they became before; themselves if no one.

    Returns:
        From customer to whom they are now. A merge recorded before is left out, and so is one that
        would close a circle.
    """
    moves: dict[UUID, UUID] = {}

    def follow(customer: UUID) -> UUID:
        customer = owners.get(customer, customer)
        while customer in moves:
            customer = moves[customer]
        return customer

    for source, target in merges:
        if follow(source) == source != follow(target):
            moves[source] = follow(target)
    return {source: follow(source) for source in moves}
