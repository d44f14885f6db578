"""A server that answers the bytes it is told to, as slowly as it is told to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

from tests.waiting import until

Behaviour: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Misbehaving:
    """Reads each request, and then does what `behaviour` does."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.requests: list[bytes] = []
        self.connections = 0
        self.open = 0
        """Connections that have not been closed yet."""
        self.url = ""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        self.open += 1
        try:
            while request := await read_request(reader):
                self.requests.append(request)
                await self.behaviour(reader, writer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def wait_for_request(self) -> None:
        """Return when the first request is there."""
        await until(lambda: bool(self.requests))

    async def wait_for_close(self) -> None:
        """Return when every connection is closed."""
        await until(lambda: not self.open)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """One request with its body; nothing when the connection was closed."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""
    length = next(
        int(line.partition(b":")[2])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length")
    )
    return head + await reader.readexactly(length)


@asynccontextmanager
async def misbehaving(behaviour: Behaviour) -> AsyncIterator[Misbehaving]:
    """Such a server, as long as the block lasts."""
    served = Misbehaving(behaviour)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(asyncio.CancelledError):  # asyncio's streams would log it
            await served(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    served.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/graphql"
    try:
        yield served
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)
        await server.wait_closed()


def says(*pieces: bytes, pause_s: float = 0.0) -> Behaviour:
    """Say these pieces one after the other, and keep the connection."""

    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return say


def says_and_leaves(*pieces: bytes) -> Behaviour:
    """Say these pieces and close the connection."""

    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.writelines(pieces)
        await writer.drain()
        writer.close()

    return say


def answers(
    body: bytes, status: str = "200 OK", content_type: str = "application/json", extra: str = ""
) -> Behaviour:
    """A whole response."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n{extra}"
    return says(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
