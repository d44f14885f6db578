"""Segment's calls through the gateway: any of their forms in, profile's answer out."""

import asyncio
import gzip
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway import store
from gateway.access.audit.audit_log import AuditLog, AuditLogUnavailable, audit_secret
from gateway.access.audit.record import Digests
from gateway.access.authentication.api_keys import ApiKey, create_key
from gateway.access.authorization.roles import Roles
from gateway.app import create
from gateway.settings import GatewaySettings
from services.chassis.database import open_database
from services.chassis.principal import Principal, ServiceTokenVerifier
from services.contracts.enums import Role
from tests.integration.gateway.serving import Server, serving
from tests.unit.gateway.small_graph import SDLS
from tests.waiting import until

KEY = "wk_test"
WRITE_KEY = f"key:write:{sha256(KEY.encode()).hexdigest()[:16]}"
TRACK = {"anonymousId": "v-1", "event": "looked"}


def basic(credentials: bytes) -> str:
    return f"Basic {b64encode(credentials).decode()}"


@dataclass
class FakeProfile:
    """Profile's endpoint for events: notes what it is sent, and answers what a test sets."""

    verifier: ServiceTokenVerifier
    taken: list[tuple[str, str, bytes]] = field(default_factory=list)
    """Call, content type and body."""
    status: int = 200
    answer: dict[str, Any] = field(default_factory=lambda: {"success": True})
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    senders: list[Principal] = field(default_factory=list)

    def reset(self) -> None:
        self.taken, self.status, self.answer = [], 200, {"success": True}
        self.senders = []
        self.may_answer.set()

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/collect/v1/{call}", self.collect, methods=["POST"])])

    async def collect(self, request: Request) -> Response:
        principal = self.verifier.principal(request.headers["authorization"])
        assert (principal.role, principal.customer_ref) == (Role.APP, None)
        self.senders.append(principal)
        body = await request.body()
        self.taken.append((request.path_params["call"], request.headers["content-type"], body))
        await self.may_answer.wait()
        return JSONResponse(self.answer, self.status)


SECRET = "what the keys of this test are hashed with"
DIGESTS = Digests(audit_secret(SECRET).encode())
GRANTED = Roles.read().resolve_grant


def _server(name: str, *scopes: str) -> tuple[str, ApiKey]:
    narrowed = frozenset(scopes) or None
    now = datetime.now(UTC)
    return create_key(SECRET, GRANTED, name=name, role=Role.AGENT, scopes=narrowed, now=now)


SERVERS = (SHOP, READER) = _server("shop"), _server("reader", "customers:read")


async def _keep(database_url: str, *keys: ApiKey) -> None:
    async with open_database(database_url) as database, database.transaction() as connection:
        for key in keys:
            await store.add_key(connection, key)


@dataclass
class Door:
    """The gateway's surface, and profile behind it."""

    client: httpx.AsyncClient
    profile: FakeProfile
    server: Server
    log: Path
    known: int = 0
    """How many records of the audit log were looked at."""

    async def recorded(self) -> dict[str, Any]:
        """The next record of the audit log that was not there when the test began."""
        await until(lambda: len(self.lines()) > self.known)
        self.known += 1
        record: dict[str, Any] = orjson.loads(self.lines()[self.known - 1])
        return record

    def lines(self) -> list[bytes]:
        """All records of the audit log."""
        return self.log.read_bytes().splitlines()

    async def settle(self) -> None:
        """Know all records of what was asked before: they are written in the order of asking."""
        last = uuid4().hex
        await self.send(json={"anonymousId": last, "event": "looked"})
        digest = DIGESTS.of("anonymous_id", last).encode()
        await until(lambda: digest in self.log.read_bytes())
        self.known = len(self.lines())
        self.profile.reset()

    async def send(self, call: str = "track", **how: Any) -> httpx.Response:
        """A call; with the right write key and a small event unless told otherwise."""
        how = {"auth": (KEY, ""), **how}
        if not {"json", "content", "data"} & set(how):
            how["json"] = TRACK
        return await self.client.post(f"/v1/{call}", **how)


