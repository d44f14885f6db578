"""The demo: real customers in, explained offers out, outcomes back, and what they taught.

It goes through the public surfaces only, so it tells the same story of an embedded Raak, of one
under Compose, or of one far away.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console

from infra import cdnow, gateway_database, keys, operations, tokens
from infra.cdnow import Buyer
from infra.demo.data_import import apply_examples, import_customers
from infra.demo.queries import await_api_key, document
from infra.demo.scenarios import Cast, call_the_shop, open_the_app, show_results, visit_the_site
from infra.demo.session import OPERATIONS, Stage
from infra.instance import Instance

__all__ = [
    "OPERATIONS",
    "Cast",
    "Stage",
    "apply_examples",
    "await_api_key",
    "call_the_shop",
    "document",
    "import_customers",
    "open_the_app",
    "set_stage",
    "show_results",
    "tell",
    "tell_on",
    "visit_the_site",
]


def set_stage(instance: Instance, console: Console) -> Stage:
    """A stage on an embedded instance that is up, with an API key for the shop's server."""
    signing, _ = instance.keys

    def token(role: str, subject: str, customer: str) -> str:
        return tokens.issue(signing, role, subject, customer)

    def claim(browser: str, user: str) -> str:
        secret, now = instance.secret("claim-secret"), datetime.now(UTC)
        return tokens.issue_claim(secret, browser, {"user_id": user}, now, minutes=15)

    settings, now = gateway_database.settings_in(instance), datetime.now(UTC)
    making = keys.create(settings, "the demo's shop", "agent", ["customers:write"], None, now)
    api_key, _ = asyncio.run(making)
    stage = Stage(instance.url, instance.secret("write-key"), api_key, token, claim, console)
    await_api_key(stage)
    return stage


def tell(instance: Instance, console: Console, customers: int) -> None:
    """The whole story on an embedded instance."""
    now = datetime.now(UTC)
    buyers = cdnow.read(cdnow.fetch(instance.folder / "cdnow"), today=now.date(), most=customers)
    stage = set_stage(instance, console)
    stage.say("Registering the operations of examples/records")
    documents, _ = asyncio.run(
        operations.publish(gateway_database.settings_in(instance), [OPERATIONS], now)
    )
    console.print(f"  {len(documents)} documents; in production nothing else is answered")
    tell_on(stage, buyers)


def tell_on(stage: Stage, buyers: Sequence[Buyer]) -> None:
    """The whole story, on any stage."""
    stage.console.print(
        "The customers are real, from CDNOW; their names are not, for the data has none: "
        "identities such as cdnow-00042@example.com were made, and dates moved so that the last "
        "purchase was yesterday."
    )
    import_customers(stage, buyers)
    apply_examples(stage)
    cast = Cast.of(buyers, datetime.now(UTC))
    visit_the_site(stage, cast.newly_known)
    open_the_app(stage, cast.loyal)
    call_the_shop(stage, cast.lapsing)
    show_results(stage)
