"""What waits for a client is bounded, and a client that reads nothing is noticed."""

import asyncio

import pytest

from gateway.live.outgoing_queue import ClientTooSlow, OutgoingQueue


async def sent_by(outgoing: OutgoingQueue) -> list[bytes]:
    sent: list[bytes] = []

    async def send(message: bytes) -> None:
        sent.append(message)

    await outgoing.send_all(send)
    return sent


async def never(message: bytes) -> None:
    await asyncio.get_running_loop().create_future()


async def test_messages_are_sent_in_order() -> None:
    outgoing = OutgoingQueue(100)
    for message in (b"a", b"b", b"c"):
        outgoing.put(message)

    assert await sent_by(outgoing) == [b"a", b"b", b"c"]


async def test_more_than_may_wait_is_refused_with_the_limit() -> None:
    outgoing = OutgoingQueue(10)
    outgoing.put(b"x" * 6)

    with pytest.raises(ClientTooSlow, match=r"10 bytes.*max_unread_bytes"):
        outgoing.put(b"x" * 5)


async def test_one_message_alone_may_be_larger() -> None:
    outgoing = OutgoingQueue(10)
    outgoing.put(b"x" * 1_000)

    assert await sent_by(outgoing) == [b"x" * 1_000]


async def test_what_was_sent_makes_room() -> None:
    outgoing = OutgoingQueue(10)
    for _ in range(100):
        outgoing.put(b"x" * 9)
        await sent_by(outgoing)


async def test_what_is_forgotten_makes_room_and_is_not_sent() -> None:
    outgoing = OutgoingQueue(10)
    outgoing.put(b"x" * 9)
    outgoing.clear()
    outgoing.put(b"y" * 9)

    assert await sent_by(outgoing) == [b"y" * 9]


async def test_a_client_that_reads_nothing_for_too_long_is_too_slow() -> None:
    outgoing = OutgoingQueue(10, send_within_s=0.01)
    outgoing.put(b"x")

    with pytest.raises(ClientTooSlow, match="The client read nothing"):
        await outgoing.send_all(never)


async def test_after_a_silence_a_sign_of_life_is_sent() -> None:
    sent = asyncio.Event()

    async def send(message: bytes) -> None:
        assert message == b":"
        sent.set()

    outgoing = OutgoingQueue(10)
    sending = asyncio.create_task(outgoing.send_forever(send, keep_alive_s=0.01, keep_alive=b":"))

    await asyncio.wait_for(sent.wait(), 30)
    sending.cancel()
