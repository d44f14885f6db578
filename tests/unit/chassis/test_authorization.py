"""Marked fields answer only callers who have what they ask, however they are reached."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import Annotated, Any

import pytest
import strawberry
from graphql import default_field_resolver
from strawberry.federation.schema_directives import Authenticated, Policy, RequiresScopes

from services.chassis.authorization import is_met, wording
from services.chassis.graphql import Schema, told
from services.chassis.principal import Principal
from services.contracts.enums import Role

BAKER = Principal(
    Role.AGENT,
    "bas",
    scopes=frozenset({"bread:bake", "bread:sell", "till:open"}),
    policies=frozenset({"staff"}),
)
asked: list[str] = []
"""The resolvers that ran."""


@dataclass
class Context:
    principal: Principal | None


@strawberry.federation.type(keys=["key"], policy=[["staff"]])
class Recipe:
    """Marked as a whole."""

    key: strawberry.ID
    text: str | None

    @classmethod
    def resolve_reference(cls, key: strawberry.ID) -> "Recipe":
        return cls(key=key, text="flour")


@strawberry.federation.type(keys=["size"])
class Pan:
    """Not marked."""

    size: int

    @classmethod
    def resolve_reference(cls, size: int) -> "Pan":
        return cls(size=size)


@strawberry.federation.interface(requires_scopes=[["bread:sell"]])
class Sold:
    """Marked for all that implement it."""

    price: int | None = strawberry.federation.field(requires_scopes=[["till:open"]])


@strawberry.type
class Loaf(Sold):
    """Marked by its interface only."""

    crumb: str | None = "soft"


@strawberry.federation.type(policy=[["staff"]])
class Oven:
    """Marked, and returned by fields that say so only."""

    heat: int = 220


@strawberry.type
class Bread:
    oven: Oven | None = strawberry.field(default_factory=Oven)
    name: str = "rye"
    margin: int | None = strawberry.federation.field(
        requires_scopes=[["bread:sell", "till:open"], ["books:read"]], default=3
    )

    @strawberry.field(  # type: ignore[untyped-decorator]
        directives=[
            RequiresScopes(scopes=[["bread:bake"]]),
            Policy(policies=[["staff"], ["guest"]]),
        ]
    )
    async def secret(self) -> str | None:
        asked.append("secret")
        return "malt"

    @strawberry.field
    def recipe(self) -> Recipe | None:
        asked.append("recipe")
        return Recipe(key=strawberry.ID("rye"), text="flour")


@strawberry.type
class Query:
    @strawberry.field
    def bread(self) -> Bread:
        return Bread()

    @strawberry.field
    def loaf(self) -> Loaf | None:
        return Loaf(price=2)

    @strawberry.field(directives=[Authenticated()])  # type: ignore[untyped-decorator]
    def greeting(self) -> str | None:
        return "good morning"

    @strawberry.field
    def anything(self) -> Annotated[Recipe | Bread, strawberry.union("Anything")]:
        return Recipe(key=strawberry.ID("rye"), text="flour")


@strawberry.type
class Subscription:
    @strawberry.subscription(directives=[RequiresScopes(scopes=[["bread:sell"]])])  # type: ignore[untyped-decorator]
    async def sold(self) -> AsyncGenerator[int, None]:
        asked.append("sold")
        yield 1


schema = Schema(query=Query, subscription=Subscription, types=[Recipe, Pan])


async def ask(query: str, principal: Principal | None = BAKER) -> tuple[Any, list[list[Any]]]:
    """The data, and the paths of what was refused."""
    asked.clear()
    result = await schema.execute(query, context_value=Context(principal))
    errors = [told(error) for error in result.errors or ()]
    assert {e["extensions"]["code"] for e in errors} <= {"UNAUTHORIZED_FIELD_OR_TYPE"}
    return result.data, [error["path"] for error in errors]


def without(*had: str) -> Principal:
    """The baker without some of his scopes and policies."""
    return replace(BAKER, scopes=BAKER.scopes - {*had}, policies=BAKER.policies - {*had})


async def test_who_has_what_is_asked_gets_the_field() -> None:
    query = "{ bread { name margin secret recipe { text } } loaf { price crumb } greeting }"

    data, refused = await ask(query)

    assert refused == []
    assert data == {
        "bread": {"name": "rye", "margin": 3, "secret": "malt", "recipe": {"text": "flour"}},
        "loaf": {"price": 2, "crumb": "soft"},
        "greeting": "good morning",
    }


@pytest.mark.parametrize("lacking", ["bread:bake", "staff"])
async def test_without_a_scope_or_policy_the_field_is_null_and_its_resolver_does_not_run(
    lacking: str,
) -> None:
    data, refused = await ask("{ bread { name again: secret } }", without(lacking))

    assert data == {"bread": {"name": "rye", "again": None}}
    assert refused == [["bread", "again"]]
    assert asked == []


async def test_one_of_several_sets_is_enough_and_each_counts_whole() -> None:
    clerk = replace(BAKER, scopes=frozenset({"books:read"}))

    assert await ask("{ bread { margin } }", clerk) == ({"bread": {"margin": 3}}, [])
    assert (await ask("{ bread { margin } }", without("till:open")))[1] == [["bread", "margin"]]


async def test_a_marked_type_is_refused_where_a_field_returns_it() -> None:
    data, refused = await ask("{ bread { recipe { key text } } }", without("staff"))

    assert data == {"bread": {"recipe": None}}
    assert refused == [["bread", "recipe"]]
    assert asked == []


async def test_a_marked_type_is_refused_behind_a_union_too() -> None:
    data, refused = await ask("{ anything { ... on Recipe { text } } }", without("staff"))

    assert data == {"anything": {"text": None}}
    assert refused == [["anything", "text"]]


async def test_a_marked_entity_is_refused_to_a_router_too() -> None:
    query = (
        '{ _entities(representations: [{__typename: "Recipe", key: "rye"}])'
        " { ... on Recipe { text } } }"
    )

    assert await ask(query) == ({"_entities": [{"text": "flour"}]}, [])
    data, refused = await ask(query, without("staff"))
    assert data == {"_entities": [None]}
    assert refused == [["_entities", 0]]


async def test_entities_that_are_refused_cost_none_of_the_others() -> None:
    query = """{ _entities(representations: [
      {__typename: "Recipe", key: "a"}, {__typename: "Pan", size: 3},
      {__typename: "Recipe", key: "b"}
    ]) { ... on Recipe { text } ... on Pan { size } } }"""

    data, refused = await ask(query, without("staff"))
    everything, nothing = await ask(query)

    assert data == {"_entities": [None, {"size": 3}, None]}
    assert refused == [["_entities", 0], ["_entities", 2]]
    assert everything == {"_entities": [{"text": "flour"}, {"size": 3}, {"text": "flour"}]}
    assert nothing == []


async def test_marks_of_an_interface_hold_for_what_implements_it() -> None:
    assert (await ask("{ loaf { price } }", without("till:open")))[0] == {"loaf": {"price": None}}
    assert (await ask("{ loaf { crumb } }", without("till:open")))[0] == {"loaf": {"crumb": "soft"}}
    assert (await ask("{ loaf { crumb } }", without("bread:sell")))[0] == {"loaf": {"crumb": None}}


async def test_authenticated_asks_for_any_caller() -> None:
    nobody = Principal(Role.VISITOR, "v")

    assert (await ask("{ greeting }", nobody))[0] == {"greeting": "good morning"}
    assert await ask("{ greeting }", None) == ({"greeting": None}, [["greeting"]])


async def test_a_subscription_is_refused_before_its_stream_begins() -> None:
    asked.clear()
    context = Context(without("bread:sell"))

    refused = [
        told(error)["extensions"]["code"]
        async for result in await schema.subscribe("subscription { sold }", context_value=context)
        for error in result.errors or ()
    ]

    assert refused == ["UNAUTHORIZED_FIELD_OR_TYPE"]
    assert asked == []


async def test_a_refusal_says_which_field_and_what_it_asks() -> None:
    result = await schema.execute(
        "{ bread { margin secret } }", context_value=Context(replace(BAKER, scopes=frozenset()))
    )

    messages = [told(error)["message"] for error in result.errors or ()]
    assert "Bread.margin: it asks the scope books:read, or bread:sell and till:open" in messages[0]
    assert "Bread.secret: it asks the scope bread:bake" in messages[1]


def test_fields_without_a_mark_keep_their_resolvers() -> None:
    plain = Schema(query=Query, subscription=Subscription, types=[Recipe, Pan])._schema
    bread = plain.type_map["Bread"].fields  # type: ignore[attr-defined]

    assert "checked" not in bread["name"].resolve.__qualname__
    assert "checked" in bread["margin"].resolve.__qualname__
    assert "checked" in bread["oven"].resolve.__qualname__
    oven = plain.type_map["Oven"].fields  # type: ignore[attr-defined]
    assert "checked" not in oven["heat"].resolve.__qualname__, "its oven was checked already"
    assert default_field_resolver is not bread["name"].resolve


def test_sets_asked_are_alternatives() -> None:
    assert is_met([], frozenset())
    assert is_met([["a", "b"], ["c"]], frozenset({"c"}))
    assert not is_met([["a", "b"], ["c"]], frozenset({"a"}))
    assert wording([["b", "a"], ["c"]]) == "a and b, or c"
