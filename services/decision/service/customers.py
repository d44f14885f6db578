"""References to customers, loading them, and whose data a caller may have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg

from services.chassis.clock import Clock
from services.chassis.database import Connection
from services.chassis.errors import InvalidCustomerRef
from services.chassis.principal import Forbidden, Principal
from services.contracts.identity import (
    ANONYMOUS_TYPES,
    TYPES,
    derive_customer_id,
    is_placeholder,
    normalise_value,
)
from services.decision.domain.contact_policies import Contact
from services.decision.service.batch_queue import Work
from services.decision.service.catalogue_cache import CatalogueCache
from services.decision.store import customers
from services.decision.store.customers import CustomerRef

LONGEST_VALUE = 255
NO_DECLARATION = 0
"""Of a snapshot of before there were declarations: all its series are unknown."""
EVERY_DECLARATION = 2**63 - 1
"""Of a new customer: their series are known to be empty."""


@dataclass(frozen=True, slots=True)
class LoadedCustomer:
    customer_id: UUID
    is_known: bool
    """Whether any event or decision was ever about them."""
    snapshot_version: int | None = None
    """None: no snapshot of them has arrived yet."""
    traits: Mapping[str, Any] = field(default_factory=dict)
    consents: Mapping[str, bool] = field(default_factory=dict)
    segments: Sequence[str] = ()
    series: Mapping[str, Any] = field(default_factory=dict)
    declaration_version: int = EVERY_DECLARATION
    """The declaration their series were computed for."""
    journeys: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    contacts: Sequence[Contact] = ()
    unproved_traits: Sequence[str] = ()
    """Traits that only an untrusted sender reported."""
    degraded: str | None = None
    """What is missing, if the customer could not be loaded whole."""


def parse_id(id: str) -> CustomerRef:
    """The customer of an id; raises InvalidCustomerRef."""
    try:
        return CustomerRef(UUID(id))
    except ValueError:
        raise InvalidCustomerRef(
            f"{id!r} is not a customer's id.", hint="Pass the id as the graph returned it."
        ) from None


def parse_identity(type: str, value: str) -> CustomerRef:
    """The customer a caller names; raises InvalidCustomerRef.

    The reference to an anonymous customer has the id they get if they are new.
    """
    if type not in TYPES:
        raise InvalidCustomerRef(
            f"{type!r} is not a type of identity.", hint=f"There are: {', '.join(sorted(TYPES))}."
        )
    if is_placeholder(type, value):
        raise InvalidCustomerRef(
            f"{value[:60]!r} stands for nobody.",
            hint="Ask for offers once you know whom they are for: a browser has an anonymous_id.",
        )
    value = normalise_value(type, value)
    if not 0 < len(value) <= LONGEST_VALUE or "\0" in value:
        raise InvalidCustomerRef(
            f"The {type} has {len(value)} characters.",
            hint=f"An identity has 1 to {LONGEST_VALUE}.",
        )
    new = derive_customer_id(type, value) if type in ANONYMOUS_TYPES else None
    return CustomerRef(new, type, value)


def describe_customer_ref(ref: CustomerRef) -> str:
    """Name a customer in an error as the caller did. Our errors are never logged."""
    if ref.type is None:
        return f"the id {str(ref.customer_id)!r}"
    return f"{ref.type} {ref.value!r}"


def build_customer_loader(
    catalogue_cache: CatalogueCache, clock: Clock
) -> Work[CustomerRef, LoadedCustomer | None]:
    """Work for a batch queue: loads customers, with their contacts as far back as policies need."""

    async def load(
        connection: Connection, refs: Sequence[CustomerRef]
    ) -> Sequence[LoadedCustomer | None]:
        catalogue = catalogue_cache.current
        since = clock() - catalogue.contact_window if catalogue else clock()
        kinds = catalogue.reaction_kinds if catalogue else ()
        return [_to_customer(row) for row in await customers.load(connection, refs, since, kinds)]

    return load


def _to_customer(row: asyncpg.Record) -> LoadedCustomer | None:
    """None: no customer has the identity."""
    if row["customer_id"] is None:
        return None
    facts = row["facts"] or {}
    return LoadedCustomer(
        customer_id=row["customer_id"],
        is_known=row["known"],
        snapshot_version=row["version"],
        traits=facts.get("traits", {}),
        consents=facts.get("consents", {}),
        segments=facts.get("segments", ()),
        series=facts.get("series", {}),
        declaration_version=(facts.get("answered", NO_DECLARATION) if facts else EVERY_DECLARATION),
        journeys={
            journey: {"key": key, "step": step, "phase": phase}
            for journey, key, step, phase in row["journeys"] or ()
        },
        contacts=[Contact(*contact) for contact in row["contacts"] or ()],
        unproved_traits=facts.get("unproved", ()),
    )


def has_access(principal: Principal, ref: CustomerRef) -> bool:
    """Whether a caller may ask about a customer, as far as is plain without the database."""
    return not principal.own_customer_only or _find_own_ref(principal) == ref


async def require_own(connection: Connection, principal: Principal, ref: CustomerRef) -> None:
    """Refuse a caller that acts for one customer and asks about another; raises Forbidden."""
    if has_access(principal, ref):
        return
    own = _find_own_ref(principal)
    if own is None or not await is_same_customer(connection, own, ref):
        raise Forbidden(
            f"A {principal.role} may see its own customer only, and this is another.",
            hint="Ask with the identity the token was made for.",
        )


async def is_same_customer(connection: Connection, one: CustomerRef, other: CustomerRef) -> bool:
    """Whether two references lead to the same customer, merges included."""
    one_id, other_id = await customers.resolve_ids(connection, [one, other])
    return one_id is not None and one_id == other_id


def _find_own_ref(principal: Principal) -> CustomerRef | None:
    ref = principal.customer_ref or {}
    if "id" in ref:
        return parse_id(ref["id"])
    if "type" in ref and "value" in ref:
        return parse_identity(ref["type"], ref["value"])
    return None
