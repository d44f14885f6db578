"""How a process stops listening, and what it does with readers who take nothing."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.chassis import http_server
from services.chassis.http_server import HttpProtocol, Server, WriteCoalescingTransport, make_config
from tests.conftest import free_port
from tests.waiting import until, until_started

MEGABYTES = b"x" * 20_000_000


@asynccontextmanager
async def listening_to(app: Any) -> AsyncIterator[tuple[Server, int]]:
    """A server in the test's own loop."""
    port = free_port()
    server = Server(make_config(app, port=port, timeout_graceful_shutdown=1))
    task = asyncio.create_task(server._serve())
    await until_started(server, task)
    try:
        yield server, port
    finally:
        server.should_exit = True
        await task


async def large(request: Request) -> Response:
    return Response(MEGABYTES, headers={"Connection": "close"})


async def unread(server: Server, port: int) -> asyncio.StreamWriter:
    """A client that asks for megabytes and reads little of them."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1_024)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: any(map(http_server._is_closing, server.server_state.connections)))
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    return writer


async def test_who_takes_nothing_of_a_last_answer_is_cut_off_and_others_are_not() -> None:
    async with listening_to(Starlette(routes=[Route("/", large)])) as (server, port):
        writer = await unread(server, port)
        (connection,) = server.server_state.connections

        server.abort_stalled(now=0.0)
        server.abort_stalled(now=http_server.READ_TIMEOUT_S - 1)
        held = set(server.server_state.connections)
        server.abort_stalled(now=http_server.READ_TIMEOUT_S + 1)
        await until(lambda: not server.server_state.connections)

        assert held == {connection}
        writer.close()


REQUEST = b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "is_cut_off"),
    [
        ([b""], True),
        ([b"GET /ok HT"], True),
        ([REQUEST[:-2]], True),
        ([REQUEST, b"GET /ok HT"], True),
        ([REQUEST], False),
        ([b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"], False),
    ],
    ids=["nothing", "half a line", "half a head", "half a second one", "whole", "answered late"],
)
async def test_who_does_not_get_to_the_end_of_a_head_is_cut_off_and_others_are_not(
    sent: list[bytes], is_cut_off: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, heard = asyncio.Event(), list[bytes]()
    receive = HttpProtocol.data_received

    def noted(protocol: HttpProtocol, data: bytes) -> None:
        heard.append(data)
        receive(protocol, data)

    monkeypatch.setattr(HttpProtocol, "data_received", noted)

    async def ok(request: Request) -> Response:
        return Response("ok")

    async def slow(request: Request) -> Response:
        await late.wait()
        return Response("ok")

    app = Starlette(routes=[Route("/ok", ok), Route("/slow", slow)])
    async with listening_to(app) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for piece in sent:
            heard.clear()
            writer.write(piece)
            await until(lambda piece=piece: b"".join(heard) == piece)  # type: ignore[misc]
            if piece == REQUEST:
                await reader.readuntil(b"ok")
        await until(lambda: len(server.server_state.connections) == 1)
        (connection,) = server.server_state.connections

        server.abort_stalled(now=0.0)
        server.abort_stalled(now=http_server.HEAD_TIMEOUT_S - 1)
        was_held = not connection.transport.is_closing()
        server.abort_stalled(now=http_server.HEAD_TIMEOUT_S + 1)

        assert was_held
        assert connection.transport.is_closing() is is_cut_off
        late.set()
        writer.close()


async def test_an_application_is_told_before_its_connections_are_closed() -> None:
    serving: list[bool] = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        async def drain() -> None:
            serving.append(server.servers[0].is_serving())

        yield {"drain": drain}

    async with listening_to(Starlette(lifespan=lifespan)) as (server, _):
        pass

    assert serving == [False]


@pytest.mark.parametrize(
    ("message", "is_told"),
    [
        ('%s - "WebSocket %s" [accepted]', False),
        ("Invalid UTF-8 sequence received from client.", False),
        ("Waiting for connections to close.", True),
    ],
)
def test_neither_addresses_of_websockets_nor_their_clients_mistakes_are_logged(
    message: str, is_told: bool
) -> None:
    record = logging.LogRecord("uvicorn.error", logging.INFO, "", 0, message, (), None)

    assert http_server._is_for_operators(record) is is_told


class Wire(asyncio.Transport):
    """A transport that notes what is sent, each time by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.is_closed = False

    def write(self, data: Any) -> None:
        self.sent.append(data)

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True


async def test_a_head_and_its_body_are_sent_as_one() -> None:
    wire = Wire()
    transport = WriteCoalescingTransport(wire, asyncio.get_running_loop())

    transport.write(b"head")
    transport.write(b"body")

    assert wire.sent == [b"headbody"]


async def test_a_head_whose_body_comes_later_is_sent_before_anything_else_is_done() -> None:
    wire = Wire()
    transport = WriteCoalescingTransport(wire, asyncio.get_running_loop())

    transport.write(b"head")
    await asyncio.sleep(0)
    transport.write(b"body")
    transport.close()
    await asyncio.sleep(0)

    assert wire.sent == [b"head", b"body"]
    assert wire.is_closed


async def test_what_is_written_on_and_on_does_not_pile_up() -> None:
    wire = Wire()
    transport = WriteCoalescingTransport(wire, asyncio.get_running_loop())

    for _ in range(10):
        transport.write(b"event")

    assert wire.sent == [b"eventevent"] * 5


async def test_nothing_is_sent_over_a_connection_that_broke_off() -> None:
    wire = Wire()
    transport = WriteCoalescingTransport(wire, asyncio.get_running_loop())

    transport.write(b"head")
    wire.is_closed = True
    await asyncio.sleep(0)

    assert wire.sent == []


async def test_an_answer_arrives_as_one_piece_over_a_real_connection() -> None:
    async def ok(request: Request) -> Response:
        return Response("ok")

    async with listening_to(Starlette(routes=[Route("/ok", ok)])) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        piece = await reader.read(1_000)

        assert piece.startswith(b"HTTP/1.1 200")
        assert piece.endswith(b"ok")
        writer.close()


async def test_nobody_is_believed_who_says_for_whom_he_asks() -> None:
    async def who(request: Request) -> Response:
        assert request.client is not None
        return Response(request.client.host)

    async with listening_to(Starlette(routes=[Route("/who", who)])) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /who HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n")
        answer = await reader.read(1_000)

        assert answer.endswith(b"127.0.0.1")
        writer.close()
