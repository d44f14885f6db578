"""What was acknowledged is there, once; and after a fault's end all is well again."""

import asyncio
from contextlib import closing

import pytest

from tests.faults.audit import WELL_AGAIN_S, at_rest
from tests.faults.faults import CALLS, FAULTS, Fault
from tests.faults.load import Client, Load
from tests.stack import Stack

BEFORE_S = 2
FAULT_S = 3  # longer than an alarm sleeps, so that some are due meanwhile
AFTER_S = 2


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
async def test_what_was_acknowledged_is_there_once(
    raak: Stack, client: Client, fault: Fault
) -> None:
    load = Load(client, fault.name.replace(" ", "-"), seed=FAULTS.index(fault))
    with closing(load):
        await load.introduce()
        await at_rest(raak, client, load.ledger)

        load.open(BEFORE_S + FAULT_S + AFTER_S)
        await asyncio.sleep(BEFORE_S)
        await next_answer(load)
        await asyncio.to_thread(fault.begin, raak)
        await asyncio.sleep(FAULT_S)
        await asyncio.to_thread(fault.end, raak)
        await load.served(WELL_AGAIN_S)
        await at_rest(raak, client, load.ledger)

    refusals = load.ledger.refusals
    assert refusals or fault.spares == CALLS  # else it was no fault at all
    assert {refusal.call for refusal in refusals}.isdisjoint(fault.spares), refusals


async def next_answer(load: Load) -> None:
    """Return in the instant in which a decision is answered; fail if none is for long."""
    load.answered.clear()
    async with asyncio.timeout(WELL_AGAIN_S):
        await load.answered.wait()
