"""Raw events: everything customers did or said, as it was sent."""

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from services.chassis.database import Connection, encode_json
from services.contracts.base import Json
from services.contracts.enums import SenderClass
from services.profile.domain.calls import Call
from services.rules.history import RecordedEvent

_RECORDED = """
SELECT event.customer_id, event.sender, event.message_id
FROM unnest($1::uuid[], $2::text[], $3::text[]) AS asked (customer_id, sender, message_id)
JOIN event USING (customer_id, sender, message_id)
"""
_COLUMNS = (
    "customer_id",
    "sender",
    "message_id",
    "event_id",
    "kind",
    "name",
    "occurred_at",
    "received_at",
    "properties",
    "context",
    "identity_type",
    "identity_value",
)
_HISTORIES = """
SELECT customer_id, name, occurred_at, properties
FROM event WHERE customer_id = ANY($1) AND name = ANY($2)
"""
_PAGE = """
SELECT event_id, kind, name, occurred_at, received_at, properties, context, message_id, sender
FROM event
WHERE customer_id = $1 AND ($2::text IS NULL OR name = $2)
    AND ($3::timestamptz IS NULL OR (occurred_at, event_id) < ($3, $4))
ORDER BY occurred_at DESC, event_id DESC LIMIT $5
"""
_RECEIVED_SINCE = """
SELECT customer_id, identity_type, identity_value, event_id, kind, name, occurred_at, received_at,
    properties, context, message_id, sender
FROM event WHERE customer_id = ANY($1) AND received_at >= $2 AND kind = ANY($3)
ORDER BY event_id
"""


class StoredEvent(NamedTuple):
    event_id: UUID
    kind: str
    name: str
    occurred_at: datetime
    received_at: datetime
    properties: dict[str, Json]
    context: dict[str, Json]
    message_id: str
    sender: str


Key = tuple[UUID, SenderClass, str]
"""A customer, who sent it, and a message id: what an event is recorded under."""


async def find_recorded(connection: Connection, keys: Collection[Key]) -> set[Key]:
    if not keys:
        return set()
    rows = await connection.fetch(_RECORDED, *map(list, zip(*keys, strict=True)))
    return {(row[0], SenderClass(row[1]), row[2]) for row in rows}


async def append(connection: Connection, events: Iterable[tuple[UUID, Call]]) -> None:
    """Add events by COPY. The caller holds the customers' locks and knows none is there yet."""

    async def lines() -> AsyncIterator[bytes]:
        yield "".join(_format_line(customer, call) for customer, call in events).encode()

    await connection.copy_to_table("event", source=lines(), columns=_COLUMNS)


def _format_line(customer: UUID, call: Call) -> str:
    kind, value = call.primary_identity
    fields = (
        str(customer),
        call.sender,
        _escape(call.message_id),
        str(call.event_id),
        call.kind,
        _escape(call.name),
        call.occurred_at.isoformat(),
        call.received_at.isoformat(),
        _escape(encode_json(call.properties)),
        _escape(encode_json(call.context)),
        kind,
        _escape(value),
    )
    return "\t".join(fields) + "\n"


def _escape(text: str) -> str:
    """Text as COPY reads it: backslashes first, then what would end a field."""
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    if not text.isprintable():
        text = text.replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    return text


async def read_histories(
    connection: Connection, customers: Collection[UUID], names: Collection[str]
) -> dict[UUID, list[RecordedEvent]]:
    """All events of these names, by customer; no customer is absent."""
    histories: dict[UUID, list[RecordedEvent]] = {customer: [] for customer in customers}
    if customers and names:
        for customer, *event in await connection.fetch(_HISTORIES, list(customers), list(names)):
            histories[customer].append(RecordedEvent(*event))
    return histories


async def read_received_since(
    connection: Connection, customers: Collection[UUID], since: datetime, kinds: Collection[str]
) -> list[tuple[UUID, tuple[str, str], StoredEvent]]:
    """The events of some kinds of these customers: each with its customer and its identity."""
    rows = await connection.fetch(_RECEIVED_SINCE, list(customers), since, list(kinds))
    return [(row[0], (row[1], row[2]), StoredEvent(*tuple(row)[3:])) for row in rows]


async def read_page(
    connection: Connection,
    customer: UUID,
    name: str | None,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> list[StoredEvent]:
    """A customer's events, the latest first, from after a position in that order."""
    at, event_id = after or (None, None)
    rows: Sequence[Any] = await connection.fetch(_PAGE, customer, name, at, event_id, limit)
    return [StoredEvent(*row) for row in rows]
