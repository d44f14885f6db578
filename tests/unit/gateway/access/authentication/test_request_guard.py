"""The guard: whose address counts, what passes it, and how it refuses in each protocol."""

from typing import Any

import orjson
import pytest
from starlette.types import Message, Receive, Scope, Send

from gateway.access.authentication.attempts import FailedAuthentications, mark_genuine
from gateway.access.authentication.request_guard import ClientAddresses, RequestGuard
from gateway.access.limits.load_shedding import Admission, LoadShedder, LoadTuning, Priorities
from gateway.access.limits.rate_limits import RateLimiter, RateLimits

PEER = "203.0.113.9"


# --- addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        (PEER, None, PEER),
        (PEER, "1.2.3.4", PEER),  # no proxy of ours: anybody can write this
        ("10.0.0.1", "1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4", "1.2.3.4"),  # the client wrote the first itself
        ("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "nonsense, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("2001:db8:1:2:3::4", None, "2001:db8:1:2::/64"),
        ("unix", None, "unix"),
    ],
)
def test_an_address_is_believed_as_far_as_our_own_proxies_wrote_it(
    peer: str, forwarded: str | None, address: str
) -> None:
    headers = [] if forwarded is None else [(b"x-forwarded-for", forwarded.encode())]
    scope = {"client": (peer, 1), "headers": headers}

    assert ClientAddresses(("10.0.0.0/8",)).of(scope) == address


def test_without_trusted_proxies_nothing_forwarded_is_believed() -> None:
    scope = {"client": ("10.0.0.1", 1), "headers": [(b"x-forwarded-for", b"1.2.3.4")]}

    assert ClientAddresses().of(scope) == "10.0.0.1"


# --- the guard ------------------------------------------------------------------------------------


class Door:
    """A guard before an application that knows one token; it notes what reached it."""

    def __init__(self, tuning: LoadTuning | None = None, **rates: Any) -> None:
        self.now = 0.0
        self.reached: list[str] = []
        limits = RateLimits(**rates)
        self.admission = Admission(
            RateLimiter(limits, self._clock), LoadShedder(tuning), Priorities.read()
        )
        failures = FailedAuthentications(limits, self._clock)
        self._guard = RequestGuard(self._app, self.admission, failures, ClientAddresses())

    def _clock(self) -> float:
        return self.now

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.reached.append(scope["path"])
        if scope["path"].endswith("expired"):
            mark_genuine()
        good = dict(scope["headers"]).get(b"authorization") in (None, b"good")
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000 if good else 4403})
            return
        status = 400 if scope["path"].endswith("malformed") else 200 if good else 401
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"reached"})

    async def ask(
        self, path: str, token: bytes | None = None, kind: str = "http", **scope: Any
    ) -> list[Message]:
        """What is sent to a client of this path."""
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            raise AssertionError("nothing of a refused request is read")

        headers = [] if token is None else [(b"authorization", token)]
        asked = {"type": kind, "path": path, "client": (PEER, 1), "headers": headers}
        await self._guard(asked | scope, receive, send)
        return sent

    async def status(self, path: str, token: bytes | None = None) -> int:
        """The status a client of this path gets."""
        status: int = (await self.ask(path, token))[0]["status"]
        return status


def refusal(sent: list[Message]) -> tuple[int, dict[str, str], Any]:
    """Status, headers and body of an answer."""
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, orjson.loads(sent[1]["body"])


async def test_without_a_credential_an_address_counts() -> None:
    door = Door(rate_per_s=1, burst=2)

    assert [await door.status("/graphql") for _ in range(3)] == [200, 200, 429]
    status, headers, body = refusal(await door.ask("/graphql"))

    assert (status, headers["retry-after"]) == (429, "1")
    assert body["errors"][0]["extensions"]["code"] == "RATE_LIMITED"
    assert await door.status("/graphql", b"good") == 200


async def test_health_and_metrics_are_never_refused() -> None:
    door = Door(LoadTuning(max_in_flight=1, floor=1, start=1), rate_per_s=1, burst=1)
    await door.ask("/graphql")

    for path in ("/health/live", "/health/ready", "/metrics") * 3:
        assert await door.status(path) == 200


async def test_bad_tokens_have_to_wait_after_some_and_good_ones_go_on() -> None:
    door = Door(max_failed_authentications=2)

    statuses = [await door.status("/graphql", b"guess") for _ in range(4)]

    assert statuses == [401, 401, 429, 429]
    assert await door.status("/graphql", b"good") == 200
    door.now += 30
    assert [await door.status("/graphql", b"guess") for _ in range(2)] == [401, 429]


async def test_what_was_no_guess_is_not_counted_nor_made_to_wait() -> None:
    door = Door(max_failed_authentications=1)

    statuses = [await door.status("/graphql/expired", b"old") for _ in range(3)]

    assert statuses == [401] * 3
    assert [await door.status("/graphql", b"guess") for _ in range(2)] == [401, 429]
    assert await door.status("/graphql/expired", b"old") == 401


async def test_write_keys_in_bodies_cannot_be_guessed_either() -> None:
    door = Door(max_failed_authentications=1)
    await door.ask("/v1/track", b"guess")

    status, _, body = refusal(await door.ask("/v1/track", b"another"))

    assert (status, body["error"]["code"]) == (429, "RATE_LIMITED")
    assert await door.status("/v1/track") == 200


async def test_ingest_is_refused_unread_while_there_is_no_room_and_holds_no_place_itself() -> None:
    door = Door(LoadTuning(max_in_flight=8, floor=1, start=1))

    assert [await door.status("/v1/track", b"good") for _ in range(20)] == [200] * 20
    with door.admission.enter("other", door.admission.classify({"Mutation.track"})):
        status, headers, body = refusal(await door.ask("/v1/batch", b"good"))

    assert (status, body["error"]["code"]) == (503, "OVERLOADED")
    assert int(headers["retry-after"]) >= 1


async def test_a_flood_without_credentials_takes_nothing_from_events() -> None:
    door = Door(rate_per_s=1, burst=2)

    statuses = [await door.status("/graphql") for _ in range(3)]

    assert statuses == [200, 200, 429]
    assert await door.status("/v1/track") == 200


async def test_websockets_are_refused_with_a_status_where_the_server_can() -> None:
    door = Door(rate_per_s=1, burst=1)
    await door.ask("/graphql", kind="websocket")

    extensions: dict[str, Any] = {"websocket.http.response": {}}
    answered = await door.ask("/graphql", kind="websocket", extensions=extensions)
    closed = await door.ask("/graphql", kind="websocket")

    assert [m["type"] for m in answered] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert answered[0]["status"] == 429
    assert closed == [{"type": "websocket.close", "code": 1013, "reason": "RATE_LIMITED"}]


async def test_bad_tokens_of_websockets_count_as_those_of_requests_do() -> None:
    door = Door(max_failed_authentications=1)

    closed = [await door.ask("/graphql", b"guess", kind="websocket") for _ in range(2)]

    assert [message["code"] for [message] in closed] == [4403, 4403]
    assert await door.status("/graphql", b"guess") == 429
    assert [m["code"] for m in await door.ask("/graphql", b"good", kind="websocket")] == [1000]


async def test_a_refusal_comes_in_the_form_the_client_reads() -> None:
    door = Door(rate_per_s=1, burst=1)
    await door.ask("/graphql")
    accept = [(b"accept", b"application/graphql-response+json")]

    _, headers, _ = refusal(await door.ask("/graphql", headers=accept))

    assert headers["content-type"].startswith("application/graphql-response+json")