@pytest.fixture(scope="module")
async def open_door(
    key_files: tuple[Path, Path],
    database_url_for: Callable[[str], AbstractAsyncContextManager[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Door]:
    """Started once: a server takes half a second to stop."""
    profile = FakeProfile(ServiceTokenVerifier(key_files[1], "profile"))
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(profile.app()))
        database_url = await stack.enter_async_context(database_url_for("gateway"))
        await _keep(database_url, *(key for _, key in SERVERS))
        settings = GatewaySettings(
            database_url=database_url,
            key_secret=SECRET,
            profile_url=server.url,
            signing_key_file=key_files[0],
            write_keys=("wk_other", KEY),
            cors_origins=("https://shop.example",),
            collect_deadline_ms=6_000,
            audit_file=tmp_path_factory.mktemp("audit") / "audit.jsonl",
        )
        assert settings.audit_file is not None
        gateway = await stack.enter_async_context(serving(create(settings, SDLS)))
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=30)
        )
        door = Door(client, profile, server, settings.audit_file)
        profile.reset()

        async def has_read_keys() -> bool:
            return (await door.send(auth=(SHOP[0], ""))).status_code != 503

        await until(has_read_keys)
        yield door


@pytest.fixture
async def door(open_door: Door) -> Door:
    """The door, with a profile behind it that works and has taken nothing."""
    open_door.profile.reset()
    await open_door.server.start()
    return open_door


CALLS = ("track", "identify", "alias", "group", "page", "screen", "batch")


@pytest.mark.parametrize("call", CALLS)
async def test_a_call_reaches_profile_as_it_came(door: Door, call: str) -> None:
    body = b' {"anonymousId":"v-1",  "event": "\xc3\xa9"} '

    response = await door.send(call, content=body, headers={"Content-Type": "application/json"})

    assert response.status_code == 200
    assert response.json() == {"success": True}
    assert door.profile.taken == [(call, "application/json", body)]


@pytest.mark.parametrize("call", CALLS)
async def test_the_letters_of_browser_libraries_mean_the_same(door: Door, call: str) -> None:
    await door.send(call[0])

    assert [taken for taken, _, _ in door.profile.taken] == [call]


@pytest.mark.parametrize(
    "content_type", ["text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded"]
)
async def test_json_is_taken_under_other_labels(door: Door, content_type: str) -> None:
    body = orjson.dumps(TRACK | {"writeKey": KEY})
    headers = {"Content-Type": content_type}

    by_header = await door.send(content=body, headers=headers)
    by_body = await door.send(content=body, headers=headers, auth=None)

    assert by_header.status_code == by_body.status_code == 200
    assert [taken[1:] for taken in door.profile.taken] == [(content_type, body)] * 2


@pytest.mark.parametrize(
    "authorization",
    [
        basic(b"wrong:"),
        basic(b":" + KEY.encode()),
        basic(b"\xff\xfe:"),
        "Basic %%%",
        "Basic",
        f"Bearer {KEY}",
        "",
    ],
)
async def test_a_wrong_write_key_is_refused_with_a_remedy(door: Door, authorization: str) -> None:
    body = orjson.dumps(TRACK | {"writeKey": KEY})
    headers = {"Authorization": authorization, "Content-Type": "application/json"}

    response = await door.send(content=body, auth=None, headers=headers)

    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Basic")
    error = response.json()["error"]
    assert error["code"] == "INVALID_WRITE_KEY"
    assert "write key" in error["problem"]
    assert error["hint"]
    assert door.profile.taken == []


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (orjson.dumps(TRACK), 401, "INVALID_WRITE_KEY"),
        (orjson.dumps(TRACK | {"writeKey": "wrong"}), 401, "INVALID_WRITE_KEY"),
        (orjson.dumps(TRACK | {"writeKey": [KEY]}), 401, "INVALID_WRITE_KEY"),
        (b"[]", 401, "INVALID_WRITE_KEY"),
        (b"{", 400, "UNREADABLE_BODY"),
        (b'{"writeKey": "\xff"}', 400, "UNREADABLE_BODY"),
        (b"", 400, "UNREADABLE_BODY"),
    ],
)
async def test_without_a_header_the_body_must_hold_the_key(
    door: Door, body: bytes, status: int, code: str
) -> None:
    response = await door.send(content=body, auth=None)

    assert response.status_code == status
    assert response.json()["error"]["code"] == code
    assert door.profile.taken == []


async def test_a_sender_gets_profiles_refusal(door: Door) -> None:
    door.profile.status = 400
    door.profile.answer = {"success": False, "error": {"code": "PROFILE_NO_IDENTITY"}}

    response = await door.send()

    assert response.status_code == 400
    assert response.json() == door.profile.answer


async def test_a_body_over_the_limit_is_refused_whether_announced_or_streamed(door: Door) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 16 * 1024

    streamed = await door.send("batch", content=pieces())
    announced = await door.send("batch", content=b" " * 600_000)

    for response in (streamed, announced):
        assert response.status_code == 413
        assert response.json()["error"]["code"] == "BODY_TOO_LARGE"
        assert "500 KB" in response.json()["error"]["problem"]
    assert door.profile.taken == []


