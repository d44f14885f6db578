"""Clients that stay, over real connections: what they may send, and what becomes of slow ones."""

import asyncio
import os
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from unittest.mock import patch

import aiohttp
import psutil
import pytest
import uvloop
from aiohttp import WSMsgType
from starlette.applications import Starlette
from starlette.routing import Mount, WebSocketRoute
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from gateway.live.connections import ENDED, ClientConnections
from gateway.live.graphql_sse import GraphQLOverSse
from gateway.live.graphql_ws import PROTOCOL, GraphQLOverWebSocket
from gateway.live.settings import LiveSettings
from gateway.live.websocket_protocol import CHUNK_BYTES, FRAME_BURST, WebSocketProtocol
from services.chassis.bodies import BodyLimits
from services.chassis.graphql_http.request import MalformedRequest, parse_body
from services.chassis.http_server import Server, make_config
from tests.conftest import free_port
from tests.unit.gateway.live.clients import TOKEN, Script, callers
from tests.waiting import until, until_started

SETTINGS = LiveSettings(
    body=BodyLimits(64 * 1024, "max_body_bytes", within_s=30),
    connections_per_caller=500,
    operations_per_connection=1_000,
    init_within_s=3,
    unread_bytes=256 * 1024,
    waiting_activities=10,
    allows_anonymous=True,
)
HANDSHAKE = (
    b"GET /graphql HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
    b"Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
)
JSON = dict[str, Any]


class Fanned(Script):
    """A graph whose subscriptions all hear the same events, as watchers of one customer do."""

    def __init__(self) -> None:
        super().__init__()
        self.ears: list[asyncio.Queue[JSON]] = []

    def open(self, *given: Any, **more: Any) -> Any:
        scripted = super().open(*given, **more)
        if scripted.text == "endless":
            own = Script()
            self.ears.append(own.events)
            scripted.script = own
        return scripted

    def happens(self, event: JSON) -> None:
        for ear in self.ears:
            ear.put_nowait(event)


class House:
    """A real server, and ways to come to it."""

    def __init__(
        self, server: Server, port: int, script: Fanned, connections: ClientConnections
    ) -> None:
        self.server = server
        self.port = port
        self.script = script
        self.connections = connections

    @asynccontextmanager
    async def socket(self) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A websocket that was let in."""
        url = f"http://127.0.0.1:{self.port}/graphql"
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, protocols=[PROTOCOL], max_msg_size=0) as client,
        ):
            await client.send_json({"type": "connection_init", "payload": {"Authorization": TOKEN}})
            assert await client.receive_json(timeout=30) == {"type": "connection_ack"}
            yield client

    async def raw(self, text: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A plain connection that has sent some bytes, with as small a buffer as can be."""
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=plain, limit=1_024)
        if text.startswith(HANDSHAKE):  # what a client sends before the answer is not read
            text = text.removeprefix(HANDSHAKE)
            writer.write(HANDSHAKE)
            await reader.readuntil(b"\r\n\r\n")
        writer.write(text)
        await writer.drain()
        return reader, writer

    async def empty(self, within_s: float = 30) -> None:
        """Return when nobody is here any more."""
        async with asyncio.timeout(within_s):
            await self.connections._empty.wait()


def frame(text: bytes, opcode: int = 1, *, masked: bool = True, fin: bool = True) -> bytes:
    """One frame of a websocket, as a client sends it."""
    head = bytes([(0x80 if fin else 0) | opcode])
    mask = 0x80 if masked else 0
    size = len(text)
    if size < 126:
        head += bytes([mask | size])
    elif size < 65_536:
        head += bytes([mask | 126]) + struct.pack("!H", size)
    else:
        head += bytes([mask | 127]) + struct.pack("!Q", size)
    return head + (b"\0\0\0\0" if masked else b"") + text  # a mask of zeros changes nothing


async def close_of(reader: asyncio.StreamReader) -> tuple[int, str]:
    """Code and reason of the close frame; what comes before it has no frame over 64 KB."""
    async with asyncio.timeout(30):
        while True:
            opcode, size = await reader.readexactly(2)
            if size == 126:
                (size,) = struct.unpack("!H", await reader.readexactly(2))
            body = await reader.readexactly(size)
            if opcode == 0x88:
                return struct.unpack("!H", body[:2])[0], body[2:].decode()


INIT = frame(b'{"type":"connection_init","payload":{"Authorization":"%b"}}' % TOKEN.encode())
SUBSCRIBE = frame(b'{"type":"subscribe","id":"1","payload":{"query":"endless"}}')


