"""The CDNOW data: 23,570 real customers of a CD shop and their 69,659 purchases, 1997 to 1998.

Published by Bruce Hardie and Peter Fader; carried by the wheel of Lifetimes (MIT), which is fetched
alone, checked by its hash, and never installed. It has no names: identities are invented.
"""

import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

from services.chassis.errors import RaakError

WHEEL = "Lifetimes==0.11.3"
SHA256 = "261e3dc89977c2b60767ca6728aaa29d429de0c814635070a749c36555895da8"
MEMBER = "lifetimes/datasets/CDNOW_master.txt"


class DataNotFetched(RaakError, code="DATA_NOT_FETCHED"):
    """The CDNOW data could not be downloaded."""


@dataclass(frozen=True, slots=True)
class Order:
    """One purchase. `total` is in dollars."""

    number: int
    at: datetime
    cds: int
    total: float


@dataclass(frozen=True, slots=True)
class Buyer:
    """One customer, with their orders by time."""

    name: str
    orders: tuple[Order, ...]

    @property
    def email(self) -> str:
        return f"{self.name}@example.com"

    @property
    def spent(self) -> float:
        return sum(order.total for order in self.orders)

    def calls(self) -> Iterator[dict[str, Any]]:
        yield {
            "type": "identify",
            "messageId": f"{self.name}-identify",
            "userId": self.name,
            "traits": {"email": self.email},
            "timestamp": self.orders[0].at.isoformat(),
        }
        for order in self.orders:
            yield {
                "type": "track",
                "messageId": f"{self.name}-{order.number}",
                "userId": self.name,
                "event": "order_completed",
                "properties": {
                    "order_id": f"{self.name}-{order.number}",
                    "cds": order.cds,
                    "total": order.total,
                    "currency": "USD",
                },
                "timestamp": order.at.isoformat(),
            }


def fetch(folder: Path) -> Path:
    path = folder / "CDNOW_master.txt"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        wheel = _download(folder)
        with zipfile.ZipFile(wheel) as archive:
            path.write_bytes(archive.read(MEMBER))
    return path


def _download(folder: Path) -> Path:
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{WHEEL} --hash=sha256:{SHA256}\n")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "--no-deps", "--require-hashes", "--dest", str(folder), "-r", str(wanted)],
        capture_output=True,
        text=True,
        check=False,
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise DataNotFetched(
            f"{WHEEL} could not be downloaded: {done.stderr.strip()[-300:]}",
            hint=f"Look at your network, or put CDNOW_master.txt into {folder}.",
        )
    return wheels[0]


def read(path: Path, today: date, most: int | None = None) -> list[Buyer]:
    """The customers, with dates moved so that the last purchase was yesterday.

    `most` takes every n-th customer, so that early and late ones stay in proportion.
    """
    rows = [line.split() for line in path.read_text().splitlines()[1:] if line.strip()]
    shift = today - timedelta(days=1) - max(_day(row[1]) for row in rows)
    buyers = [
        Buyer(f"cdnow-{number}", tuple(_orders(list(group), shift)))
        for number, group in groupby(rows, key=lambda row: row[0])
    ]
    return buyers[:: max(1, len(buyers) // most)][:most] if most else buyers


def _orders(rows: Sequence[list[str]], shift: timedelta) -> Iterator[Order]:
    for number, (_, day, cds, total) in enumerate(sorted(rows, key=lambda row: row[1]), 1):
        noon = datetime.combine(_day(day) + shift, time(12), UTC)
        yield Order(number, noon + timedelta(minutes=number), int(cds), float(total))


def _day(text: str) -> date:
    return datetime.strptime(text, "%Y%m%d").replace(tzinfo=UTC).date()
