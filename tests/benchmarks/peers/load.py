"""A closed loop of HTTP/1.1 connections, each asking again as soon as it was answered."""

import asyncio
import time
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import orjson

from tests.benchmarks.peers.subgraphs import OFFERS, offer

QUERY = """query Offers($id: ID!) {
  customer(id: $id) {
    id
    name
    offers(first: 5) { id action title body channel rank propensity score }
  }
}"""


@dataclass(slots=True)
class Load:
    """What came of a load."""

    answers: int = 0
    seconds: float = 0.0
    took_ms: list[float] = field(default_factory=list)

    @property
    def per_s(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds

    def percentile_ms(self, percent: float) -> float:
        """The time under which this share of the answers came."""
        ordered = sorted(self.took_ms)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


class Mismatch(Exception):
    """A gateway answered something else than the subgraphs say."""


def _request(port: int, path: str, headers: dict[str, str], customer: str) -> bytes:
    body = orjson.dumps({"query": QUERY, "variables": {"id": customer}})
    lines = {
        "Host": f"127.0.0.1:{port}",
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Content-Length": str(len(body)),
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def _must_be(customer: str) -> dict[str, Any]:
    offers = [vars(offer(customer, rank)) for rank in range(1, OFFERS + 1)]
    return {"customer": {"id": customer, "name": f"Customer {customer}", "offers": offers}}


async def _read(reader: asyncio.StreamReader) -> bytes:
    """The body of one response, by its length or in chunks."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    found = head.find(b"content-length:")
    if found >= 0:
        return await reader.readexactly(int(head[found + 15 : head.index(b"\r\n", found)]))
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return body


async def answer_of(port: int, path: str, headers: dict[str, str], customer: str) -> dict[str, Any]:
    """One answer, parsed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(_request(port, path, headers, customer))
        answer: dict[str, Any] = orjson.loads(await _read(reader))
        return answer
    finally:
        writer.close()


async def measure(
    port: int, path: str, headers: dict[str, str], *, connections: int, seconds: float
) -> Load:
    """Ask for `seconds` over so many connections; raises Mismatch."""
    load, numbers, verified = Load(), count(), set[bytes]()
    until = time.perf_counter() + seconds
    started = time.perf_counter()

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (sent := time.perf_counter()) < until:
            customer = f"c{next(numbers) % 1_000}"
            writer.write(_request(port, path, headers, customer))
            body = await _read(reader)
            load.took_ms.append((time.perf_counter() - sent) * 1000)
            load.answers += 1
            if body not in verified:  # it names its customer, so it need be read only once
                if orjson.loads(body) != {"data": _must_be(customer)}:
                    raise Mismatch(body[:500])
                verified.add(body)
        writer.close()

    await asyncio.gather(*(ask() for _ in range(connections)))
    load.seconds = time.perf_counter() - started
    return load