@asynccontextmanager
async def living_at() -> AsyncIterator[House]:
    script, connections = Fanned(), ClientConnections(SETTINGS.connections_per_caller)
    sockets = GraphQLOverWebSocket(script, callers(), connections, SETTINGS)  # type: ignore[arg-type]
    streams = GraphQLOverSse(Starlette(), script, callers(), connections, SETTINGS)  # type: ignore[arg-type]

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        yield {"drain": lambda: connections.drain(30)}

    routes = [WebSocketRoute("/graphql", sockets), Mount("/", streams)]
    port = free_port()
    config = make_config(
        Starlette(routes=routes, lifespan=lifespan),
        port=port,
        timeout_graceful_shutdown=30,
        ws=WebSocketProtocol,
        ws_max_size=SETTINGS.body.size,
        ws_per_message_deflate=False,
    )
    server = Server(config)
    task = asyncio.create_task(server._serve())
    await until_started(server, task)
    try:
        yield House(server, port, script, connections)
    finally:
        server.should_exit = True
        async with asyncio.timeout(30):
            await task


@pytest.fixture
async def house() -> AsyncIterator[House]:
    before = asyncio.all_tasks()
    async with living_at() as house:
        yield house
    with suppress(TimeoutError):
        await until(lambda: not left_since(before))
    left = left_since(before)
    assert not left, f"tasks are left behind: {left}"


def left_since(before: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """The tasks that run now and did not then, but for this one."""
    now = asyncio.current_task()
    return {task for task in asyncio.all_tasks() - before if task is not now}


async def test_thousands_of_messages_are_answered_in_order(house: House) -> None:
    async with house.socket() as client:
        for number in range(3_000):
            await client.send_json({"type": "ping", "payload": {"n": number}})
            if number % 500 == 499:
                for expected in range(number - 499, number + 1):
                    assert (await client.receive_json(timeout=30))["payload"] == {"n": expected}


async def test_hundreds_of_operations_run_over_one_socket(house: House) -> None:
    async with house.socket() as client:
        for number in range(500):
            payload = {"query": "one"}
            await client.send_json({"type": "subscribe", "id": str(number), "payload": payload})
        messages = [await client.receive_json(timeout=30) for _ in range(1_000)]

    assert {m["id"] for m in messages if m["type"] == "complete"} == {str(n) for n in range(500)}


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(b"{"), 4400),
        (frame(b'{"type":"ping"}', opcode=2), 4400),
        (frame(b"\xff\xfe"), 1007),
        (frame(b"x" * 70_000), 1009),
        (frame(b"x" * 40_000, fin=False) + frame(b"x" * 40_000, opcode=0), 1009),
        (frame(b"{}", masked=False), 1002),
        (frame(b"{}", opcode=3), 1002),
        (frame(b"x" * 200, opcode=9), 1002),
        (frame(b"{}", opcode=0), 1002),
    ],
    ids=[
        "broken JSON",
        "binary",
        "bad UTF-8",
        "too large",
        "too large in parts",
        "unmasked",
        "unknown opcode",
        "ping too large",
        "continues nothing",
    ],
)
async def test_what_no_client_sends_closes_the_socket(house: House, sent: bytes, code: int) -> None:
    reader, writer = await house.raw(HANDSHAKE + INIT + sent)

    assert (await close_of(reader))[0] == code
    await house.empty()
    writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /graphql HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        HANDSHAKE[:100],
        HANDSHAKE,
        HANDSHAKE + INIT[:5],
        HANDSHAKE + INIT + SUBSCRIBE,
        HANDSHAKE + INIT + SUBSCRIBE + b"\x81\xff" + struct.pack("!Q", 2**62),
        HANDSHAKE + os.urandom(2_000),
    ],
    ids=["no key", "half a handshake", "silent", "half a frame", "watching", "claims", "noise"],
)
async def test_a_client_that_is_cut_off_leaves_nothing_behind(house: House, sent: bytes) -> None:
    for times, abruptly in enumerate((True, False), 1):
        _, writer = await house.raw(sent)
        if sent.endswith(SUBSCRIBE):
            await until(lambda times=times: len(house.script.asked) == times)  # type: ignore[misc]
        if abruptly:
            writer.transport.abort()
        else:
            writer.write_eof()  # half closed: it sends no more, but still reads
        await house.empty()
        writer.close()

    await until(lambda: not house.server.server_state.connections)


async def test_a_request_that_says_twice_what_it_asks_is_refused_as_over_http(house: House) -> None:
    payload = b'{"query":"one","query":"endless"}'
    asks = frame(b'{"type":"subscribe","id":"1","payload":%b}' % payload)
    reader, writer = await house.raw(HANDSHAKE + INIT + asks)

    closed = await close_of(reader)

    with pytest.raises(MalformedRequest) as over_http:
        parse_body(payload)
    assert closed == (4400, str(over_http.value))
    assert house.script.asked == []
    writer.close()


MANY = 8 * FRAME_BURST


