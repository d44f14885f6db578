"""Trusted documents: what is registered is known by its exact text, and planned ahead."""

from hashlib import sha256

from graphql import parse

from gateway.access.limits.registered_operations import (
    OperationRegistry,
    hash_document,
    list_operations,
)
from services.chassis.errors import RaakError

OFFERS = "query Offers { nextBestActions { key } }"
TWO = "query One { a }\n\nquery Two { b }\n"


class NotPlanned(RaakError):
    code = "NOT_PLANNED"


async def registry(*texts: str) -> OperationRegistry:
    registry = OperationRegistry()
    await registry.adopt(texts)
    return registry


async def test_a_document_is_found_by_the_hash_of_its_text() -> None:
    known = await registry(OFFERS)

    assert known.text_of(sha256(OFFERS.encode()).hexdigest()) == OFFERS
    assert known.text_of(hash_document(TWO)) is None


async def test_a_document_is_found_by_the_ids_of_manifests_unless_another_has_that_hash() -> None:
    known = OperationRegistry()
    await known.adopt([OFFERS, TWO], {"md5": OFFERS, hash_document(TWO): OFFERS, "gone": "{ a }"})

    assert known.text_of("md5") == OFFERS
    assert known.text_of(hash_document(TWO)) == TWO
    assert known.text_of("gone") is None


async def test_a_document_that_can_not_be_read_any_more_sets_none_apart() -> None:
    known = await registry("{ broken", OFFERS)

    assert known.is_registered("{ broken")
    assert known.find_difference(parse("query Offers{nextBestActions{key __typename}}")) is None
    assert "names no operation" in str(known.find_difference(parse("{ broken }")))


async def test_only_the_exact_text_is_registered() -> None:
    known = await registry(OFFERS)

    assert known.is_registered(OFFERS)
    assert not known.is_registered(OFFERS + " ")
    assert not known.is_registered("query Offers { nextBestActions { name } }")
    assert not known.is_registered("\ud800")


async def test_every_operation_is_planned_before_it_is_known() -> None:
    planned: list[tuple[str, str | None, bool]] = []
    known = OperationRegistry(
        lambda text, name: planned.append((text, name, known.is_registered(text)))
    )

    await known.adopt([OFFERS, TWO])

    assert planned == [(OFFERS, "Offers", False), (TWO, "One", False), (TWO, "Two", False)]


async def test_what_is_known_already_is_not_planned_again_until_the_schema_changes() -> None:
    planned: list[str] = []
    known = OperationRegistry(lambda text, name: planned.append(text))
    await known.adopt([OFFERS])
    planned.clear()

    await known.adopt([OFFERS, TWO])
    assert planned == [TWO, TWO]
    await known.plan_all(lambda text, name: planned.append(text))
    assert planned == [TWO, TWO, OFFERS, TWO, TWO]


async def test_a_retired_document_is_gone_before_a_new_one_is_planned() -> None:
    seen: list[bool] = []
    known = OperationRegistry(lambda text, name: seen.append(known.is_registered(OFFERS)))
    await known.adopt([OFFERS])
    seen.clear()

    await known.adopt([TWO])

    assert seen == [False, False]
    assert known.text_of(hash_document(OFFERS)) is None
    assert known.is_registered(TWO)


async def test_a_document_that_cannot_be_planned_keeps_none_of_the_others_back() -> None:
    def refuse(text: str, name: str | None) -> None:
        if text == OFFERS:
            raise NotPlanned("No.", hint="Mend it.")

    known = OperationRegistry(refuse)

    await known.adopt([OFFERS, TWO])

    assert known.is_registered(OFFERS)
    assert known.is_registered(TWO)


def test_a_document_tells_its_operations() -> None:
    assert list_operations(TWO) == ["One", "Two"]
    assert list_operations("{ a }") == [None]
    assert list_operations("fragment F on Query { a }") == []
    assert list_operations("{ a") == []
