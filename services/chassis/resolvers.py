"""What the resolvers of services share: loaders that batch reads, and copying of fields."""

from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from strawberry.dataloader import DataLoader

from services.chassis.database import Connection, Database
from services.chassis.principal import Forbidden

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
T = TypeVar("T")


def make_loader(
    database: Database,
    read: Callable[[Connection, list[Key]], Awaitable[Mapping[Key, Value]]],
    missing: Value,
) -> DataLoader[Key, Value]:
    """A loader over a function that reads many keys; a key it does not find is `missing`."""

    async def load(keys: list[Key]) -> list[Value]:
        async with database.connection() as connection:
            found = await read(connection, keys)
        return [found.get(key, missing) for key in keys]

    return DataLoader(load_fn=load)


def copy_fields(to: type[T], source: object, **others: Any) -> T:
    """An object of the graph with `others`, and for the rest the attributes of the same name.

    Values of the domain within it are read by the same names, too.
    """
    names = (one.name for one in fields(to) if one.init and one.name not in others)  # type: ignore[arg-type]
    return to(**{name: getattr(source, name) for name in names}, **others)


def not_own_customer() -> Forbidden:
    """The error for a caller that speaks for one customer and asks for another."""
    return Forbidden(
        "This is not the customer your token speaks for.",
        hint="Ask for your own customer, or use a token of an agent.",
    )
