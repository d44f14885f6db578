"""The endpoint behind its real server, spoken to byte by byte: what HTTP allows, and what not.

The bytes are uvicorn's to read. These tests keep it from being trusted with what it cannot do.
"""

import asyncio
import re
import socket
from collections.abc import AsyncIterator

import httpx
import orjson
import pytest

from gateway.security_headers import add_security_headers
from services.chassis.bodies import BodyLimits
from tests.integration.gateway.serving import Server, serving
from tests.unit.gateway.small_graph import AGENT, InProcess, endpoint

QUERY = b'{"query": "{ segments }"}'
DATA = {"data": {"segments": ["loyal"]}}
TOKEN = AGENT["Authorization"].encode()
BASE = b"Host: gateway\r\nAuthorization: %b\r\nContent-Type: application/json\r\n" % TOKEN


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server of the endpoint; a body may be 1,000 bytes and take two seconds."""
    body = BodyLimits(1_000, "max_body_bytes", within_s=2)
    async with serving(add_security_headers(endpoint(InProcess(), body=body), (), 0)) as server:
        yield server


def post(
    headers: bytes = b"", body: bytes = QUERY, start: bytes = b"POST /graphql HTTP/1.1"
) -> bytes:
    length = b"" if b"-Length" in headers or b"Encoding" in headers else b"Content-Length: %d\r\n"
    length = length % len(body) if length else length
    return b"%b\r\n%b%b%b\r\n%b" % (start, BASE, length, headers, body)


async def spoken(server: Server, sent: bytes, within_s: float = 5.0) -> bytes:
    """All that the server says to these bytes until it closes, or has nothing more to say."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    said = b""
    try:
        writer.write(sent)
        async with asyncio.timeout(within_s):
            while piece := await reader.read(65_536):
                said += piece
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()
    return said


def statuses(said: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3})", said)]


async def still_answers(server: Server) -> bool:
    async with httpx.AsyncClient(
        base_url=server.url, trust_env=False, timeout=30, headers=AGENT
    ) as client:
        response = await client.post("/graphql", json={"query": "{ segments }"})
    return response.status_code == 200 and response.json() == DATA


CLOSE = b"Connection: close\r\n"


async def test_requests_sent_ahead_are_answered_in_their_order(server: Server) -> None:
    second = b'{"query": "{ action(key: \\"x\\") }"}'
    third = b"{"

    said = await spoken(server, post() + post(body=second) + post(CLOSE, body=third))

    bodies = re.findall(rb"\r\n\r\n(\{.*?\})(?=HTTP|\Z)", said, re.DOTALL)
    assert statuses(said) == [200, 200, 400]
    assert [orjson.loads(body) for body in bodies[:2]] == [DATA, {"data": {"action": "x"}}]


async def test_a_body_may_come_in_chunks(server: Server) -> None:
    chunks = b"5\r\n" + QUERY[:5] + b"\r\n%x\r\n" % len(QUERY[5:]) + QUERY[5:] + b"\r\n0\r\n\r\n"

    said = await spoken(server, post(CLOSE + b"Transfer-Encoding: chunked\r\n", chunks))

    assert statuses(said) == [200]
    assert said.endswith(orjson.dumps(DATA))


async def test_chunks_without_end_are_read_no_longer_than_a_body_may_take(server: Server) -> None:
    endless = b"ffff\r\n" + b" " * 0xFFFF + b"\r\n"

    said = await spoken(server, post(b"Transfer-Encoding: chunked\r\n", endless * 20))

    assert statuses(said) == [413]
    assert b"connection: close" in said


LARGE = b" " * 5_000_000
"""More than the system holds of a connection: it is only sent if it is also read."""


