"""A whole Raak, started once, and some who live in it."""

from collections.abc import Iterator

import pytest

from tests.e2e.people import Person, people
from tests.stack import Stack, running


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A Raak of this session's own."""
    with running(tmp_path_factory.mktemp("raak")) as stack:
        yield stack


@pytest.fixture(scope="package")
def victims(stack: Stack) -> list[Person]:
    """Those whom nobody else may reach."""
    return people(stack, "victim", 3)


@pytest.fixture(scope="package")
def attackers(stack: Stack) -> list[Person]:
    """Those who try; each has a token for themselves."""
    return people(stack, "attacker", 8)
