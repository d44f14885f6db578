"""A whole Raak, started once."""

from collections.abc import Iterator

import pytest

from tests.stack import Stack, running


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A Raak of this session's own."""
    with running(tmp_path_factory.mktemp("raak")) as stack:
        yield stack
