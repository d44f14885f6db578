"""A whole Raak of the fault tests' own: they leave it as they would a house after a storm."""

from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from tests.faults.load import HUNG_S, Client
from tests.stack import Stack, running

ALARM = """
key: alarm
name: An alarm that is set and goes off
entry: {event: alarm_set, key: event.alarm, again: once}
steps:
  - {key: sleep, wait: {for: 2s}}
  - {key: ring, send: {channel: APP, template: alarm, purpose: personalisation}}
  - {key: done, exit: rang}
"""
PUBLISH = "mutation($yaml: String!) { publishJourney(yaml: $yaml) { key } }"


@pytest.fixture(scope="package")
def raak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A Raak with the record shop, and a journey that waits for two seconds."""
    with running(tmp_path_factory.mktemp("raak")) as stack:
        stack.as_("marketer").data(PUBLISH, yaml=ALARM)
        yield stack


@pytest.fixture
async def client(raak: Stack) -> AsyncIterator[Client]:
    """A caller that waits longer for an answer than any deadline of the house."""
    timeout = aiohttp.ClientTimeout(total=HUNG_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield Client(raak, session)
