"""TLS before a PostgreSQL: the embedded one is built without."""

import asyncio
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread

TLS_REQUEST = bytes.fromhex("0000000804d2162f")
"""What a client sends first that wants TLS."""


@contextmanager
def serve_tls(port: int, target: int, context: ssl.SSLContext) -> Iterator[None]:
    """Pass on to a port what comes by TLS, and close what does not, for as long as a block runs."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()

    async def accept(reader: StreamReader, writer: StreamWriter) -> None:
        writers = [writer]
        try:
            if await reader.readexactly(len(TLS_REQUEST)) == TLS_REQUEST:
                writer.write(b"S")
                await writer.start_tls(context)
                there, back = await asyncio.open_connection("127.0.0.1", target)
                writers.append(back)
                await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))
        except (OSError, EOFError):
            pass  # a client that does not trust us
        finally:
            for one in writers:
                one.close()
                with suppress(OSError):
                    await one.wait_closed()

    server = asyncio.run_coroutine_threadsafe(
        asyncio.start_server(accept, "127.0.0.1", port), loop
    ).result()
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _pass_on(reader: StreamReader, writer: StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def _end(server: asyncio.Server) -> None:
    server.close()
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
