"""Endpoints for servers: whose key may call, how often, and how a refusal reads."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import httpx
import orjson
import pytest
from starlette.applications import Starlette

from gateway.access.audit.audit_log import AuditLog
from gateway.access.limits.load_shedding import Admission, LoadShedder, Priorities
from gateway.access.limits.rate_limits import RateLimiter, RateLimits
from gateway.surfaces.json_api import AuditedCall, JsonEndpoint
from services.chassis.bodies import BodyLimits
from services.chassis.principal import Principal
from services.contracts.enums import Role

CALLER = Principal(Role.ADMIN, "key:ci", scopes=frozenset({"things:make"}))


async def echo(caller: Principal, value: Any, call: AuditedCall) -> dict[str, Any]:
    return {"caller": caller.subject, "value": value}


def client(caller: Principal | None = CALLER, rates: RateLimits | None = None) -> httpx.AsyncClient:
    """A client of an endpoint that knows one caller, while time stands still."""

    async def authenticate(headers: dict[str, str]) -> Principal | None:
        return caller

    endpoint = JsonEndpoint(
        "/things",
        "things:make",
        echo,
        SimpleNamespace(authenticate=authenticate),  # type: ignore[arg-type]
        AuditLog(lambda lines: None, "secret"),
        Admission(
            RateLimiter(rates or RateLimits(), lambda: 0.0), LoadShedder(), Priorities.read()
        ),
        BodyLimits(1_024, "max_things_bytes", within_s=30),
    )
    transport = httpx.ASGITransport(app=Starlette(routes=[endpoint.route()]))
    return httpx.AsyncClient(transport=transport, base_url="http://gateway")


async def test_a_key_with_the_scope_is_answered() -> None:
    async with client() as asker:
        response = await asker.post("/things", json={"a": [1]})

    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"caller": "key:ci", "value": {"a": [1]}}


@pytest.mark.parametrize(
    ("caller", "status", "code"),
    [
        (None, 401, "UNAUTHENTICATED"),
        (replace(CALLER, subject="ann"), 401, "UNAUTHENTICATED"),
        (replace(CALLER, scopes=frozenset({"things:read"})), 403, "FORBIDDEN"),
    ],
)
async def test_nobody_else_is(caller: Principal | None, status: int, code: str) -> None:
    async with client(caller) as asker:
        response = await asker.post("/things", content=b"{")

    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code)
    assert error["hint"]
    assert ("www-authenticate" in response.headers) == (status == 401)


async def test_a_call_counts_for_the_limits_of_its_key() -> None:
    async with client(rates=RateLimits(rate_per_s=1, burst=2)) as asker:
        answers = [await asker.post("/things", content=b"{}") for _ in range(4)]

    assert [each.status_code for each in answers].count(429) >= 2
    assert answers[0].status_code == 200
    assert answers[-1].json()["error"]["code"] == "RATE_LIMITED"
    assert int(answers[-1].headers["retry-after"]) >= 1


async def test_what_is_refused_early_counts_too() -> None:
    denied = replace(CALLER, scopes=frozenset[str]())
    async with client(denied, RateLimits(rate_per_s=1, burst=2)) as asker:
        answers = [await asker.post("/things", content=b"{}") for _ in range(4)]

    assert [each.status_code for each in answers] == [403, 403, 429, 429]


async def test_a_body_over_the_limit_is_refused_and_its_connection_left_open() -> None:
    async with client() as asker:
        response = await asker.post("/things", content=orjson.dumps("x" * 1_024))

    assert (response.status_code, response.json()["error"]["code"]) == (413, "BODY_TOO_LARGE")
    assert "connection" not in response.headers
