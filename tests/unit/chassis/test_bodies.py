"""What is in a body, whatever its sender calls it."""

import asyncio
from typing import Any

import orjson
import pytest
from starlette.types import Message

from services.chassis.bodies import (
    FORM,
    BodyLimits,
    BodyTooSlow,
    NotANumber,
    PendingBodies,
    json_in,
    parse_json,
    read_body,
)
from services.contracts.base import is_deeper

JSON = b'{"event": "looked"}'
ENCODED = b"%7B%22event%22%3A%20%22looked%22%7D"


@pytest.mark.parametrize("content_type", ["", "application/json", "text/plain", FORM])
def test_json_is_json_under_any_label(content_type: str) -> None:
    assert json_in(JSON, content_type) == JSON


@pytest.mark.parametrize(
    "form",
    [
        b"data=" + ENCODED,
        b"other=1&data=" + ENCODED,
        b"payload=" + ENCODED,
        ENCODED,
        ENCODED + b"=",
    ],
)
@pytest.mark.parametrize("content_type", [FORM, f"{FORM}; charset=UTF-8", FORM.title()])
def test_json_is_found_in_a_form(form: bytes, content_type: str) -> None:
    assert json_in(form, content_type) == JSON


def test_a_form_of_many_fields_is_left_as_it_is() -> None:
    many = b"a=1&" * 100_000

    assert json_in(many, FORM) is many
    assert json_in(b"", FORM) == b""


# --- while they are read ----------------------------------------------------------------------

LIMITS = BodyLimits(1_000, "max_body_bytes", within_s=60)


class Sender:
    """Sends a body piece by piece, when it is told to."""

    def __init__(self, *pieces: bytes) -> None:
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        for piece in pieces:
            self.send(piece)

    def send(self, piece: bytes, *, is_last: bool = False) -> None:
        message = {"type": "http.request", "body": piece, "more_body": not is_last}
        self._messages.put_nowait(message)

    async def receive(self) -> Message:
        return await self._messages.get()


async def test_when_bodies_fill_the_memory_the_slowest_give_way_and_quick_ones_pass() -> None:
    pending = PendingBodies(most_bytes=5_000)
    slow = [Sender(b"s" * 900) for _ in range(5)]
    reading = [asyncio.create_task(read_body(s.receive, {}, LIMITS, pending)) for s in slow]
    await asyncio.sleep(0)
    quick = Sender(b"q" * 900)
    quick.send(b"q", is_last=True)

    assert await read_body(quick.receive, {}, LIMITS, pending) == b"q" * 901

    with pytest.raises(BodyTooSlow, match="it gave way to quicker ones"):
        await reading[0]
    for sender in slow[1:]:
        sender.send(b"", is_last=True)
    assert await asyncio.gather(*reading[1:]) == [b"s" * 900] * 4
    assert (len(pending), pending._bytes) == (0, 0)


async def test_a_body_that_may_be_as_large_as_all_together_may_still_be_read() -> None:
    pending = PendingBodies(most_bytes=10)
    sender = Sender(b"a" * 500)
    sender.send(b"a" * 500, is_last=True)

    assert len(await read_body(sender.receive, {}, LIMITS, pending)) == 1_000


async def test_a_body_that_breaks_off_or_is_late_is_forgotten() -> None:
    pending, late = PendingBodies(), BodyLimits(1_000, "max_body_bytes", within_s=0.01)
    reading = asyncio.create_task(read_body(Sender(b"a").receive, {}, LIMITS, pending))
    await asyncio.sleep(0)

    reading.cancel()

    with pytest.raises(asyncio.CancelledError):
        await reading
    with pytest.raises(BodyTooSlow, match=r"within 0.01 s"):
        await read_body(Sender(b"a").receive, {}, late, pending)
    assert (len(pending), pending._bytes) == (0, 0)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'[1, 1.5, 18446744073709551615, 1180591620717411303424, "\\ud83d"]', None),
        (b'{"a": "\\ud83d", "b": "\\ude00x"}', {"a": "\ud83d", "b": "\ude00x"}),
        (b'{"a": "\\ud83d\\ude00", "b": "\\ud83d"}', {"a": "😀", "b": "\ud83d"}),
    ],
)
def test_half_a_surrogate_pair_costs_nothing_beside_it(text: bytes, value: Any) -> None:
    read = parse_json(text)

    assert read == (value or [1, 1.5, 2**64 - 1, float(2**70), "\ud83d"])


@pytest.mark.parametrize("number", [b"NaN", b"-Infinity", b"1e999", b"9" * 5_000])
def test_what_is_no_number_costs_nothing_beside_it(number: bytes) -> None:
    [before, flawed, after] = parse_json(b"[1, " + number + b", 2]")

    assert (before, after) == (1, 2)
    assert isinstance(flawed, NotANumber)


def test_what_is_too_deep_to_be_read_costs_nothing_beside_it() -> None:
    deep = b'{"a": [' * 600 + b'"]}\\"[["' + b"]}" * 600

    first, second, third = parse_json(b'[{"x": 1}, ' + deep + b', {"y": "}"}]')

    assert (first, third) == ({"x": 1}, {"y": "}"})
    assert is_deeper(second, 190)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b'{"a": 1,}',
        b'["\\ud83d", ]',
        b'["\\ud83d"] x',
        b"[" * 100_000,
        b"[" * 1_500 + b"]" * 1_499,
        b'["' + b'\\"' * 100_000 + b"[" * 300,
        b'["\xff"]',
    ],
)
def test_what_is_not_json_is_refused_soon(text: bytes) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        parse_json(text)
