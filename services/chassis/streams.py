"""The streams of JetStream: one per fact, and those of retries and dead letters.

A stream keeps each customer's events under a subject of their own, so a compacted fact keeps the
latest one of every customer, and one customer can be purged from all streams.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

from nats.js.api import RawStreamMsg, StorageType, StreamConfig

from services.contracts.base import Event

RETENTION_S = 7 * 24 * 3600
"""How long a stream keeps an event, unless it is compacted; the inbox remembers ids for longer."""

DEAD_LETTERS = "RAAK_DEAD_LETTERS"
RETRIES = "RAAK_RETRIES"
DEAD_LETTER_STREAM = StreamConfig(
    name=DEAD_LETTERS,
    subjects=["raak.dead.>"],
    storage=StorageType.FILE,
    duplicate_window=0,
)
RETRY_STREAM = StreamConfig(
    name=RETRIES,
    subjects=["raak.retry.>"],
    storage=StorageType.FILE,
    max_age=RETENTION_S,
    duplicate_window=1,
)

POSITION_HEADER = "Raak-Place"
"""Header of a message: the epoch of the database it comes from, and its place in the outbox."""


def stream_name(fact: str) -> str:
    """`profile.customer_changed.v1` is kept in `RAAK_PROFILE_CUSTOMER_CHANGED_V1`."""
    return f"RAAK_{fact.replace('.', '_').upper()}"


def consumer_name(service: str, fact: str) -> str:
    return f"{service}-{fact}".replace(".", "_")


def inbox_prefix(process: str) -> str:
    """The subject prefix where NATS answers a process; no other process may subscribe to it."""
    return f"_INBOX.{process}"


def stream_config(event: type[Event]) -> StreamConfig:
    return StreamConfig(
        name=stream_name(event.fact),
        subjects=[f"{event.type()}.*"],
        storage=StorageType.FILE,
        max_msgs_per_subject=1 if event.compacted else -1,
        max_age=0 if event.compacted else RETENTION_S,
        duplicate_window=120,
        allow_direct=True,
    )


class OutboxPosition(NamedTuple):
    """The position of a message among all its database has sent; a later one is greater."""

    epoch: int
    position: int

    @classmethod
    def from_headers(cls, headers: Mapping[str, str] | None) -> Self | None:
        """The position of a message, if it has one."""
        header = (headers or {}).get(POSITION_HEADER)
        return cls(*map(int, header.split())) if header else None

    def to_headers(self) -> dict[str, str]:
        return {POSITION_HEADER: f"{self.epoch} {self.position}"}


class OutgoingMessage(NamedTuple):
    """A message to publish; `id` lets JetStream drop a copy sent within two minutes."""

    address: str
    id: str
    body: bytes
    position: OutboxPosition | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event a consumer failed to handle, and why."""

    sequence: int
    service: str
    fact: str
    reason: str
    deliveries: int
    body: bytes

    @classmethod
    def from_message(cls, sequence: int, message: RawStreamMsg) -> Self:
        service, fact = (message.subject or "").removeprefix("raak.dead.").split(".", 1)
        headers = message.headers or {}
        return cls(
            sequence=sequence,
            service=service,
            fact=fact,
            reason=headers.get("Raak-Reason", ""),
            deliveries=int(headers.get("Raak-Deliveries", "0")),
            body=message.data or b"",
        )
