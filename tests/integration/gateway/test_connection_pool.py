"""The gateway's HTTP client against real sockets, polite ones and others."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import pytest

from gateway.supergraph.transport.connection_pool import (
    KEEP_ALIVE_S,
    MAX_AGE_S,
    ConnectFailed,
    ConnectionBroken,
    ConnectionPool,
    ResponseTooLarge,
)
from tests.integration.gateway.misbehaving import (
    Behaviour,
    Misbehaving,
    misbehaving,
    says,
    says_and_leaves,
)

BODY = b'{"data":{}}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n" + BODY
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@asynccontextmanager
async def pool_to(
    behaviour: Behaviour,
    *,
    limit: int = 10,
    max_bytes: int = 1_000,
    now: Callable[[], float] = lambda: 0.0,
) -> AsyncIterator[tuple[ConnectionPool, Misbehaving]]:
    """A pool of connections to such a server."""
    async with misbehaving(behaviour) as server:
        pool = ConnectionPool(server.url, limit, max_bytes, 1.0, now)
        try:
            yield pool, server
        finally:
            pool.close()


async def ask(
    pool: ConnectionPool, headers: Mapping[str, str] | None = None, within_s: float = 5.0
) -> tuple[int, bytes]:
    deadline = asyncio.get_running_loop().time() + within_s
    return await asyncio.wait_for(pool.post(headers or {}, b"{}", deadline), 10)


async def test_a_request_is_written_as_http_has_it() -> None:
    async with pool_to(says(ANSWER)) as (pool, server):
        answer = await ask(pool, {"Authorization": "Bearer t"})

    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert answer == (200, BODY)
    assert head.splitlines()[0] == b"POST /graphql HTTP/1.1"
    assert {b"Authorization: Bearer t", b"Content-Length: 2"} < set(head.splitlines())
    assert body == b"{}"


async def test_a_connection_is_kept_for_the_next_request() -> None:
    async with pool_to(says(ANSWER)) as (pool, server):
        for _ in range(5):
            await ask(pool)

    assert (server.connections, len(server.requests)) == (1, 5)


async def test_requests_at_once_take_a_connection_each_up_to_the_limit() -> None:
    async with pool_to(says(ANSWER), limit=3) as (pool, server):
        answers = await asyncio.gather(*(ask(pool) for _ in range(30)))

    assert answers == [(200, BODY)] * 30
    assert server.connections == 3


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n",), (503, b"")),
        ((b"HTTP/1.1 204 None\r\n\r\n",), (204, b"")),
        (
            (CHUNKED + b"5\r\n{", b'"a":\r\n', b"2\r\n1}\r\n0\r\n\r\n"),
            (200, b'{"a":1}'),
        ),
        ((b"HTTP/1.1 100 Continue\r\n\r\n", ANSWER), (200, BODY)),
        (tuple(ANSWER[i : i + 1] for i in range(len(ANSWER))), (200, BODY)),
    ],
    ids=["an error", "no content", "in chunks", "after a 100", "byte by byte"],
)
async def test_an_answer_is_read_however_it_comes(
    parts: tuple[bytes, ...], expected: tuple[int, bytes]
) -> None:
    async with pool_to(says(*parts)) as (pool, _):
        first = await ask(pool)
        second = await ask(pool)

    assert (first, second) == (expected, expected)


@pytest.mark.parametrize(
    "part",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n" + BODY[:5],
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -4\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"\x00" * 100,
    ],
    ids=[
        "nothing",
        "half a body",
        "half a head",
        "another protocol",
        "a senseless length",
        "a senseless chunk",
        "zeroes",
    ],
)
async def test_what_is_no_answer_breaks_the_request_and_nothing_else(part: bytes) -> None:
    said = [says_and_leaves(part), says(ANSWER)]

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await said.pop(0)(reader, writer)

    async with pool_to(talk) as (pool, _):
        with pytest.raises(ConnectionBroken):
            await ask(pool)
        assert await ask(pool) == (200, BODY)


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "in chunks"])
async def test_an_answer_that_grows_too_large_is_read_no_further(chunked: bool) -> None:
    head = b"transfer-encoding: chunked" if chunked else b"content-length: 100000000"
    piece = b"200\r\n" + b"x" * 512 + b"\r\n" if chunked else b"x" * 512
    endless = says(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n", *[piece] * 50)

    async with pool_to(endless) as (pool, _):
        with pytest.raises(ResponseTooLarge):
            await ask(pool)


async def test_a_server_that_closes_after_its_answer_gets_a_new_connection() -> None:
    closing = ANSWER.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1)

    async with pool_to(says(closing)) as (pool, server):
        answers = [await ask(pool) for _ in range(3)]

    assert answers == [(200, BODY)] * 3
    assert server.connections == 3


async def test_an_answer_nobody_asked_for_reaches_nobody() -> None:
    other = ANSWER.replace(BODY, b'{"not":"it"}'[:11])

    async with pool_to(says(ANSWER + other)) as (pool, server):
        answers = [await ask(pool) for _ in range(3)]

    assert answers == [(200, BODY)] * 3
    assert server.connections == 3


async def test_a_request_given_up_leaves_no_answer_for_the_next_one() -> None:
    late = asyncio.Event()
    said = [late.wait]

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if said:
            await said.pop()()
        writer.write(ANSWER)

    async with pool_to(talk, limit=1) as (pool, server):
        given_up = asyncio.create_task(ask(pool))
        await server.wait_for_request()
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        late.set()
        assert await ask(pool) == (200, BODY)

    assert server.connections == 2


async def test_an_answer_that_is_late_is_given_up_and_the_next_one_is_not_it() -> None:
    late = asyncio.Event()
    said = [late.wait]

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if said:
            await said.pop()()
        writer.write(ANSWER)

    async with pool_to(talk) as (pool, server):
        with pytest.raises(TimeoutError):
            await ask(pool, within_s=1.0)
        late.set()
        assert await ask(pool) == (200, BODY)

    assert server.connections == 2


async def test_who_waits_for_a_connection_in_vain_is_told_in_time() -> None:
    never = asyncio.Event()

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await never.wait()

    async with pool_to(talk, limit=1) as (pool, server):
        first = asyncio.create_task(ask(pool, within_s=30.0))
        await server.wait_for_request()
        with pytest.raises(TimeoutError):
            await ask(pool, within_s=0.05)
        assert not first.done()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        never.set()

    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("passed_s", "connections"),
    [(KEEP_ALIVE_S - 0.1, 1), (KEEP_ALIVE_S, 2)],
    ids=["shortly", "for long"],
)
async def test_a_connection_idle_for_long_is_not_used_again(
    passed_s: float, connections: int
) -> None:
    now = [0.0]
    async with pool_to(says(ANSWER), now=lambda: now[0]) as (pool, server):
        await ask(pool)
        now[0] += passed_s
        await ask(pool)

    assert server.connections == connections


async def test_an_old_connection_is_renewed_however_busy() -> None:
    now = [0.0]
    async with pool_to(says(ANSWER), now=lambda: now[0]) as (pool, server):
        while now[0] <= MAX_AGE_S:
            await ask(pool)
            now[0] += KEEP_ALIVE_S / 2
        await ask(pool)

    assert server.connections == 2


async def test_nobody_there_is_an_error_at_once() -> None:
    pool = ConnectionPool("http://127.0.0.1:1/graphql", 10, 1_000, 1.0)

    with pytest.raises(ConnectFailed):
        await ask(pool)


async def test_a_header_with_a_line_break_is_not_sent() -> None:
    async with pool_to(says(ANSWER)) as (pool, server):
        with pytest.raises(ValueError, match="line break"):
            await ask(pool, {"X-Trace": "1\r\nX-Role: admin"})

    assert server.requests == []
