"""NATS loses its data, a database is an older one: all who live on hear the same in the end."""

import asyncio
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from infra import resync
from infra.databases import find_databases
from infra.processes import SERVICES
from services.chassis.resync import ResyncUnderWay
from tests.faults.audit import WELL_AGAIN_S, at_rest
from tests.faults.faults import Fault
from tests.faults.load import Client, Load
from tests.faults.losses import LOSSES, dump, restore
from tests.stack import Stack

BEFORE_S, DEAF_S, AFTER_S = 1, 2, 1
CHANGES = 3


@pytest.mark.parametrize("loss", LOSSES, ids=[loss.name for loss in LOSSES])
async def test_what_nobody_had_heard_when_nats_lost_it_is_heard(
    raak: Stack, client: Client, loss: Fault
) -> None:
    load = Load(client, loss.name.replace(" ", "-"), seed=LOSSES.index(loss))
    with closing(load):
        await load.introduce()
        await at_rest(raak, client, load.ledger)

        load.open(BEFORE_S + DEAF_S + AFTER_S)
        await asyncio.sleep(BEFORE_S)
        await asyncio.to_thread(loss.begin, raak)
        await asyncio.sleep(DEAF_S)
        await asyncio.to_thread(loss.end, raak)
        await load.served(WELL_AGAIN_S)
        await at_rest(raak, client, load.ledger)

    assert load.ledger.orders


async def test_a_withdrawn_consent_is_heeded_though_profile_became_an_older_one(
    raak: Stack, client: Client, tmp_path: Path
) -> None:
    load = Load(client, "restored", seed=7)
    with closing(load):
        await load.introduce()
        await at_rest(raak, client, load.ledger)
        await asyncio.to_thread(dump, raak, "profile", tmp_path / "profile.dump")
        forget = load.mark()
        for change in range(CHANGES):
            await load.consent(change % 2 == 1)
        await at_rest(raak, client, load.ledger)

        await asyncio.to_thread(restore, raak, "profile", tmp_path / "profile.dump")
        forget()
        await at_rest(raak, client, load.ledger)
        await load.consent(False)
        await at_rest(raak, client, load.ledger)

    assert set(load.ledger.consents.values()) == {False}


async def test_a_resync_waits_for_a_service_that_is_down_and_changes_nothing_that_is_known(
    raak: Stack, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    databases = find_databases(raak.instance.folder, SERVICES)

    async def request_resync(*services: str) -> None:
        await resync.run(databases, services, timedelta(days=1), lines.append)

    load = Load(client, "resync", seed=8)
    with closing(load):
        await load.introduce()
        load.open(1)
        await load.served(WELL_AGAIN_S)
        await at_rest(raak, client, load.ledger)

        await asyncio.to_thread(raak.kill, "decision")
        monkeypatch.setattr(resync, "STALLED_S", 1)
        with pytest.raises(resync.ResyncStalled, match="decision has published 0"):
            await request_resync("decision")
        with pytest.raises(ResyncUnderWay, match="of decision is under way"):
            await request_resync()
        assert not lines  # the others were not asked either
        await asyncio.to_thread(raak.start, "decision")
        await at_rest(raak, client, load.ledger)
        monkeypatch.undo()
        for _ in range(2):
            await request_resync()
        await at_rest(raak, client, load.ledger)

    assert [line.split()[0] for line in lines] == [*SERVICES, *SERVICES]


async def test_a_service_nobody_knows_is_told_with_those_there_are(raak: Stack) -> None:
    databases = find_databases(raak.instance.folder, SERVICES)

    with pytest.raises(resync.UnknownService, match="'profil'"):
        await resync.run(databases, ["profil"], timedelta(0), print)
