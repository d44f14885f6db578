"""Who is meant, what is known of him, and who may ask."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg

from services.chassis.clock import Clock
from services.chassis.database import Connection
from services.chassis.principal import Forbidden, Principal
from services.contracts.identity import (
    ANONYMOUS_TYPES,
    TYPES,
    derived_customer_id,
    is_placeholder,
    normalised,
)
from services.decision.domain.contact_policies import Contact
from services.decision.service.catalogue_cache import Knowledge
from services.decision.service.errors import InvalidCustomerRef
from services.decision.store import customers
from services.decision.store.customers import Asked
from services.rules import Facts

LONGEST_VALUE = 255
EPOCH = datetime.fromtimestamp(0, UTC)
NOTHING = 0
"""Answered by a snapshot from before there were declarations: everything asked for is unknown."""
EVERYTHING = 2**63 - 1
"""Answered by somebody new: that he has no history is all there is to know."""


@dataclass(frozen=True, slots=True)
class Customer:
    """What the read model holds of one customer."""

    customer_id: UUID | None
    """None: the identity asked about is nobody's."""
    known: bool
    """Whether anything was ever heard of him."""
    snapshot_version: int | None = None
    """None: profile has not said anything of him yet."""
    traits: Mapping[str, Any] = field(default_factory=dict)
    consents: Mapping[str, bool] = field(default_factory=dict)
    segments: Sequence[str] = ()
    series: Mapping[str, Any] = field(default_factory=dict)
    answered: int = EVERYTHING
    """The declaration his series answer."""
    journeys: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    contacts: Sequence[Contact] = ()
    unproved_traits: Sequence[str] = ()
    """Those that only an untrusted sender's word stands for."""

    def facts(self, now: datetime) -> Facts:
        """What conditions may look at, before the situation is added."""
        return Facts(
            now=now,
            traits=self.traits,
            segments=frozenset(self.segments),
            consent=self.consents,
            journeys=self.journeys,
            history=self.series,
        )


def reference(id: str | None, identity: tuple[str, str] | None) -> Asked:
    """Who a caller means; raises InvalidCustomerRef.

    A visitor nobody has seen yet is asked about with the id he will have.
    """
    if (id is None) == (identity is None):
        raise InvalidCustomerRef(
            "The customer is named by an id or by an identity, and here it is by both or neither.",
            hint="Give exactly one: {id: …} or {identity: {type: …, value: …}}.",
        )
    if identity is None:
        return Asked(_uuid(id))
    return _by_identity(*identity)


def _uuid(id: str | None) -> UUID:
    try:
        return UUID(id)
    except (ValueError, TypeError):
        raise InvalidCustomerRef(
            f"{id!r} is not a customer's id.", hint="Pass the id as the graph gave it."
        ) from None


def _by_identity(type: str, value: str) -> Asked:
    if type not in TYPES:
        raise InvalidCustomerRef(
            f"{type!r} is not a type of identity.", hint=f"There are: {', '.join(sorted(TYPES))}."
        )
    if is_placeholder(type, value):
        raise InvalidCustomerRef(
            f"{value[:60]!r} stands for nobody.",
            hint="Ask for offers once you know whom they are for: a browser has an anonymous_id.",
        )
    value = normalised(type, value)
    if not 0 < len(value) <= LONGEST_VALUE or "\0" in value:
        raise InvalidCustomerRef(
            f"The {type} has {len(value)} characters.",
            hint=f"An identity has 1 to {LONGEST_VALUE}.",
        )
    new = derived_customer_id(type, value) if type in ANONYMOUS_TYPES else None
    return Asked(new, type, value)


def shown(asked: Asked) -> str:
    """How a customer is named in an error: as the caller did. Errors of ours are never logged."""
    if asked.type is None:
        return f"the id {str(asked.customer_id)!r}"
    return f"{asked.type} {asked.value!r}"


def reading(
    knowledge: Knowledge, clock: Clock
) -> Callable[[Connection, Sequence[Asked]], Awaitable[Sequence[Customer]]]:
    """Work for batches: reads customers, with their contacts as far back as policies look."""

    async def read(connection: Connection, asked: Sequence[Asked]) -> Sequence[Customer]:
        catalogue = knowledge.current
        since = clock() - catalogue.memory if catalogue else clock()
        kinds = catalogue.kinds_of_interest if catalogue else ()
        return [_customer(row) for row in await customers.read(connection, asked, since, kinds)]

    return read


def _customer(row: asyncpg.Record) -> Customer:
    facts = row["facts"] or {}
    return Customer(
        customer_id=row["customer_id"],
        known=row["known"],
        snapshot_version=row["version"],
        traits=facts.get("traits", {}),
        consents=facts.get("consents", {}),
        segments=facts.get("segments", ()),
        series=facts.get("series", {}),
        answered=facts.get("answered", NOTHING) if facts else EVERYTHING,
        journeys={
            journey: {"key": key, "step": step, "phase": phase}
            for journey, key, step, phase in row["journeys"] or ()
        },
        contacts=[Contact(*contact) for contact in row["contacts"] or ()],
        unproved_traits=facts.get("unproved", ()),
    )


def may_ask(principal: Principal, asked: Asked) -> bool:
    """Whether it is plain that a caller may ask about a customer, without looking anyone up."""
    return not principal.own_customer_only or _own(principal) == asked


async def require_own(connection: Connection, principal: Principal, asked: Asked) -> None:
    """Refuse a caller who speaks for one customer and asks about another; raises Forbidden."""
    if may_ask(principal, asked):
        return
    own = _own(principal)
    ids = await customers.who(connection, [own, asked]) if own else [None, None]
    if ids[0] is None or ids[0] != ids[1]:
        raise Forbidden(
            f"A {principal.role} may see his own customer only, and this is another.",
            hint="Ask with the identity the token was made for.",
        )


def _own(principal: Principal) -> Asked | None:
    """The customer a caller speaks for."""
    ref = principal.customer_ref or {}
    if "id" in ref:
        return reference(ref["id"], None)
    if "type" in ref and "value" in ref:
        return reference(None, (ref["type"], ref["value"]))
    return None