@pytest.mark.parametrize("connection", [b"", CLOSE])
@pytest.mark.parametrize(
    ("length", "body"),
    [
        (b"Content-Length: %d\r\n" % len(LARGE), LARGE),
        (b"Transfer-Encoding: chunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(LARGE), LARGE)),
    ],
    ids=["announced", "in chunks"],
)
async def test_a_client_that_sends_a_whole_body_before_it_reads_learns_that_it_is_too_large(
    server: Server, connection: bytes, length: bytes, body: bytes
) -> None:
    def talk() -> bytes:
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as plain:
            plain.sendall(post(length + connection, body))
            return b"".join(iter(lambda: plain.recv(65_536), b""))

    said = await asyncio.to_thread(talk)

    assert statuses(said) == [413]
    assert b"BODY_TOO_LARGE" in said


async def test_what_is_announced_too_large_and_does_not_come_is_not_waited_for(
    server: Server,
) -> None:
    said = await spoken(server, post(b"Content-Length: 5000\r\n"))

    assert statuses(said) == [413]


async def test_a_body_that_stops_short_is_not_waited_for(server: Server) -> None:
    said = await spoken(server, post(b"Content-Length: 900\r\n"))

    assert statuses(said) == [408]
    assert b"BODY_TOO_SLOW" in said


async def test_a_client_that_waits_to_be_told_to_go_on_is_told(server: Server) -> None:
    said = await spoken(server, post(CLOSE + b"Expect: 100-continue\r\n"))

    assert statuses(said) == [100, 200]


async def test_a_body_announced_too_large_is_refused_before_it_is_sent(server: Server) -> None:
    said = await spoken(server, post(b"Content-Length: 5000\r\nExpect: 100-continue\r\n", body=b""))

    assert statuses(said) == [413]


ODD: dict[str, bytes] = {
    "no host": post(CLOSE).replace(b"Host: gateway\r\n", b""),
    "old version": post(start=b"POST /graphql HTTP/1.0"),
    "version 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "absolute address": post(CLOSE, start=b"POST http://gateway/graphql HTTP/1.1"),
    "no version": b"POST /graphql\r\n\r\n",
    "unknown method": post(CLOSE, start=b"BREW /graphql HTTP/1.1"),
    "bad chunk": post(b"Transfer-Encoding: chunked\r\n", b"zz\r\n{}\r\n0\r\n\r\n"),
    "bad chunk size": post(b"Transfer-Encoding: chunked\r\n", b"-5\r\n{}\r\n0\r\n\r\n"),
    "huge chunk size": post(b"Transfer-Encoding: chunked\r\n", b"f" * 40 + b"\r\n{}"),
    "length and chunks": post(
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n"
    ),
    "two lengths": post(b"Content-Length: 5\r\nContent-Length: 25\r\n"),
    "length no number": post(b"Content-Length: five\r\n"),
    "negative length": post(b"Content-Length: -1\r\n"),
    "huge length": post(b"Content-Length: " + b"9" * 30 + b"\r\n"),
    "null in a header": post(CLOSE + b"X-A: a\0b\r\n"),
    "header without name": post(CLOSE + b": b\r\n"),
    "folded header": post(CLOSE + b"X-A: a\r\n b\r\n"),
    "bytes": bytes(range(256)) * 4,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
    "half a request": post()[:40],
    "upgrade to nonsense": post(b"Connection: Upgrade\r\nUpgrade: nonsense\r\n"),
}


@pytest.mark.parametrize("name", ODD)
async def test_odd_requests_are_answered_or_refused_and_harm_nobody(
    server: Server, name: str
) -> None:
    said = await spoken(server, ODD[name], within_s=0.3)

    assert all(status < 500 for status in statuses(said)), said
    assert len(statuses(said)) <= 1, said
    assert await still_answers(server)


async def test_what_is_smuggled_behind_a_body_is_no_request(server: Server) -> None:
    """A body with two lengths could hide a request from a proxy that believes the other one."""
    hidden = post(CLOSE, body=b'{"query": "{ smuggled }"}')

    both = b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"
    said = await spoken(server, post(both, b"0\r\n\r\n" + hidden), within_s=0.3)

    assert statuses(said) in ([], [400])