async def test_a_call_may_be_packed_by_gzip(door: Door) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    body = orjson.dumps(TRACK)

    response = await door.send(content=gzip.compress(body), headers=headers)

    assert response.status_code == 200
    assert door.profile.taken == [("track", "application/json", body)]


async def test_a_packed_call_is_no_way_past_the_limit(door: Door) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}

    response = await door.send(content=gzip.compress(b" " * 50_000_000), headers=headers)

    assert response.status_code == 413
    assert response.json()["error"]["code"] == "BODY_TOO_LARGE"
    assert door.profile.taken == []


async def test_a_batch_just_under_the_limit_is_handed_on(door: Door) -> None:
    body = b" " * (500 * 1024)

    assert (await door.send("batch", content=body)).status_code == 200
    assert len(door.profile.taken[0][2]) == len(body)


async def test_while_profile_is_down_senders_are_to_send_again(door: Door) -> None:
    await door.send()
    await door.server.stop()

    response = await door.send()

    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert response.json()["error"]["code"] == "PROFILE_UNAVAILABLE"
    await door.server.start()
    assert (await door.send()).status_code == 200


async def test_a_profile_that_hangs_is_not_waited_for(door: Door) -> None:
    door.profile.may_answer.clear()

    response = await door.send()

    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert "in time" in response.json()["error"]["problem"]
    door.profile.may_answer.set()


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_profile_that_refuses_the_gateway_costs_senders_no_events(
    door: Door, status: int
) -> None:
    """Libraries drop events on such an answer, though neither key nor event is wrong."""
    door.profile.status = status

    assert (await door.send()).status_code == 503


async def test_a_page_may_send_events_without_asking_first(door: Door) -> None:
    response = await door.send(
        content=orjson.dumps(TRACK | {"writeKey": KEY}),
        auth=None,
        headers={"Content-Type": "text/plain", "Origin": "https://shop.example"},
    )

    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "https://shop.example"


async def test_a_page_learns_where_its_events_go(door: Door) -> None:
    answer = await door.client.get(f"/v1/projects/{KEY}/settings")

    host = door.client.base_url.netloc.decode()
    assert answer.json()["integrations"] == {
        "Segment.io": {"apiKey": KEY, "apiHost": f"{host}/v1", "protocol": "http"}
    }
    assert answer.headers["cache-control"] == "private, max-age=300"


@pytest.mark.parametrize("key", ["wk_another", SHOP[0]], ids=["unknown", "an API key"])
async def test_settings_are_for_write_keys_of_this_gateway(door: Door, key: str) -> None:
    answer = await door.client.get(f"/v1/projects/{key}/settings")

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "INVALID_WRITE_KEY")


async def test_there_are_no_other_calls(door: Door) -> None:
    assert (await door.send("delete")).status_code == 404
    assert (await door.client.get("/v1/track")).status_code == 405


@pytest.mark.parametrize(
    "how",
    [
        {"auth": (SHOP[0], "")},
        {"auth": None, "headers": {"Authorization": f"Bearer {SHOP[0]}"}},
        {"auth": None, "headers": {"X-API-Key": SHOP[0]}},
        {"auth": None, "json": TRACK | {"writeKey": SHOP[0]}},
    ],
    ids=["basic", "bearer", "header", "body"],
)
async def test_a_server_may_send_with_its_api_key_and_profile_learns_that(
    door: Door, how: dict[str, Any]
) -> None:
    assert (await door.send(**how)).status_code == 200
    await door.send()

    server, page = door.profile.senders
    assert server.subject == f"key:{SHOP[1].id}"
    assert server.policies == {"server"}
    assert page.subject == WRITE_KEY
    assert page.policies == frozenset()


async def test_an_api_key_that_may_not_write_customers_sends_no_events(door: Door) -> None:
    refused = await door.send(auth=(READER[0], ""))

    assert refused.status_code == 403
    assert "customers:write" in refused.json()["error"]["hint"]
    assert door.profile.taken == []


async def test_an_unknown_api_key_is_not_taken_for_a_write_key(door: Door) -> None:
    refused = await door.send(auth=(_server("nobody's")[0], ""))

    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.json()["error"]["code"] == "UNAUTHENTICATED"


