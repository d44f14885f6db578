"""The audit log of a running Raak: it knows which customer, and nothing of who that is."""

from typing import Any

import orjson

from infra import demo
from infra.audit import load_audit_secret, verify
from infra.demo.queries import allow_personal_offers, customer, document, offers, ref, wait_until
from tests.stack import BUYERS, Stack

AGENT_SAW, AGENT_CHANGED, HE_SAW = "Customer", "SetConsent", "Offers"


def records(stack: Stack) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in log_of(stack).splitlines()]


def log_of(stack: Stack) -> str:
    return (stack.instance.folder / "logs" / "audit.jsonl").read_text()


def test_who_saw_and_changed_whom_is_written_down_and_who_he_is_is_not(stack: Stack) -> None:
    buyer = BUYERS[47]
    buyer_ref = ref("email", buyer.email)
    agent = stack.as_("agent")

    allow_personal_offers(agent, buyer_ref)
    seen = customer(agent, buyer_ref)
    app = stack.session.client_for("app", f"email={buyer.email}")
    offers(app, buyer_ref, "APP", "app_home")
    app.answer(
        document("offers"), customer=ref("email", BUYERS[48].email), channel="APP", placement="x"
    )
    wait_until(lambda: any(record["denied"] for record in records(stack)[-1:]))

    changed, looked, offered, refused = records(stack)[-4:]
    assert [r["operation"] for r in (changed, looked, offered)] == [
        AGENT_CHANGED,
        AGENT_SAW,
        HE_SAW,
    ]
    assert looked["customers"] == changed["customers"] == offered["customers"] == [seen["id"]]
    assert looked["identities"] == changed["identities"] == offered["identities"]
    assert looked["caller"] == {"role": "agent", "subject": "demo agent"}
    assert refused["denied"]
    assert refused["customers"] == []
    assert refused["identities"] != offered["identities"]


def test_the_log_of_a_running_raak_is_as_it_was_written(stack: Stack) -> None:
    log = stack.instance.folder / "logs" / "audit.jsonl"
    customer(stack.as_("agent"), ref("email", BUYERS[47].email))

    verified = verify([log], load_audit_secret(stack.instance.folder))

    assert verified.records >= 1
    assert verified.gaps == 0


def test_nobody_of_the_shop_can_be_found_in_the_log(stack: Stack) -> None:
    session = stack.session
    visited = demo.DemoCustomers(newly_known=BUYERS[50], loyal=BUYERS[53], lapsing=(BUYERS[52],))
    demo.run_web_scenario(session, visited.newly_known)
    demo.run_app_scenario(session, visited.loyal)
    app = session.client_for("app", f"email={BUYERS[47].email}")
    app.answer(
        document("offers"), customer=ref("email", BUYERS[48].email), channel="APP", placement="x"
    )
    wait_until(lambda: any(record["denied"] for record in records(stack)[-1:]))

    text = log_of(stack)

    assert text.count("\n") > 10
    for buyer in BUYERS:
        assert buyer.email not in text
        assert buyer.name not in text
    assert "@" not in text
