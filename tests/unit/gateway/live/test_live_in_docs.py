"""docs/gateway.md tells every kind of activity, code of a closed socket, and setting of live."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from gateway.live import close_codes, graphql_ws, websocket_protocol
from gateway.live.activity import ActivityKind
from gateway.live.graphql_sse import KEEP_ALIVE_S
from gateway.live.outgoing_queue import SEND_WITHIN_S, ClientTooSlow
from gateway.live.schema import CustomerActivity
from gateway.live.settings import LiveSettings
from gateway.settings import GatewaySettings

PAGE = (Path(__file__).parents[4] / "docs" / "gateway.md").read_text()
LIVE = PAGE.partition("\n## Live\n")[2].partition("\n## ")[0]
FIELDS = {
    "max_waiting_activities": "waiting_activities",
    "max_body_bytes": "body",
    "init_deadline_ms": "init_within_s",
    "max_connections_per_caller": "connections_per_caller",
    "max_operations_per_connection": "operations_per_connection",
    "max_unread_bytes": "unread_bytes",
    "mode": "allows_anonymous",
    "identifying_names": "masking",
}
"""The setting each rule comes from."""


@pytest.mark.parametrize("kind", ActivityKind)
def test_every_kind_of_activity_is_documented(kind: ActivityKind) -> None:
    assert f"`{kind.value}`" in LIVE.partition("So a screen")[0]


def test_every_field_of_an_activity_is_documented() -> None:
    always = {"id", "at", "kind", "customer"}

    for field in fields(CustomerActivity):
        assert field.name in always or f"`{field.name}`" in LIVE


def test_every_close_code_is_documented_and_no_other() -> None:
    source = Path(graphql_ws.__file__).read_text()
    used = {int(code) for code in re.findall(r"CloseWebSocket\((\d{4})", source)}

    told = {int(code) for code in re.findall(r"^\| (\d{4}) \|", LIVE, re.MULTILINE)}

    assert told == used | set(close_codes.CLOSE_CODES.values()) | {
        close_codes.INTERNAL_ERROR,
        websocket_protocol.POLICY_VIOLATION,
    }
    assert f"over {websocket_protocol.FRAMES_PER_S:,} frames a second" in LIVE


def test_every_setting_is_documented() -> None:
    assert set(FIELDS.values()) == {field.name for field in fields(LiveSettings)}
    for setting in FIELDS.keys() - {"mode"}:
        assert setting in GatewaySettings.model_fields
        assert f"RAAK_GATEWAY_{setting.upper()}" in LIVE


def test_periods_are_documented_as_they_are() -> None:
    assert f"after {KEEP_ALIVE_S:.0f} s of silence" in LIVE
    assert f"reads nothing for {SEND_WITHIN_S:.0f} s" in LIVE
    assert f"`{ClientTooSlow.code}`" in LIVE
