"""The inbox: what journeys have to say to customers."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from services.chassis.database import Connection, execute_rows
from services.contracts.base import Json

_COLUMNS = """customer_id, message_id, run_id, journey, step, channel, template, purpose, content,
    status, created_at"""
_ADD = f"""
INSERT INTO message ({_COLUMNS})
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[],
    $7::text[], $8::text[], $9::jsonb[], $10::text[], $11::timestamptz[])
"""
_LATEST = f"""
SELECT latest.* FROM unnest($1::uuid[]) AS asked (id) CROSS JOIN LATERAL (
    SELECT {_COLUMNS} FROM message WHERE customer_id = asked.id ORDER BY message_id DESC LIMIT $2
) AS latest
"""
_FIRST_PAGE = f"SELECT {_COLUMNS} FROM message ORDER BY customer_id, message_id LIMIT $1"
_NEXT_PAGE = f"""
SELECT {_COLUMNS} FROM message WHERE (customer_id, message_id) > ($2, $3)
ORDER BY customer_id, message_id LIMIT $1
"""


class InboxMessage(NamedTuple):
    customer_id: UUID
    message_id: UUID
    instance_id: UUID
    journey: str
    step: str
    channel: str
    template: str
    purpose: str
    content: dict[str, Json]
    status: str
    created_at: datetime


async def add(connection: Connection, messages: Sequence[InboxMessage]) -> None:
    await execute_rows(connection, _ADD, messages)


async def load_page(
    connection: Connection, after: tuple[UUID, UUID] | None, most: int
) -> list[InboxMessage]:
    """The messages that follow a (customer, id), in this order; None: the first."""
    query, position = (_NEXT_PAGE, after) if after else (_FIRST_PAGE, ())
    return [InboxMessage(*row) for row in await connection.fetch(query, most, *position)]


async def load_latest(
    connection: Connection, ids: Collection[UUID], first: int
) -> dict[UUID, list[InboxMessage]]:
    inboxes: dict[UUID, list[InboxMessage]] = {one: [] for one in ids}
    for row in await connection.fetch(_LATEST, list(ids), first):
        inboxes[row["customer_id"]].append(InboxMessage(*row))
    return inboxes