async def test_each_request_is_recorded_once_with_its_sender_calls_and_identities(
    door: Door,
) -> None:
    await door.settle()
    ann = {"userId": "ann", "traits": {"email": "Ann@example.com"}}
    door.profile.answer = {
        "success": True,
        "rejected": [{"index": 2, "code": "PROFILE_NO_IDENTITY"}],
    }

    await door.send(
        "batch",
        json={
            "batch": [
                {"type": "identify", **ann},
                {"type": "track", "userId": "ann", "event": "looked"},
                {"type": "track", "event": "looked"},
            ]
        },
    )
    door.profile.reset()
    await door.send("identify", json=ann, auth=(SHOP[0], ""))

    batch, single = await door.recorded(), await door.recorded()
    assert batch["caller"] == {"role": "app", "subject": WRITE_KEY}
    assert (batch["kind"], batch["operation"]) == ("ingest", "batch")
    assert batch["calls"] == {"identify": 1, "track": 2}
    assert batch["identities_count"] == 2
    assert [one.partition(":")[0] for one in batch["identities"]] == ["email", "user_id"]
    assert (batch["denied"], batch["errors"]) == (False, ["PROFILE_NO_IDENTITY"])
    assert single["caller"] == {"role": "app", "subject": f"key:{SHOP[1].id}"}
    assert (single["calls"], single["identities"]) == ({"identify": 1}, batch["identities"])
    assert single["errors"] == []
    assert b"ann" not in door.log.read_bytes().lower()


@pytest.mark.parametrize(
    ("status", "answer", "errors"),
    [
        (
            400,
            {"success": False, "error": {"code": "PROFILE_INVALID_BODY"}},
            "PROFILE_INVALID_BODY",
        ),
        (500, {}, "UNKNOWN"),
        (403, {}, "PROFILE_UNAVAILABLE"),
    ],
)
async def test_what_profile_did_not_take_is_written_down_with_why(
    door: Door, status: int, answer: dict[str, Any], errors: str
) -> None:
    await door.settle()
    door.profile.status, door.profile.answer = status, answer

    await door.send()

    record = await door.recorded()
    assert (record["calls"], record["errors"]) == ({"track": 1}, [errors])


async def test_a_call_whose_sender_has_left_is_recorded(door: Door) -> None:
    await door.settle()
    door.profile.may_answer.clear()

    sending = asyncio.create_task(door.send())
    await until(lambda: bool(door.profile.taken))
    sending.cancel()

    assert (await door.recorded())["identities_count"] == 1


async def test_a_body_that_cannot_be_read_is_written_down_with_its_sender(door: Door) -> None:
    await door.settle()
    door.profile.status = 400

    await door.send(content=b"{")

    record = await door.recorded()
    assert (record["caller"]["subject"], record["calls"]) == (WRITE_KEY, {})


async def test_half_an_emoji_hides_nobody_from_the_audit_log(door: Door) -> None:
    await door.settle()
    flawed = rb'{"type": "track", "event": "half \\ud83d", "anonymousId": "v-\\ud83d"}'
    body = b'{"batch": [%b, %b]}' % (orjson.dumps({"type": "track", **TRACK}), flawed)

    response = await door.send("batch", content=body)

    assert response.status_code == 200
    assert door.profile.taken[0][2] == body
    recorded = await door.recorded()
    assert (recorded["calls"], recorded["identities_count"]) == ({"track": 2}, 2)


async def test_a_write_key_is_found_beside_half_an_emoji(door: Door) -> None:
    body = b'{"writeKey": "%b", "event": "\\ud83d", "anonymousId": "v-1"}' % KEY.encode()

    response = await door.send(content=body, auth=None)

    assert response.status_code == 200


async def test_a_form_is_read_as_profile_reads_it(door: Door) -> None:
    await door.settle()

    await door.send(data={"data": orjson.dumps(TRACK).decode()})

    assert (await door.recorded())["identities_count"] == 1


async def test_a_key_that_may_not_send_is_written_down_as_denied(door: Door) -> None:
    await door.settle()

    await door.send(auth=(READER[0], ""))

    record = await door.recorded()
    assert record["denied"]
    assert record["caller"]["subject"] == f"key:{READER[1].id}"


async def test_nothing_is_handed_on_while_it_cannot_be_written_down(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_room(log: AuditLog) -> None:
        raise AuditLogUnavailable("The audit log cannot be written.", hint="Try again shortly.")

    monkeypatch.setattr(AuditLog, "wait_for_room", no_room)

    refused = await door.send()

    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["error"]["code"] == "AUDIT_LOG_UNAVAILABLE"
    assert door.profile.taken == []
