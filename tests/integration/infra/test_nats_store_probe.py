"""A NATS that listens and stores nothing is found out."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra import embedded, nats_store_probe
from infra.nats_store_probe import find_store_fault
from tests.conftest import free_port


@pytest.fixture
def full(tmp_path: Path) -> Iterator[str]:
    """The address of a NATS whose disk holds next to nothing."""
    port = free_port()
    server = embedded.nats_process(tmp_path / "nats", port, "secret")
    configuration = tmp_path / "nats" / "nats.conf"
    text = configuration.read_text().replace("jetstream {", "jetstream { max_file: 1,")
    configuration.write_text(text)
    with embedded.run_server(server):
        yield f"nats://raak:secret@127.0.0.1:{port}"


def test_nats_that_cannot_store_is_told_with_its_reason(full: str) -> None:
    asyncio.run(find_store_fault(full))  # more than fits

    assert "insufficient" in str(asyncio.run(find_store_fault(full)))


def test_nats_that_stores_is_well_and_one_that_is_gone_is_somebody_elses_trouble(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asyncio.run(find_store_fault(nats_url)) is None
    assert asyncio.run(find_store_fault(nats_url)) is None

    monkeypatch.setattr(nats_store_probe, "TIMEOUT_S", 0.3)
    assert asyncio.run(find_store_fault(f"nats://127.0.0.1:{free_port()}")) is None
