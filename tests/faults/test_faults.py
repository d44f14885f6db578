"""What was acknowledged is there, once; and within 30 s of a fault's end all is well again."""

import asyncio
from contextlib import closing
from time import monotonic

import pytest

from tests.faults.audit import WELL_AGAIN_S, at_rest
from tests.faults.faults import CALLS, FAULTS, Fault
from tests.faults.load import Client, Load
from tests.stack import Stack

BEFORE_S = 3
FAULT_S = 5  # longer than an alarm sleeps, so that some are due meanwhile
AFTER_S = 3


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
async def test_what_was_acknowledged_is_there_once(
    raak: Stack, client: Client, fault: Fault
) -> None:
    load = Load(client, fault.name.replace(" ", "-"), seed=FAULTS.index(fault))
    with closing(load):
        await load.introduce()
        await at_rest(raak, client, load.ledger, WELL_AGAIN_S)

        load.open(BEFORE_S + FAULT_S + AFTER_S)
        await asyncio.sleep(BEFORE_S)
        await next_answer(load)
        await asyncio.to_thread(fault.begin, raak)
        await asyncio.sleep(FAULT_S)
        await asyncio.to_thread(fault.end, raak)
        well_again_at = monotonic() + WELL_AGAIN_S
        await load.served(well_again_at - monotonic())
        await at_rest(raak, client, load.ledger, well_again_at - monotonic())

    refusals = load.ledger.refusals
    assert refusals or fault.spares == CALLS  # else it was no fault at all
    assert {refusal.call for refusal in refusals}.isdisjoint(fault.spares), refusals


async def next_answer(load: Load) -> None:
    """Return in the instant in which a decision is answered; fail if none is for long."""
    load.answered.clear()
    async with asyncio.timeout(WELL_AGAIN_S):
        await load.answered.wait()
