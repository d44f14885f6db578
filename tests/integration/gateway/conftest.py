"""Deadlines that a busy machine keeps: a test whose subject is one sets its own."""

from collections.abc import Iterator

import pytest

PATIENT = {"SUBGRAPH": "30000", "REQUEST": "60000", "MUTATION": "60000"}


@pytest.fixture(scope="package", autouse=True)
def patience() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, milliseconds in PATIENT.items():
            patch.setenv(f"RAAK_GATEWAY_{name}_DEADLINE_MS", milliseconds)
        yield
