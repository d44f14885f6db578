"""A bounded dictionary."""

from collections import OrderedDict
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Lru(Generic[T]):
    """A dictionary that drops what was least recently used."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: OrderedDict[object, T] = OrderedDict()

    def get(self, key: object) -> T | None:
        """The value, which becomes the most recent; None if it isn't there."""
        found = self._items.get(key)
        if found is not None:
            self._items.move_to_end(key)
        return found

    def put(self, key: object, value: T) -> None:
        """Add a value, and drop the least recently used one if there are too many."""
        self._items[key] = value
        if len(self._items) > self._size:
            self._items.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        self._items.clear()

    def keys(self) -> list[Any]:
        """All keys, the most recent last."""
        return list(self._items)

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __len__(self) -> int:
        return len(self._items)
