"""A proposition's id is its decision's id with its rank in the last byte.

So the decision of an outcome is found by the id of the proposition, without another index. Ids
stay opaque to clients.
"""

from base64 import b32decode, b32encode
from uuid import UUID

MOST_RANKS = 30
TRACKING_CODE_LENGTH = 26
_RANK = 0xFF
_PADDING = "======"


def make_decision_id(fresh: UUID) -> UUID:
    """A fresh id with room for ranks."""
    return UUID(int=fresh.int & ~_RANK)


def make_proposition_id(decision: UUID, rank: int) -> UUID:
    """The id of the proposition at a rank, from 1."""
    return UUID(int=decision.int | rank)


def split_proposition_id(proposition: UUID) -> tuple[UUID, int]:
    return make_decision_id(proposition), proposition.int & _RANK


def make_tracking_code(proposition: UUID) -> str:
    """A code for links: the proposition's id in 26 letters and digits."""
    return b32encode(proposition.bytes).decode().rstrip("=").lower()


def read_proposition_id(text: str) -> UUID:
    """The id of a proposition that is named by its id or its tracking code, in whatever case.

    Raises ValueError if it is neither.
    """
    code = text.lower()
    if len(code) != TRACKING_CODE_LENGTH:
        return UUID(text)
    proposition = UUID(bytes=b32decode(code.upper() + _PADDING))
    if make_tracking_code(proposition) != code:
        raise ValueError(text)
    return proposition
