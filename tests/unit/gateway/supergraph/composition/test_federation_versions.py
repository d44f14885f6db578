"""What Strawberry prints composes, in every version of Federation 2 and with all it has there."""

from typing import Any

import pytest
import strawberry
from strawberry.federation import Schema, field, interface, interface_object, schema_directive
from strawberry.federation import type as entity
from strawberry.federation.schema_directives import (
    Authenticated,
    Cost,
    ListSize,
    Override,
    Policy,
    RequiresScopes,
)
from strawberry.federation.versions import FEDERATION_VERSIONS
from strawberry.schema_directive import Location

from gateway.supergraph import Supergraph, compose, compose_sdl, read_supergraph
from gateway.supergraph.composition.federation_directives import NEWEST, NOT_YET, SINCE

MINOR = {name: minor for name, (_, minor) in FEDERATION_VERSIONS.items()}
GUARDS_AND_PRICES: dict[int, list[Any]] = {
    5: [Authenticated(), RequiresScopes(scopes=[["prices"]])],
    6: [Policy(policies=[["adult"]])],
    9: [Cost(weight=3), ListSize(assumed_size=7, slicing_arguments=None, sized_fields=None)],
}
"""By the version that brought them."""


def subgraphs(version: str) -> dict[str, str]:
    """Two subgraphs that use every directive the version has."""
    minor = MINOR[version]
    marks = [mark for since, marks in GUARDS_AND_PRICES.items() if since <= minor for mark in marks]
    label = {"label": "percent(5)"} if minor >= 7 else {}

    @schema_directive(locations=[Location.FIELD_DEFINITION], compose=minor >= 1)
    class Shelf:
        number: int

    @entity(keys=["id"])
    class Maker:
        id: strawberry.ID
        name: str = field(external=True)

    @entity(keys=["id"], tags=["goods"])
    class Book:
        id: strawberry.ID
        title: str = field(shareable=True)
        pages: int = field(inaccessible=True, directives=[Shelf(number=4)])
        price: int
        cost: int

    @strawberry.type(name="Query")
    class Books:
        maker: Maker = field(provides=["name"])
        books: list[Book] = field(directives=marks)

    @entity(name="Maker", keys=["id"])
    class MakerOfPrices:
        id: strawberry.ID
        name: str = field(shareable=True)

    @entity(name="Book", keys=["id"])
    class BookOfPrices:
        id: strawberry.ID
        title: str = field(shareable=True)
        pages: int = field(external=True)
        cost: int = field(override="books")
        price: int = field(directives=[Override(override_from="books", **label)])
        per_page: float = field(requires=["pages"])

    types: dict[str, list[Any]] = {"books": [Book], "prices": [BookOfPrices, MakerOfPrices]}
    if minor >= 3:
        for name, more in interfaces().items():
            types[name].append(more)
    return {
        "books": Schema(Books, types=types["books"], federation_version=version).as_str(),  # type: ignore[arg-type]
        "prices": Schema(types=types["prices"], federation_version=version).as_str(),  # type: ignore[arg-type]
    }


def interfaces() -> dict[str, Any]:
    """An entity interface with its implementation, and the interface object for it."""

    @interface(keys=["id"])
    class Media:
        id: strawberry.ID

    @entity(keys=["id"])
    class Film(Media):
        id: strawberry.ID

    @interface_object(name="Media", keys=["id"])
    class MediaOfPrices:
        id: strawberry.ID
        stars: int

    return {"books": Film, "prices": MediaOfPrices}


def compose_all(version: str) -> Supergraph:
    return compose(subgraphs(version))


@pytest.mark.parametrize("version", FEDERATION_VERSIONS)
def test_all_directives_of_the_version_are_printed(version: str) -> None:
    printed = "".join(subgraphs(version).values())

    assert f"federation/v{version}" in printed
    newer = {name for name, since in SINCE.items() if since > MINOR[version]}
    for name in SINCE.keys() - NOT_YET.keys() - {"extends"}:
        assert (f'"@{name}"' in printed) == (name not in newer), name


@pytest.mark.parametrize("version", FEDERATION_VERSIONS)
def test_what_every_version_has_is_understood(version: str) -> None:
    supergraph = compose_all(version)

    books, prices = (supergraph.subgraphs[name].types for name in ("books", "prices"))
    assert prices["Book"].fields["perPage"].requires.text == "{ pages }"  # type: ignore[union-attr]
    assert books["Query"].fields["maker"].provides.text == "{ name }"  # type: ignore[union-attr]
    assert books["Book"].fields["cost"].overridden
    assert supergraph.metadata.tags["Book"] == {"goods"}
    assert "pages" not in supergraph.sdl


@pytest.mark.parametrize("version", FEDERATION_VERSIONS)
def test_what_later_versions_brought_is_understood(version: str) -> None:
    minor, supergraph = MINOR[version], compose_all(version)

    metadata = supergraph.metadata
    requirement = metadata.requirements.get("Query.books")
    assert ("@shelf(number: 4)" in compose_sdl(subgraphs(version))) == (minor >= 1)
    assert ("type Film implements Media {\n  id: ID!\n  stars: Int!" in supergraph.sdl) == (
        minor >= 3
    )
    assert bool(requirement and requirement.authenticated and requirement.scopes) == (minor >= 5)
    assert bool(requirement and requirement.policies) == (minor >= 6)
    assert supergraph.labels == ({"percent(5)"} if minor >= 7 else set())
    assert metadata.costs == ({"Query.books": 3} if minor >= 9 else {})
    assert [size.assumed for size in metadata.list_sizes.values()] == [7] * (minor >= 9)


@pytest.mark.parametrize("version", FEDERATION_VERSIONS)
def test_it_is_written_as_a_supergraph_and_read_back(version: str) -> None:
    read = read_supergraph(compose_sdl(subgraphs(version)))

    assert read.sdl == compose_all(version).sdl
    assert read.metadata == compose_all(version).metadata


def test_every_version_that_strawberry_prints_is_known() -> None:
    assert sorted(MINOR.values()) == list(range(NEWEST + 1))
