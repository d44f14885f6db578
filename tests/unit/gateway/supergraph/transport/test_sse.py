"""Server-sent events come in pieces that end anywhere, and from services that say anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.supergraph.transport.sse import EventStreamReader, StreamEventTooLarge

STREAM = b': hi\r\n\r\nevent: next\r\ndata: {"a": 1}\r\n\r\nevent:complete\r\ndata:\r\n\r\n'
EVENTS = [("next", b'{"a": 1}'), ("complete", b"")]


def read(*pieces: bytes, max_bytes: int = 1_000) -> list[tuple[str, bytes]]:
    reader = EventStreamReader(max_bytes)
    return [event for piece in pieces for event in reader.feed(piece)]


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n", b"\r"])
def test_lines_end_in_any_of_three_ways(line_end: bytes) -> None:
    assert read(STREAM.replace(b"\r\n", line_end)) == EVENTS


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=10).map(sorted))
def test_pieces_may_end_anywhere(cuts: list[int]) -> None:
    ends = [*cuts, len(STREAM)]
    pieces = [STREAM[begin:end] for begin, end in zip([0, *cuts], ends, strict=True)]

    assert read(*pieces) == EVENTS


def test_only_one_line_end_is_ever_taken_for_the_rest_of_a_torn_one() -> None:
    assert read(b"data: x\r", b"\n", b"\n") == [("", b"x")]


def test_data_over_several_lines_is_joined() -> None:
    assert read(b"event: next\ndata: {\ndata: }\n\n") == [("next", b"{\n}")]


def test_what_is_not_understood_is_passed_over() -> None:
    assert read(b"id: 1\nretry: 2\n\xff\xfe\nnonsense\ndata: x\n\n") == [("", b"x")]


@given(st.lists(st.binary(max_size=50), max_size=20))
def test_no_bytes_break_it(pieces: list[bytes]) -> None:
    read(*pieces)


@pytest.mark.parametrize(
    "pieces",
    [
        [b"data: " + b"x" * 1_001],
        [b"data: "] + [b"x" * 10] * 101,
        [b"data: " + b"x" * 400 + b"\n"] * 3,
        [b"x" * 1_001],
    ],
)
def test_an_event_without_end_is_cut_off(pieces: list[bytes]) -> None:
    with pytest.raises(StreamEventTooLarge):
        read(*pieces)


def test_signs_of_life_may_go_on_for_ever() -> None:
    assert read(*[b": still here\n"] * 1_000, *[b": ping\r\n\r\n"] * 1_000) == []


def test_it_knows_whether_an_event_has_begun() -> None:
    reader = EventStreamReader(1_000)
    states = [reader.is_inside_event]
    for piece in (b": hi\n", b"ev", b"ent: next\n", b"data: x\n", b"\n"):
        list(reader.feed(piece))
        states.append(reader.is_inside_event)

    assert states == [False, False, True, True, True, False]


def test_events_before_one_without_end_are_not_lost() -> None:
    reader = EventStreamReader(100)
    events = reader.feed(b"data: 1\n\ndata: " + b"x" * 200)

    assert next(events) == ("", b"1")
    with pytest.raises(StreamEventTooLarge):
        next(events)
