"""Ids that grow with time, so that new rows land at the end of an index."""

from datetime import datetime
from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    return uuid7()


def first_id_at(moment: datetime) -> UUID:
    """The lowest UUID version 7 that can have been made at `moment`: ids below it are older."""
    milliseconds = int(moment.timestamp() * 1000)
    return UUID(int=(milliseconds << 80) | (0x7 << 76) | (0b10 << 62))
