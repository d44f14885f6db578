"""What is read at once is answered as graphql-core answers it, whatever is out of the ordinary."""

import asyncio
import gc
import inspect
import math
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import Enum
from types import SimpleNamespace
from typing import Annotated, Any, ClassVar, NewType

import pytest
import strawberry
from graphql import (
    DocumentNode,
    ExecutionResult,
    NoUnusedVariablesRule,
    execute,
    parse,
    specified_rules,
    validate,
)
from graphql.execution import Executor
from graphql.pyutils import Undefined
from hypothesis import given, settings
from hypothesis import strategies as st
from strawberry.extensions import FieldExtension
from strawberry.scalars import JSON
from strawberry.schema.config import StrawberryConfig

from services.chassis.execution import CompiledOperation, PlainFieldExecutor
from services.chassis.graphql import Schema


@strawberry.enum
class Grain(Enum):
    """What bread is made of."""

    RYE = "rye"
    WHEAT = "wheat"


Hushed = NewType("Hushed", str)


def hushed(value: object) -> object:
    """Finds no words for some values."""
    return None if value == "text" else Undefined if value == b"bytes" else str(value)


@strawberry.interface
class Named:
    """What has a name."""

    name: str


@strawberry.type
class Oven(Named):
    """Its type is looked at before its fields: it could be another that has a name."""

    degrees: int


@strawberry.type
class Crumb:
    """Nothing but plain fields."""

    weight: float
    taste: str | None
    next: "Crumb | None"


class Loud(FieldExtension):
    """Stands before an attribute."""

    def resolve(self, next_: Any, source: Any, info: strawberry.Info, **arguments: Any) -> Any:
        """Shout it."""
        return next_(source, info, **arguments).upper()


@strawberry.type
class Baker:
    """A plain field, two that are not what they seem, and one that fails."""

    name: str
    call: str = strawberry.field(extensions=[Loud()])
    recipe: str | None = strawberry.federation.field(requires_scopes=[["recipes:read"]])

    @strawberry.field
    def mood(self) -> str:
        """Never told."""
        raise ValueError("no comment")


@strawberry.type
class Loaf:
    """Plain fields of all kinds, and two that are resolved."""

    id: strawberry.ID
    weight: int
    price: float | None
    grain: Grain
    grains: list[Grain] | None
    fresh: bool
    baked_at: datetime | None
    tags: list[list[str | None]] | None
    notes: JSON | None
    rumour: Hushed | None
    crumb: Crumb
    crumbs: list[Crumb | None] | None
    oven: Oven | None
    baker: Baker | None
    served: Annotated["Loaf | Crumb | Oven | None", strawberry.union("Served")]

    @strawberry.field
    def again(self, times: int = 1) -> "list[Loaf]":
        """Takes an argument."""
        return [self] * times

    @strawberry.field
    async def later(self) -> "Loaf | None":
        """Is awaited."""
        await asyncio.sleep(0)
        return self


@dataclass(frozen=True)
class Context:
    """What is baked."""

    loaf: Loaf
    principal: None = None


Info = strawberry.Info[Context]


@strawberry.type
class Query:
    """The loaf that each test bakes."""

    @strawberry.field
    def loaf(self, info: Info) -> Loaf | None:
        """One."""
        return info.context.loaf

    @strawberry.field
    async def loaves(self, info: Info, first: int = 2) -> list[Loaf]:
        """Several times the one."""
        return [info.context.loaf] * first


SCHEMA = Schema(
    query=Query,
    config=StrawberryConfig(
        scalar_map={Hushed: strawberry.scalar(name="Hushed", serialize=hushed)}
    ),
)


