"""A small shop in three federated services, and the same shop as one schema without federation.

Both answer from the same rows, so whatever the gateway answers can be compared. Reviews know a
customer by e-mail only: from an offer they are two keys away, by way of customers.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from enum import Enum
from typing import Annotated, Any

import orjson
import strawberry
from graphql import GraphQLSchema, build_schema
from strawberry.federation import Schema
from strawberry.federation import field as federated
from strawberry.federation import type as entity

from gateway.supergraph import SubgraphResponse, SubgraphUnavailable

CUSTOMERS: dict[str, dict[str, Any]] = {
    "1": {"name": "Ada", "email": "ada@example.com", "level": "GOLD", "tags": ["vip", None, "nl"]},
    "2": {"name": None, "email": "bob@example.com", "level": "NONE", "tags": []},
    "3": {"name": "Cleo", "email": "cleo@example.com", "level": "SILVER", "tags": None},
}
FRIENDS = {"1": ["2", "3"], "2": ["1"], "3": []}
OFFERS: dict[str, dict[str, Any]] = {
    f"o{n}": {
        "shop": {"code": "ams" if n % 2 else "rtm"},
        "title": f"Offer {n}",
        "price": 100 * n,
        "for": str(1 + n % 3),
        "items": [["book", "p1"], ["service", "s1"], ["book", "p2"]][: 1 + n % 3],
    }
    for n in range(1, 7)
}
BOOKS: dict[str, dict[str, Any]] = {
    "p1": {"title": "Emma", "pages": 300},
    "p2": {"title": "Dune", "pages": 600},
}
SERVICES: dict[str, dict[str, Any]] = {"s1": {"title": "Wrapping", "minutes": 5}}
REVIEWS: list[dict[str, Any]] = [
    {"id": "r1", "book": "p1", "by": "ada@example.com", "stars": 5, "body": "Fine"},
    {"id": "r2", "book": "p1", "by": "bob@example.com", "stars": 2, "body": None},
    {"id": "r3", "book": "p2", "by": "ada@example.com", "stars": 4, "body": "Long"},
]
SHIPPING_RATE = 0.1


@strawberry.enum
class Level(Enum):
    NONE = "NONE"
    SILVER = "SILVER"
    GOLD = "GOLD"


# customers


@strawberry.federation.type(shareable=True)
class Address:
    street: str
    city: str | None


@strawberry.type
class GoldMembership:
    level: Level
    lounge: str


@strawberry.type
class SilverMembership:
    level: Level
    points: int


Membership = Annotated[GoldMembership | SilverMembership, strawberry.union("Membership")]


@strawberry.interface
class Named:
    name: str | None


@entity(name="Customer", keys=["id", "email"])
class CustomerOfCustomers(Named):
    id: strawberry.ID
    email: str

    @strawberry.field
    def tags(self) -> list[str | None] | None:
        tags: list[str | None] | None = CUSTOMERS[self.id]["tags"]
        return tags

    @strawberry.field
    def address(self, country: str = "NL") -> Address:
        return Address(street=f"Main Street {self.id}", city=country if self.id != "2" else None)

    @strawberry.field
    def membership(self) -> Membership | None:
        level = CUSTOMERS[self.id]["level"]
        if level == "GOLD":
            return GoldMembership(level=Level.GOLD, lounge="A")
        return SilverMembership(level=Level.SILVER, points=7) if level == "SILVER" else None

    @strawberry.field
    def friends(self) -> list["CustomerOfCustomers"]:
        return [customer(key) for key in FRIENDS[self.id]]

    @strawberry.field
    def secret(self) -> str | None:
        raise RefusedError(f"No secrets of {self.id}.")

    @strawberry.field
    def must_have_name(self) -> str:
        name = CUSTOMERS[self.id]["name"]
        if name is None:
            raise RefusedError("Nameless.")
        return str(name)

    @classmethod
    def resolve_reference(
        cls, id: str | None = None, email: str | None = None
    ) -> "CustomerOfCustomers | None":
        for known, row in CUSTOMERS.items():
            if known == id or row["email"] == email:
                return customer(known)
        return None


@strawberry.type
class Company(Named):
    vat: str


class RefusedError(Exception):
    """An error that services let through, with extensions for clients."""

    extensions = {"code": "REFUSED", "hint": "Ask nicely.", "address": "10.0.0.1"}  # noqa: RUF012


def customer(id: str) -> CustomerOfCustomers:
    row = CUSTOMERS[id]
    return CustomerOfCustomers(id=strawberry.ID(id), email=row["email"], name=row["name"])


@strawberry.type(name="Query")
class CustomersQuery:
    @strawberry.field
    def customer(self, id: strawberry.ID) -> CustomerOfCustomers | None:
        return customer(id) if id in CUSTOMERS else None

    @strawberry.field
    def customers(self) -> list[CustomerOfCustomers]:
        return [customer(key) for key in CUSTOMERS]

    @strawberry.field
    def parties(self) -> list[Named | None]:
        return [customer("1"), Company(name="Raak", vat="NL1"), None, customer("2")]

    version: str = federated(resolver=lambda: "1", shareable=True)


@strawberry.type(name="Mutation")
class CustomersMutation:
    @strawberry.mutation
    def rename(self, id: strawberry.ID, name: str) -> CustomerOfCustomers:
        CUSTOMERS[id]["name"] = name
        return customer(id)


# offers


@strawberry.federation.type(shareable=True)
class Shop:
    code: str


@entity(keys=["id"])
class Book:
    id: strawberry.ID
    title: str

    @classmethod
    def resolve_reference(cls, id: strawberry.ID) -> "Book":
        return book(id)


@strawberry.type
class Service:
    title: str
    minutes: int | None


Item = Annotated[Book | Service, strawberry.union("Item")]


@entity(name="Offer", keys=["id", "shop { code } number"])
class OfferOfOffers:
    id: strawberry.ID
    title: str
    price: int

    @strawberry.field
    def shop(self) -> Shop:
        return Shop(**OFFERS[self.id]["shop"])

    @strawberry.field
    def number(self) -> int:
        return int(self.id[1:])

    @strawberry.field
    def items(self) -> list[Item]:
        return [
            book(key) if kind == "book" else service(key) for kind, key in OFFERS[self.id]["items"]
        ]

    @strawberry.field
    def customer(self) -> "CustomerOfOffers":
        return CustomerOfOffers(id=OFFERS[self.id]["for"])

    @classmethod
    def resolve_reference(cls, id: strawberry.ID) -> "OfferOfOffers":
        return offer(id)


@entity(name="Customer", keys=["id"])
class CustomerOfOffers:
    id: strawberry.ID

    @strawberry.field
    def offers(self, limit: int = 2, dearest: bool = False) -> list[OfferOfOffers] | None:
        mine = [offer(key) for key, row in OFFERS.items() if row["for"] == self.id]
        return sorted(mine, key=lambda found: found.price, reverse=dearest)[:limit]

    @classmethod
    def resolve_reference(cls, id: strawberry.ID) -> "CustomerOfOffers":
        return cls(id=id)


@strawberry.input
class OfferFilter:
    max_price: int | None = None
    titles: list[str] | None = None


def book(id: str) -> Book:
    return Book(id=strawberry.ID(id), title=BOOKS[id]["title"])


def service(id: str) -> Service:
    return Service(**SERVICES[id])


def offer(id: str) -> OfferOfOffers:
    return OfferOfOffers(id=strawberry.ID(id), title=OFFERS[id]["title"], price=OFFERS[id]["price"])


def offer_ids(filter: Any) -> list[str]:
    return [
        key
        for key, row in OFFERS.items()
        if not filter
        or (
            (filter.get("maxPrice") is None or row["price"] <= filter["maxPrice"])
            and (filter.get("titles") is None or row["title"] in filter["titles"])
        )
    ]


@strawberry.type(name="Query")
class OffersQuery:
    @strawberry.field
    def offers(self, filter: OfferFilter | None = None) -> list[OfferOfOffers]:
        wanted = {"maxPrice": filter.max_price, "titles": filter.titles} if filter else None
        return [offer(key) for key in offer_ids(wanted)]

    version: str = federated(resolver=lambda: "1", shareable=True)


@strawberry.type(name="Mutation")
class OffersMutation:
    @strawberry.mutation
    def reprice(self, id: strawberry.ID, price: int) -> OfferOfOffers:
        OFFERS[id]["price"] = price
        return offer(id)


# reviews


@entity(name="Customer", keys=["email"])
class CustomerOfReviews:
    email: str

    @strawberry.field
    def reviews(self) -> list["Review"]:
        return [review(row) for row in REVIEWS if row["by"] == self.email]

    @classmethod
    def resolve_reference(cls, email: str) -> "CustomerOfReviews":
        return cls(email=email)


@entity(name="Book", keys=["id"])
class BookOfReviews:
    id: strawberry.ID

    @strawberry.field
    def reviews(self, min_stars: int = 0) -> list["Review"]:
        rows = [r for r in REVIEWS if r["book"] == self.id and r["stars"] >= min_stars]
        return [review(row) for row in rows]

    @strawberry.field
    def pages(self) -> int | None:
        pages: int = BOOKS[self.id]["pages"]
        return pages

    @classmethod
    def resolve_reference(cls, id: strawberry.ID) -> "BookOfReviews":
        return cls(id=id)


@entity(name="Shop", keys=["code"], shareable=True)
class ShopOfReviews:
    code: str


def _shipping(root: "OfferOfReviews") -> float:
    return root.price * SHIPPING_RATE


@entity(name="Offer", keys=["shop { code } number"])
class OfferOfReviews:
    shop: ShopOfReviews
    number: int
    price: int = federated(external=True)

    shipping: float = federated(resolver=_shipping, requires=["price"])

    @strawberry.field
    def rating(self) -> int | None:
        return self.number if self.number % 2 else None

    @classmethod
    def resolve_reference(
        cls, shop: dict[str, str], number: int, price: int = 0
    ) -> "OfferOfReviews":
        return cls(shop=ShopOfReviews(**shop), number=number, price=price)


@strawberry.type
class Review:
    id: strawberry.ID
    stars: int
    body: str | None
    book: BookOfReviews
    author: CustomerOfReviews


def review(row: Mapping[str, Any]) -> Review:
    return Review(
        id=row["id"],
        stars=row["stars"],
        body=row["body"],
        book=BookOfReviews(id=row["book"]),
        author=CustomerOfReviews(email=row["by"]),
    )


@strawberry.type(name="Query")
class ReviewsQuery:
    @strawberry.field
    def reviews(self) -> list[Review]:
        return [review(row) for row in REVIEWS]


SCHEMAS = {
    "customers": Schema(query=CustomersQuery, mutation=CustomersMutation, types=[Company]),
    "offers": Schema(query=OffersQuery, mutation=OffersMutation, types=[CustomerOfOffers, Book]),
    "reviews": Schema(query=ReviewsQuery, types=[CustomerOfReviews, OfferOfReviews]),
}
SDLS = {name: schema.as_str() for name, schema in SCHEMAS.items()}


# the same shop as one schema: plain values, with functions for fields


def _customer(id: str) -> dict[str, Any]:
    def must_have_name(_: Any) -> str:
        if CUSTOMERS[id]["name"] is None:
            raise RefusedError("Nameless.")
        return str(CUSTOMERS[id]["name"])

    def secret(_: Any) -> str:
        raise RefusedError(f"No secrets of {id}.")

    def offers(_: Any, limit: int = 2, dearest: bool = False) -> list[dict[str, Any]]:
        mine = [i for i, o in OFFERS.items() if o["for"] == id]
        mine.sort(key=lambda i: OFFERS[i]["price"], reverse=dearest)
        return [_offer(i) for i in mine[:limit]]

    row = CUSTOMERS[id]
    memberships = {
        "GOLD": {"__typename": "GoldMembership", "level": "GOLD", "lounge": "A"},
        "SILVER": {"__typename": "SilverMembership", "level": "SILVER", "points": 7},
    }
    return {
        "__typename": "Customer",
        "id": id,
        **row,
        "address": lambda _, country: {
            "street": f"Main Street {id}",
            "city": country if id != "2" else None,
        },
        "membership": memberships.get(row["level"]),
        "friends": lambda _: [_customer(friend) for friend in FRIENDS[id]],
        "secret": secret,
        "mustHaveName": must_have_name,
        "offers": offers,
        "reviews": lambda _: [_review(r) for r in REVIEWS if r["by"] == row["email"]],
    }


def _offer(id: str) -> dict[str, Any]:
    row, number = OFFERS[id], int(id[1:])
    return {
        **row,
        "id": id,
        "number": number,
        "items": lambda _: [_item(*item) for item in row["items"]],
        "customer": lambda _: _customer(row["for"]),
        "shipping": row["price"] * SHIPPING_RATE,
        "rating": number if number % 2 else None,
    }


def _item(kind: str, id: str) -> dict[str, Any]:
    return _book(id) if kind == "book" else {"__typename": "Service", **SERVICES[id]}


def _book(id: str) -> dict[str, Any]:
    return {
        "__typename": "Book",
        "id": id,
        **BOOKS[id],
        "reviews": lambda _, minStars: [  # noqa: N803 - named as in the schema
            _review(r) for r in REVIEWS if r["book"] == id and r["stars"] >= minStars
        ],
    }


def _review(row: dict[str, Any]) -> dict[str, Any]:
    by = next(key for key, c in CUSTOMERS.items() if c["email"] == row["by"])
    return {**row, "book": lambda _: _book(row["book"]), "author": lambda _: _customer(by)}


def _rename(_: Any, id: str, name: str) -> dict[str, Any]:
    CUSTOMERS[id]["name"] = name
    return _customer(id)


def _reprice(_: Any, id: str, price: int) -> dict[str, Any]:
    OFFERS[id]["price"] = price
    return _offer(id)


def _find_customer(_: Any, id: str) -> dict[str, Any] | None:
    return _customer(id) if id in CUSTOMERS else None


def _find_offers(_: Any, filter: Any = None) -> list[dict[str, Any]]:
    return [_offer(key) for key in offer_ids(filter)]


MONOLITH_ROOT: dict[str, Any] = {
    "customer": _find_customer,
    "customers": lambda _: [_customer(key) for key in CUSTOMERS],
    "parties": lambda _: [
        _customer("1"),
        {"__typename": "Company", "name": "Raak", "vat": "NL1"},
        None,
        _customer("2"),
    ],
    "version": "1",
    "offers": _find_offers,
    "reviews": lambda _: [_review(row) for row in REVIEWS],
    "rename": _rename,
    "reprice": _reprice,
}


def monolith(sdl: str) -> GraphQLSchema:
    """The shop without federation; execute it with `MONOLITH_ROOT`."""
    return build_schema(sdl)


class InProcess:
    """A transport that executes in this process, and remembers what it was asked."""

    def __init__(self, schemas: Mapping[str, Schema] = SCHEMAS) -> None:
        self._schemas = schemas
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.down: set[str] = set()
        self.events: list[dict[str, Any] | Exception] = []
        """What the next stream says; an exception ends it."""

    async def fetch(
        self, subgraph: str, body: bytes, headers: Mapping[str, str], *, is_idempotent: bool
    ) -> SubgraphResponse:
        request = orjson.loads(body)
        self.sent.append((subgraph, request))
        if subgraph in self.down:
            raise SubgraphUnavailable(subgraph)
        result = await self._schemas[subgraph].execute(request["query"], request["variables"])
        answer: dict[str, Any] = {"data": result.data}
        if result.errors:
            answer["errors"] = [error.formatted for error in result.errors]
        return SubgraphResponse(200, orjson.dumps(answer))

    @asynccontextmanager
    async def stream(
        self, subgraph: str, body: bytes, headers: Mapping[str, str]
    ) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        self.sent.append((subgraph, orjson.loads(body)))
        if subgraph in self.down:
            raise SubgraphUnavailable(subgraph)
        async with aclosing(self._said()) as said:
            yield said

    async def _said(self) -> AsyncGenerator[dict[str, Any], None]:
        for event in self.events:
            if isinstance(event, Exception):
                raise event
            yield event


class Scripted(InProcess):
    """Services of which some answer what they are told to."""

    def __init__(self, answers: Mapping[str, SubgraphResponse | Exception | float]) -> None:
        super().__init__()
        self._answers = answers

    async def fetch(
        self, subgraph: str, body: bytes, headers: Mapping[str, str], *, is_idempotent: bool
    ) -> SubgraphResponse:
        answer = self._answers.get(subgraph)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, SubgraphResponse):
            return answer
        await asyncio.sleep(answer or 0)
        return await super().fetch(subgraph, body, headers, is_idempotent=is_idempotent)
