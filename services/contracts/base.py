"""The shape all events share, and how they travel: CloudEvents 1.0 in structured JSON."""

from datetime import datetime
from typing import Any, ClassVar, Self
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict

Json = Any
"""A JSON value: None, bool, int, float, str, or lists and dicts of them."""

DEEPEST_JSON = 32
"""Most levels of lists and objects in a JSON value that comes in. What goes out is inside an answer
or an event, which may have a hundred levels."""

DEEPEST_OUTPUT = 2 * DEEPEST_JSON
"""Most levels of a value that goes out: some stored before there was a limit are deeper."""


def is_deeper(value: Json, levels: int) -> bool:
    """Whether a value has more levels of lists and objects; `{}` has one, `1` none."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(levels):
        if not level:
            return False
        level = [inner for outer in level for inner in _containers(outer)]
    return bool(level)


def cut_depth(value: Json, levels: int) -> Json:
    """The value, with null in place of what is deeper than so many levels."""
    return _cut(value, levels) if is_deeper(value, levels) else value


def _cut(value: Json, levels: int) -> Json:
    if not isinstance(value, dict | list):
        return value
    if not levels:
        return None
    if isinstance(value, list):
        return [_cut(item, levels - 1) for item in value]
    return {name: _cut(inner, levels - 1) for name, inner in value.items()}


def _containers(value: Json) -> list[Json]:
    values = value.values() if isinstance(value, dict) else value
    return [inner for inner in values if isinstance(inner, dict | list)]


ENVELOPE = frozenset({"event_id", "customer_id", "occurred_at"})


class Payload(BaseModel):
    """Part of an event: frozen; fields that a newer sender added are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Event(Payload):
    """A fact, in the past tense, about one customer (or about none).

    `fact` is `<service>.<fact>.v<version>`. A `compacted` event carries the whole state it is
    about, so the bus keeps only the latest one of each customer.
    """

    fact: ClassVar[str]
    compacted: ClassVar[bool] = False

    event_id: UUID
    customer_id: UUID | None
    occurred_at: datetime

    @classmethod
    def service(cls) -> str:
        """The publishing service: the first word of `fact`."""
        return cls.fact.partition(".")[0]

    @classmethod
    def type(cls) -> str:
        """The CloudEvents type, and the NATS subject up to the customer id."""
        return f"raak.{cls.fact}"

    def address(self) -> str:
        """The NATS subject: one per customer, so that one customer can be erased from a stream."""
        return f"{self.type()}.{self.customer_id or '-'}"

    def fit(self, largest_bytes: int) -> Self | None:
        """The event with parts left out, so that its document has at most so many bytes.

        None if nothing of this fact may be left out.
        """
        return None

    def to_cloudevent(self, traceparent: str | None = None) -> bytes:
        """The event as a CloudEvents 1.0 structured JSON document."""
        data = self.model_dump(mode="json", exclude=set(ENVELOPE))
        envelope: dict[str, Json] = {
            "specversion": "1.0",
            "id": str(self.event_id),
            "source": f"/raak/{self.service()}",
            "type": self.type(),
            "time": self.occurred_at.isoformat(),
            "datacontenttype": "application/json",
            "data": data,
        }
        if self.customer_id is not None:
            envelope["subject"] = str(self.customer_id)
        if traceparent:
            envelope["traceparent"] = traceparent
        return orjson.dumps(envelope)

    @classmethod
    def from_cloudevent(cls, document: bytes) -> Self:
        """Read an event back; raises ValueError (pydantic's or orjson's) if it is not one."""
        envelope = orjson.loads(document)
        return cls.model_validate(
            {
                **envelope["data"],
                "event_id": envelope["id"],
                "customer_id": envelope.get("subject"),
                "occurred_at": envelope["time"],
            }
        )