class Later:
    """Can be awaited time and again, which no coroutine can."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __await__(self) -> Generator[Any, Any, object]:
        yield from asyncio.sleep(0).__await__()
        return self._value


ODDITIES = [None, 2**40, math.nan, "text", b"bytes", [None], ["text", 7], (), object()]
ODDITIES += [ValueError("odd"), Later(None), Later("text"), Later(7), Undefined]
ODDITIES += [SimpleNamespace(name="no oven", degrees=220)]
"""What is in the wrong place nearly everywhere."""


def mostly(plain: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """What belongs there, now and then in a promise, and sometimes what does not."""
    return st.one_of(plain, plain, plain, plain, plain, plain.map(Later), st.sampled_from(ODDITIES))


def record(**fields: Any) -> st.SearchStrategy[SimpleNamespace]:
    """An object with these attributes, each mostly as it should be."""
    strategies = {name: mostly(values) for name, values in fields.items()}
    return st.builds(SimpleNamespace, **strategies)


def crumbs(following: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    taste = st.none() | st.just("salty")
    return record(weight=st.just(0.5), taste=taste, next=following)


CRUMBS = st.recursive(crumbs(st.none()), crumbs, max_leaves=3)
OVENS = st.just(Oven(name="old", degrees=220))
BAKERS = st.none() | st.just(Baker(name="Ada", call="Bread", recipe="Knead."))
LOAVES = st.builds(
    lambda fields: Loaf(**vars(fields)),
    record(
        id=st.just("loaf"),
        weight=st.just(750),
        price=st.none() | st.just(3.5),
        grain=st.sampled_from(Grain),
        grains=st.lists(mostly(st.sampled_from(Grain)), max_size=2),
        fresh=st.booleans(),
        baked_at=st.none() | st.just(datetime(2026, 11, 29, tzinfo=UTC)),
        tags=st.lists(mostly(st.lists(mostly(st.just("dark")), max_size=2)), max_size=2),
        notes=st.just({"any": [1]}),
        rumour=st.just("stale"),
        crumb=CRUMBS,
        crumbs=st.lists(mostly(CRUMBS), max_size=3),
        oven=OVENS,
        baker=BAKERS,
        served=OVENS | st.just(Crumb(weight=1, taste=None, next=None)),
    ),
)

LEAVES = {
    "Crumb": ["weight", "taste"],
    "Oven": ["name", "degrees"],
    "Named": ["name"],
    "Loaf": ["id", "weight", "price", "grain", "grains", "fresh", "bakedAt", "tags", "notes"],
    "Baker": ["name", "call", "recipe", "mood"],
}
"""Fields without a selection."""
BRANCHES = {
    "Crumb": {"next": "Crumb"},
    "Loaf": {"crumb": "Crumb", "crumbs": "Crumb", "oven": "Oven", "served": "Served"}
    | {"baker": "Baker", "later": "Loaf", "again": "Loaf", "again(times: $times)": "Loaf"},
    "Served": {"... on Oven": "Oven", "... on Crumb": "Crumb", "... on Named": "Named"},
    "Query": {"loaf": "Loaf", "loaves": "Loaf", "loaves(first: $times)": "Loaf"},
}
"""Fields with one, and the type that it is of."""


@st.composite
def selections(draw: st.DrawFn, type_: str, depth: int) -> str:
    """Fields of a type, under their own names or others, some of them twice, some on condition."""
    branches = BRANCHES.get(type_, {}) if depth else {}
    every = st.sampled_from(["__typename", *LEAVES.get(type_, ()), *branches, *branches])
    parts = []
    for details in draw(st.lists(every, min_size=1, max_size=4)):
        name, has_arguments, _ = details.partition("(")
        is_fragment = details.startswith("...")
        alias = f"some_{name}: " if has_arguments else draw(st.sampled_from(["", f"my_{name}: "]))
        condition = draw(st.sampled_from(["", "", "", " @include(if: $yes)", " @skip(if: $yes)"]))
        part = f"{'' if is_fragment else alias}{details}{condition}"
        if details in branches:
            part += f" {{ {draw(selections(branches[details], depth - 1))} }}"
        parts.append(part if draw(st.integers(0, 4)) else f"... {{ {part} }}")
    return " ".join(parts)


Baked = tuple[Loaf, dict[str, Any]]
RULES = [rule for rule in specified_rules if rule is not NoUnusedVariablesRule]
DOCUMENTS = selections("Query", 3).map(
    lambda fields: f"query ($times: Int = 2, $yes: Boolean! = true) {{ {fields} }}"
)
VARIABLES = st.fixed_dictionaries({}, optional={"times": st.integers(0, 3), "yes": st.booleans()})


async def execute_document(
    document: DocumentNode, baked: Baked, how: type[Executor[Any]], **known: Any
) -> Any:
    """What is answered, for a loaf and variables."""
    result = execute(
        SCHEMA._schema,
        document,
        context_value=Context(baked[0]),
        variable_values=baked[1],
        executor_class=how,
        **known,
    )
    if not isinstance(result, ExecutionResult):
        result = await result
    return result.data, [error.formatted for error in result.errors or ()]


@pytest.fixture
def forsaken() -> Iterator[None]:
    """Sees to it that what graphql-core never awaits is found here, not in some later test."""
    yield
    gc.collect()


@pytest.mark.usefixtures("forsaken")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@settings(max_examples=100, deadline=None)
@given(DOCUMENTS, st.lists(st.tuples(LOAVES, VARIABLES), min_size=1, max_size=2))
async def test_every_document_is_answered_as_graphql_core_answers_it_time_and_again(
    text: str, bakes: list[Baked]
) -> None:
    document = parse(text)
    assert not validate(SCHEMA._schema, document, RULES)
    compiled = None if "@" in text else CompiledOperation()
    for baked in bakes:
        answer = await execute_document(document, baked, PlainFieldExecutor, compiled=compiled)
        assert answer == await execute_document(document, baked, Executor)


@pytest.fixture
def loaf() -> Loaf:
    """One of which nothing is out of the ordinary."""
    crumb = Crumb(weight=0.5, taste=None, next=Crumb(weight=0.1, taste="salty", next=None))
    return Loaf(
        id=strawberry.ID("loaf"),
        weight=750,
        price=3.5,
        grain=Grain.RYE,
        grains=[Grain.RYE],
        fresh=True,
        baked_at=datetime(2026, 11, 29, tzinfo=UTC),
        tags=[["dark", None]],
        notes=JSON({"any": [1]}),
        rumour=Hushed("stale"),
        crumb=crumb,
        crumbs=[crumb, None],
        oven=None,
        baker=Baker(name="Ada", call="Bread", recipe="Knead."),
        served=None,
    )


@pytest.mark.parametrize("attribute", [field.name for field in fields(Loaf)])
async def test_what_is_odd_is_told_as_graphql_core_tells_it(attribute: str, loaf: Loaf) -> None:
    document = parse(
        "{ loaf { id weight price grain grains fresh bakedAt tags notes rumour crumb { weight }"
        " crumbs { taste } oven { name } baker { name } served { __typename } } }"
    )
    for odd in ODDITIES:
        setattr(loaf, attribute, odd)
        answer = await execute_document(document, (loaf, {}), PlainFieldExecutor)
        assert answer == await execute_document(document, (loaf, {}), Executor)


class Counting(PlainFieldExecutor):
    """Tells how many fields took the long way."""

    resolved: ClassVar[list[str]] = []

    def build_resolve_info(self, *arguments: Any) -> Any:
        info = super().build_resolve_info(*arguments)
        self.resolved.append(info.field_name)
        return info


async def test_nothing_is_resolved_but_what_has_a_resolver(loaf: Loaf) -> None:
    Counting.resolved.clear()
    document = parse(
        "{ loaves { id weight price grain fresh tags notes __typename crumb { next { taste } }"
        " crumbs { weight __typename } baker { name } again { bakedAt } } }"
    )
    data, errors = await execute_document(document, (loaf, {}), Counting)
    assert not errors
    assert data["loaves"][1]["crumb"] == {"next": {"taste": "salty"}}
    assert Counting.resolved == ["loaves", "again", "again"]


async def test_what_is_asked_too_deeply_to_be_compiled_is_answered(
    loaf: Loaf,
) -> None:
    document = parse(f"{{ loaf {{ crumb {{ {'next { ' * 190} weight {'} ' * 190} }} }} }}")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 250)
    try:
        data, errors = await execute_document(document, (loaf, {}), PlainFieldExecutor)
    finally:
        sys.setrecursionlimit(limit)
    assert data == {"loaf": {"crumb": {"next": {"next": None}}}}
    assert not errors


async def test_an_attribute_is_not_read_past_what_stands_before_it(loaf: Loaf) -> None:
    document = parse("{ loaf { baker { name call recipe } } }")
    data, errors = await execute_document(document, (loaf, {}), PlainFieldExecutor)
    assert data == {"loaf": {"baker": {"name": "Ada", "call": "BREAD", "recipe": None}}}
    assert [error["path"] for error in errors] == [["loaf", "baker", "recipe"]]