async def closed_by(house: House, flood: bytes) -> tuple[int, int]:
    """What a socket is closed with after a flood, and the most bytes that were parsed before all
    others had their turn.
    """
    reader, writer = await house.raw(HANDSHAKE + INIT)
    turn, parsed = 0, Counter[int]()
    parse = WebSocketsSansIOProtocol.data_received

    def count(connection: WebSocketProtocol, data: bytes) -> None:
        parsed[turn] += len(data)
        parse(connection, data)

    with patch.object(WebSocketsSansIOProtocol, "data_received", count):
        writer.write(flood)
        closing = asyncio.create_task(close_of(reader))
        while not closing.done():
            await asyncio.sleep(0)
            turn += 1
    await house.empty()
    writer.close()
    return (await closing)[0], max(parsed.values())


FLOODS = {
    "pings": frame(b"", 9) * MANY,
    "pongs": frame(b"", 10) * MANY,
    "messages": frame(b'{"type":"ping"}') * MANY,
    "parts": frame(b"", fin=False) + frame(b"", 0, fin=False) * MANY,
}


@pytest.mark.parametrize("kind", FLOODS)
async def test_a_client_that_floods_us_is_closed_and_holds_up_no_other(
    house: House, kind: str
) -> None:
    code, most_bytes = await closed_by(house, FLOODS[kind])

    assert code == 1008
    assert most_bytes <= CHUNK_BYTES <= 4_096


async def test_large_messages_are_taken_in_pieces_and_put_together(house: House) -> None:
    async with house.socket() as client:
        for number in range(20):
            payload = {"n": number, "x": "x" * 50_000}
            await client.send_json({"type": "ping", "payload": payload})
        heard = [await client.receive_json(timeout=30) for _ in range(20)]

    assert [message["payload"]["n"] for message in heard] == list(range(20))


async def test_all_that_holds_on_the_event_loop_of_production() -> None:
    async def on_it() -> None:
        async with living_at() as house:
            await test_a_client_that_floods_us_is_closed_and_holds_up_no_other(house, "pings")
            await test_a_client_that_floods_us_is_closed_and_holds_up_no_other(house, "messages")
            await test_large_messages_are_taken_in_pieces_and_put_together(house)

    await asyncio.to_thread(uvloop.run, on_it())


async def test_a_client_that_never_authenticates_is_closed(house: House) -> None:
    reader, writer = await house.raw(HANDSHAKE)

    assert await close_of(reader) == (4408, "Connection initialisation timeout")
    writer.close()


def dropped(protocol: str, because: str) -> float:
    return float(ENDED.labels(protocol, because)._value.get())


SSE = (
    b"POST /graphql HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
    b"Content-Type: application/json\r\nAuthorization: %b\r\nContent-Length: 19\r\n\r\n"
    b'{"query":"endless"}' % TOKEN.encode()
)


@pytest.mark.parametrize(
    ("opening", "metric"),
    [
        (HANDSHAKE + INIT + SUBSCRIBE, ("websocket", "1013")),
        (SSE, ("sse", "TooSlow")),
    ],
    ids=["websocket", "sse"],
)
async def test_clients_that_never_read_are_dropped_memory_stays_flat_and_others_do_not_notice(
    house: House, opening: bytes, metric: tuple[str, str]
) -> None:
    slow_ones = [await house.raw(opening) for _ in range(20)]
    for _, writer in slow_ones:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
    before = dropped(*metric)
    async with house.socket() as quick:
        await quick.send_json({"type": "subscribe", "id": "q", "payload": {"query": "endless"}})
        await until(lambda: len(house.script.ears) == 21)
        memory, largest = psutil.Process().memory_info().rss, 0
        for number in range(2_000):  # 40 MB for each of twenty who read nothing
            house.script.happens({"data": {"n": number, "x": "x" * 20_000}})
            message = await quick.receive_json(timeout=30)
            assert message["payload"]["data"]["n"] == number
            largest = max(largest, psutil.Process().memory_info().rss)
            if dropped(*metric) - before == 20:  # then their ears hear nothing any more
                house.script.ears[:-1] = []

    assert dropped(*metric) - before == 20
    assert largest - memory < 60_000_000
    for _, writer in slow_ones:
        writer.transport.abort()


async def test_when_the_process_stops_everybody_is_let_go_politely(house: House) -> None:
    async with house.socket() as client, aiohttp.ClientSession() as session:
        await client.send_json({"type": "subscribe", "id": "1", "payload": {"query": "endless"}})
        await client.send_json({"type": "subscribe", "id": "2", "payload": {"query": "slow"}})
        url = f"http://127.0.0.1:{house.port}/graphql"
        headers = {"Accept": "text/event-stream", "Authorization": TOKEN}
        async with session.post(url, json={"query": "endless"}, headers=headers) as stream:
            await until(lambda: house.script.under_way == 1 and len(house.script.ears) == 2)
            house.server.should_exit = True
            await until(lambda: house.connections.is_draining)
            house.script.may_end.set()

            said = [await client.receive_json(timeout=30) for _ in range(2)]
            last = await client.receive(timeout=30)
            rest = await stream.content.read()

    assert [(m["id"], m["type"]) for m in said] == [("2", "next"), ("2", "complete")]
    assert (last.type, last.data) == (WSMsgType.CLOSE, 1001)
    assert rest == b""
