"""Whatever a client sends, in whatever order: no failure of ours, no hang, nothing left behind."""

import asyncio
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.gateway.live.clients import TOKEN, house

WORDS = st.sampled_from(
    ["connection_init", "ping", "pong", "subscribe", "complete", "next", "error", "start", "", "1"]
)
QUERIES = st.sampled_from(["one", "endless", "refused", "slow"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
CORRECT = st.one_of(
    st.just({"type": "connection_init", "payload": {"Authorization": TOKEN}}),
    st.just({"type": "ping", "payload": {"at": 1}}),
    st.builds(
        lambda name, query: {"type": "subscribe", "id": name, "payload": {"query": query}},
        st.sampled_from("abcdef"),
        QUERIES,
    ),
    st.builds(lambda name: {"type": "complete", "id": name}, st.sampled_from("abcdef")),
)
ALMOST = st.builds(
    lambda message, name, value: {**message, name: value},
    CORRECT,
    st.sampled_from(["type", "id", "payload", "more"]),
    VALUES,
)
FRAMES = st.one_of(
    CORRECT.map(lambda message: {"text": json.dumps(message)}),
    ALMOST.map(lambda message: {"text": json.dumps(message)}),
    VALUES.map(lambda value: {"text": json.dumps(value)}),
    st.text(max_size=20).map(lambda text: {"text": text}),
    st.binary(max_size=20).map(lambda data: {"bytes": data}),
)
CODES = {1001, 1009, 4400, 4401, 4403, 4409, 4429}


async def said_to(frames: list[dict[str, Any]]) -> int | None:
    """What a socket is closed with after these frames; None if it is still open."""
    async with house() as here:
        client = await here.connect()
        for frame in frames:
            client.raw(**frame)
            here.script.events.put_nowait({"data": {"n": 1}})
        for _ in range(20):
            await asyncio.sleep(0)
        client.leave()
        await asyncio.wait_for(client.task, 30)
        sent = [client._going.get_nowait() for _ in range(client._going.qsize())]
    return next((m["code"] for m in sent if m["type"] == "websocket.close"), None)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(st.lists(FRAMES, max_size=12), st.booleans())
def test_any_messages_are_answered_or_closed_with_a_code_of_the_protocol(
    frames: list[dict[str, Any]], comes_in_first: bool
) -> None:
    first = {"type": "connection_init", "payload": {"Authorization": TOKEN}}
    if comes_in_first:
        frames = [{"text": json.dumps(first)}, *frames]

    with asyncio.Runner() as runner:
        assert runner.run(said_to(frames)) in {None, *CODES}
