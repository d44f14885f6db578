"""The demo: import real customers, explain offers, record outcomes, show results.

It uses the public surfaces only, so it runs against an embedded Raak, one under Compose, or a
remote one.
"""

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from infra import cdnow, gateway_database, keys, operations, tokens
from infra.cdnow import Buyer
from infra.demo.data_import import apply_examples, import_customers
from infra.demo.queries import await_api_key, document
from infra.demo.scenarios import (
    DemoCustomers,
    run_app_scenario,
    run_call_centre_scenario,
    run_web_scenario,
    show_results,
)
from infra.demo.session import ASSISTANT, OPERATIONS, DemoSession
from infra.instance import EmbeddedInstance

__all__ = [
    "ASSISTANT",
    "OPERATIONS",
    "DemoCustomers",
    "DemoSession",
    "apply_examples",
    "await_api_key",
    "document",
    "import_customers",
    "open_session",
    "run_app_scenario",
    "run_call_centre_scenario",
    "run_demo",
    "run_scenarios",
    "run_web_scenario",
    "show_results",
]


def open_session(instance: EmbeddedInstance, console: Console) -> DemoSession:
    def token(role: str, subject: str, customer: str) -> str:
        return tokens.issue(instance.keys.tokens, role, subject, customer)

    def claim(browser: str, user: str) -> str:
        secret, now = instance.secret("claim-secret"), datetime.now(UTC)
        return tokens.issue_claim(secret, browser, {"user_id": user}, now, minutes=15)

    settings, now = gateway_database.embedded_gateway_settings(instance), datetime.now(UTC)
    making = keys.create(settings, "the demo's shop", "agent", ["customers:write"], None, now)
    api_key, _ = asyncio.run(making)
    session = DemoSession(
        instance.url, instance.secret("write-key"), api_key, token, claim, console
    )
    await_api_key(session)
    return session


def run_demo(
    instance: EmbeddedInstance, console: Console, customers: int, *, is_lasting: bool
) -> None:
    now = datetime.now(UTC)
    buyers = cdnow.read(cdnow.fetch(instance.folder / "cdnow"), today=now.date(), most=customers)
    session = open_session(instance, console)
    session.announce("Registering the operations of examples/records")
    settings = gateway_database.embedded_gateway_settings(instance)
    published = asyncio.run(operations.publish(settings, [OPERATIONS, ASSISTANT], now))
    console.print(f"  {published['registered']} documents; in production nothing else is answered")
    run_scenarios(session, buyers)
    is_usual = instance.folder == Path(".raak").resolve()
    options = "" if is_usual else f" --data {instance.folder}"
    if not is_lasting:
        session.announce("It ends now. `make up` starts it again, with the customers it has.")
    show_next_steps(session, DemoCustomers.from_buyers(buyers, now).loyal, options)


def show_next_steps(session: DemoSession, customer: Buyer, options: str = "") -> None:
    """Say what to try now, with a token to copy; `options` are those of commands that need one."""
    token, command = session.token("agent", "demo", ""), Path(sys.argv[0])
    raak = command.relative_to(Path.cwd()) if command.is_relative_to(Path.cwd()) else command
    question = (
        '{ customer(ref: {identity: {type: \\"email\\", value: \\"%s\\"}}) { segments { key } } }'
    )
    session.announce("What now")
    lines = (
        f"Open {session.url}/graphql: the explorer, with examples and a token for you.",
        "`make shop` in another terminal: a record shop whose page shows offers.",
        "A token of an agent, good for 12 hours:",
        "",
        f"TOKEN={token}",
        "",
        "Ask who the loyal customer above is; see how a query is split between the services;",
        "change an offer in examples/records/catalogue.yaml and publish it:",
        "",
        f'curl -s {session.url}/graphql -H "Authorization: Bearer $TOKEN" \\',
        "  -H 'Content-Type: application/json' \\",
        f"""  -d '{{"query": "{question % customer.email}"}}'""",
        f"{raak} plan examples/records/operations/customer.graphql",
        f"{raak} apply examples/records{options}",
        "",
    )
    for line in lines:
        session.console.print(line, soft_wrap=True, markup=False, highlight=False)


def run_scenarios(session: DemoSession, buyers: Sequence[Buyer]) -> None:
    """Import the customers, publish the examples, and run every scenario."""
    session.console.print(
        "The customers are real, from CDNOW; their names are not, for the data has none: "
        "identities such as cdnow-00042@example.com are invented, and dates are moved so that the "
        "last purchase was yesterday."
    )
    import_customers(session, buyers)
    apply_examples(session)
    customers = DemoCustomers.from_buyers(buyers, datetime.now(UTC))
    run_web_scenario(session, customers.newly_known)
    run_app_scenario(session, customers.loyal)
    run_call_centre_scenario(session, customers.lapsing)
    show_results(session)
