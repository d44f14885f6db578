"""The pages of docs/how-to can be followed: their files and commands exist, their code works."""

import re
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from uuid import uuid4

import alembic.op
import pytest
import strawberry

from infra.cli import app
from services.chassis.graphql import Schema
from services.chassis.principal import Principal
from services.chassis.settings import InvalidSettings
from services.chassis.streams import stream_name
from services.contracts.enums import Role
from services.rules.functions import FUNCTIONS

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "how-to").glob("*.md"))
FOLDERS = "services/", "gateway/", "infra/", "tests/", "docs/", "examples/"


def quotes(page: Path) -> list[str]:
    """What a page has between backticks, its snippets aside."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    return re.findall(r"`([^`]+)`", text)


def snippet(name: str) -> dict[str, Any]:
    """What the snippet of a page defines, as a module of its own."""
    text = (ROOT / "docs" / "how-to" / f"{name}.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    module = ModuleType(f"how_to_{name}")
    sys.modules[module.__name__] = module
    exec(textwrap.dedent(code), vars(module))
    return vars(module)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_files_of_a_page_exist(page: Path) -> None:
    paths = [quote for quote in quotes(page) if quote.startswith(FOLDERS)]

    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_exist(page: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    commands = {each.callback.__name__ for each in app.registered_commands if each.callback}

    words = [quote.split() for quote in quotes(page)]
    makes = {each[1] for each in words if each[0] == "make"}
    raaks = {each[1] for each in words if each[0] == "raak"}
    pytests = [each[-1] for each in words if "pytest" in each]

    assert makes
    assert makes <= set(targets)
    assert raaks <= commands
    assert [path for path in pytests if not (ROOT / path).exists()] == []


def test_contributing_names_every_page() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()

    assert [page.name for page in PAGES if f"docs/how-to/{page.name}" not in text] == []


# --- what the snippets do ---------------------------------------------------------------------


def test_a_setting_is_read_from_the_environment_within_its_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = snippet("setting")["GiftSettings"]

    assert settings().wrap_within_s == 30
    monkeypatch.setenv("RAAK_WRAP_WITHIN_S", "45")
    assert settings().wrap_within_s == 45
    monkeypatch.setenv("RAAK_GIFTS_WRAP_WITHIN_S", "601")
    with pytest.raises(InvalidSettings, match="RAAK_GIFTS_WRAP_WITHIN_S"):
        settings()


def test_an_event_travels() -> None:
    wrapped = snippet("event")["GiftWrapped"]
    event = wrapped(
        event_id=uuid4(), customer_id=uuid4(), occurred_at=datetime.now(UTC), paper="red"
    )

    assert wrapped.from_cloudevent(event.to_cloudevent()) == event
    assert stream_name(event.fact) == "RAAK_PROFILE_GIFT_WRAPPED_V1"


def test_a_function_is_what_the_table_of_functions_holds() -> None:
    upper = snippet("condition-function")["ADDED"]["upper"]

    assert type(upper) is type(FUNCTIONS["lower"])
    assert (upper.parameters, upper.result) == (
        FUNCTIONS["lower"].parameters,
        FUNCTIONS["lower"].result,
    )
    assert (upper.run("jazz"), upper.run(None)) == ("JAZZ", None)


async def test_a_field_is_null_without_its_scope() -> None:
    customer = snippet("graph-field")["Customer"]

    @strawberry.type
    class Query:
        @strawberry.field(graphql_type=customer)  # type: ignore[untyped-decorator]
        def someone(self) -> Any:
            return customer(id="1")

    schema = Schema(query=Query, types=[customer])
    asked = "{ someone { salutation } }"
    may = Principal(Role.AGENT, "ann", scopes=frozenset({"customers:read"}))
    may_not = Principal(Role.AGENT, "bob")

    answer = await schema.answer(asked, context=SimpleNamespace(principal=may))
    refused = await schema.answer(asked, context=SimpleNamespace(principal=may_not))

    assert answer == {"data": {"someone": {"salutation": "Dear Ann"}}}
    assert refused["data"] == {"someone": {"salutation": None}}
    assert refused["errors"][0]["extensions"]["code"] == "UNAUTHORIZED_FIELD_OR_TYPE"


@pytest.mark.parametrize("way", ["upgrade", "downgrade"])
def test_a_migration_waits_for_no_lock_longer_than_five_seconds(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Any] = []
    for name in ("execute", "add_column", "drop_column"):
        monkeypatch.setattr(alembic.op, name, lambda *arguments: done.append(arguments))

    snippet("migration")[way]()

    assert done[0] == ("SET LOCAL lock_timeout = '5s'",)
    assert len(done) == 2
