"""Where definitions are read: not in the thread that answers everybody."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from services.chassis import definitions, yaml_core


@contextmanager
def reading_threads() -> Iterator[set[int]]:
    """The threads in which YAML is read meanwhile."""
    threads: set[int] = set()
    compose = yaml_core.compose

    def noting(*arguments: object) -> object:
        threads.add(threading.get_ident())
        return compose(*arguments)  # type: ignore[arg-type]

    with patch.object(definitions, compose.__name__, noting):
        yield threads
