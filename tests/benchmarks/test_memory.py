"""Memory stays flat under operations that nobody has sent before, a million of them if need be.

Each is sent to the endpoint, as from a socket, and answered over services that answer at once: so
it is read, limited, priced, validated, planned, executed, written down and counted. What is new in
it differs by kind (`KINDS`), and the kinds come in turn: if memory is flat, it is for all of them.
Measured: resident memory, and the rate, at 10 thousand, 100 thousand, 300 thousand and a million.
Target: from 10 thousand on, when all that is kept is full, less than 8 MB more; and the audit log
keeps up, though requests leave the loop no rest: no record is dropped.

Fifteen thousand take twenty seconds; a million, in one process, less than twenty minutes:

    OPERATIONS=1_000_000 pytest -m benchmark tests/benchmarks/test_memory.py -s

With `KIND=customers`, say, all are of that kind: to find the one that is kept.
"""

import asyncio
import gc
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from time import perf_counter
from typing import Any

import orjson
import psutil
import pytest

from gateway.access.audit.audit_log import DROPPED, AuditLog
from gateway.access.limits.load_shedding import Admission, LoadShedder, Priorities
from gateway.access.limits.rate_limits import RateLimiter, RateLimits
from gateway.access.limits.registered_operations import OperationRegistry, hash_document
from gateway.graphql_http.endpoint import GraphQLOverHttp
from gateway.graphql_http.persisted_operations import PersistedOperations
from gateway.supergraph import SubgraphResponse
from tests.unit.gateway.small_graph import AGENT, InProcess, endpoint, graph

JSON = dict[str, Any]

FULL_AT = 10_000
SHOWN_AT = (FULL_AT, 100_000, 300_000, 1_000_000)
FLAT_MB = 8
KEPT = 250
"""Operations, and taught documents: a quarter of the default, for garbage is looked for among all
that is kept, and that took a third of the time.
"""
WAITING = 1_000
"""Records of the audit log that may wait: a tenth of the default."""
NOTHING = SubgraphResponse(200, b'{"data": {}}')
HEADERS = [
    (b"content-type", b"application/json"),
    (b"authorization", AGENT["Authorization"].encode()),
]


def by_hash(text: str) -> JSON:
    """What Apollo's clients ask for a document by; with the text they teach it."""
    return {"extensions": {"persistedQuery": {"sha256Hash": hash_document(text)}}}


KINDS: Mapping[str, Callable[[int], JSON]] = {
    "texts": lambda n: {"query": f"{{ catalogue }} # {n}"},
    "aliases": lambda n: {"query": f"{{ a{n}: catalogue }}"},
    "names": lambda n: {"query": f"query Q{n} {{ catalogue }}", "operationName": f"Q{n}"},
    "variables": lambda n: {
        "query": f"query($v{n}: ID!) {{ action(key: $v{n}) }}",
        "variables": {f"v{n}": "jazz"},
    },
    "customers": lambda n: {"query": f'{{ customer(ref: {{id: "{n}"}}) {{ id }} }}'},
    "hashes": lambda n: by_hash(text := f"{{ h{n}: catalogue }}") | {"query": text},
    "unknown hashes": lambda n: by_hash(f"{{ nobody{n}: catalogue }}"),
    "unknown fields": lambda n: {"query": f"{{ unknown{n} }}"},
    "unreadable": lambda n: {"query": f"{{ unreadable{n}"},
}
REFUSED = {"unknown hashes", "unknown fields", "unreadable"}


class Prompt(InProcess):
    """Services that know of nothing, and say so at once."""

    async def fetch(
        self, subgraph: str, body: bytes, headers: Mapping[str, str], *, is_idempotent: bool
    ) -> SubgraphResponse:
        await asyncio.sleep(0)  # as a socket does, lets what goes on beside requests go on
        return NOTHING


def gateway(audit: AuditLog) -> GraphQLOverHttp:
    """The endpoint of a gateway on which one caller may ask without end."""
    endless = RateLimiter(RateLimits(rate_per_s=1e9, burst=10**9))
    served = replace(
        graph(Prompt()),
        cache_size=KEPT,
        admission=Admission(endless, LoadShedder(), Priorities.read()),
        audit=audit,
    )
    return endpoint(
        InProcess(),
        served=lambda: served,
        operations=PersistedOperations(OperationRegistry(), learns=KEPT),
    )


async def ask(app: GraphQLOverHttp, request: JSON) -> bytes:
    """The body of the answer."""
    body, said = orjson.dumps(request), b""

    async def receive() -> JSON:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        nonlocal said
        said = message.get("body", b"")

    scope = {"type": "http", "method": "POST", "path": "/graphql", "headers": HEADERS}
    await app(scope, receive, send)
    return said


def distinct(kinds: Sequence[str], many: int) -> Iterator[tuple[bool, JSON]]:
    """So many operations, of the kinds in turn, and whether each is refused."""
    for number, kind in zip(range(many), cycle(kinds), strict=False):
        yield kind in REFUSED, KINDS[kind](number)


async def resident_mb(kinds: Sequence[str], many: int) -> dict[int, float]:
    """Resident memory after so many operations, printed on the way."""
    told: dict[int, float] = {}
    process, started = psutil.Process(), perf_counter()
    audit = AuditLog(lambda lines: None, "secret", waiting=WAITING)
    app = gateway(audit)
    gc.collect()
    gc.freeze()  # as every process of ours does at its start
    async with audit.writing():
        for number, (is_refused, request) in enumerate(distinct(kinds, many), 1):
            said = await ask(app, request)
            assert (b'"errors"' in said) is is_refused, said
            if number in SHOWN_AT or number == many:
                told[number] = process.memory_info().rss / 2**20
                rate = number / (perf_counter() - started)
                print(f"{number:>9,} operations: {told[number]:6.1f} MB resident, {rate:,.0f}/s")
    gc.unfreeze()
    return told


@pytest.mark.benchmark
def test_memory_is_flat_under_ever_new_operations() -> None:
    kind = os.environ.get("KIND")
    many = int(os.environ.get("OPERATIONS", "15_000"))

    dropped = DROPPED._value.get()

    print()
    told = asyncio.run(resident_mb([kind] if kind else list(KINDS), many))

    assert DROPPED._value.get() == dropped
    assert max(told.values()) - told[FULL_AT] < FLAT_MB
