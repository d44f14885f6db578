"""Which events only the company's servers may send: they are about money, or recorded by Raak."""

import re
from collections.abc import Iterable
from fnmatch import translate
from functools import lru_cache

from services.contracts.enums import SenderClass

SERVER_EVENTS = ("order_completed", "order_updated", "order_cancelled", "order_refunded")
"""The default; an operator may name others."""
RESERVED = "outcome_"
"""The prefix of the events that outcomes become in a customer's history: no sender may use it."""

_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[\s\-_.:]+")


def plain_name(name: str) -> str:
    """A name in snake case: `Order Completed` and `orderCompleted` are `order_completed`."""
    return "_".join(filter(None, _WORDS.split(name))).lower()


class ServerEvents:
    """Names of events that are accepted from servers and staff only; `*` matches any letters."""

    def __init__(self, patterns: Iterable[str] = SERVER_EVENTS) -> None:
        alternatives = "|".join(translate(plain_name(pattern)) for pattern in patterns)
        self._names = re.compile(alternatives) if alternatives else None
        self._is_named = lru_cache(maxsize=1_000)(self._matches)

    def may_send(self, sender: SenderClass, name: str) -> bool:
        """Whether a sender of this class may report an event of this name."""
        if name.startswith(RESERVED):
            return False
        return sender.is_trusted or not self._is_named(name)

    def _matches(self, name: str) -> bool:
        return bool(self._names and self._names.match(plain_name(name)))
