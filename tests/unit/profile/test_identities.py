"""Whose call is it? Decided in memory, on what is on record."""

from itertools import count
from uuid import UUID

import pytest

from services.contracts.enums import LinkSource
from services.contracts.identity import derive_customer_id
from services.profile.domain.enums import IdentityChangeKind
from services.profile.domain.identities import (
    Identity,
    IdentityDirectory,
    UnknownIdentityType,
    derive_visitor_id,
    normalise_identity,
    parse_identity,
    sort_by_strength,
)

ANN, BOB = UUID(int=1), UUID(int=2)


def directory(**holdings: str) -> IdentityDirectory:
    """A directory in which ANN and BOB hold what is said, as `ann="user_id:u email:e@x"`."""
    fresh = count(100)
    known = {"ann": ANN, "bob": BOB}
    own = {known[name]: set(identities(text)) for name, text in holdings.items()}
    return IdentityDirectory(own, lambda: UUID(int=next(fresh)))


def identities(text: str) -> tuple[Identity, ...]:
    """`"user_id:u email:e@x"` as identities, the strongest first."""
    return sort_by_strength(Identity(*one.split(":")) for one in text.split())


def resolve(book: IdentityDirectory, text: str) -> UUID:
    """Whose call with these identities is."""
    return book.resolve(identities(text), "track")


def test_an_unseen_visitor_gets_the_id_every_service_derives() -> None:
    book = directory()

    found = resolve(book, "anonymous_id:a")

    assert found == derive_customer_id("anonymous_id", "a")
    assert book.new_customers == {found}
    assert book.new_owners == {Identity("anonymous_id", "a"): found}


def test_an_unseen_person_gets_an_id_nobody_can_derive() -> None:
    book = directory()

    found = resolve(book, "email:ann@example.com")

    assert found == UUID(int=100)
    assert book.merges == []


def test_a_visitor_named_for_the_first_time_becomes_known_in_place() -> None:
    book = directory(ann="anonymous_id:a")

    found = resolve(book, "anonymous_id:a user_id:u")

    assert found == ANN
    assert book.new_owners == dict.fromkeys(identities("anonymous_id:a user_id:u"), ANN)
    assert book.merges == []


def test_a_visitor_who_turns_out_to_be_known_is_merged_into_the_known() -> None:
    book = directory(ann="user_id:u", bob="anonymous_id:a device:d")

    found = resolve(book, "anonymous_id:a user_id:u")

    [merge] = book.merges
    assert (found, merge.from_customer, merge.into_customer) == (ANN, BOB, ANN)
    assert merge.identities == identities("anonymous_id:a device:d")
    assert book.survivor(BOB) == ANN
    assert book.holdings[ANN] == set(identities("user_id:u anonymous_id:a device:d"))


def test_what_two_known_customers_claim_stays_where_it_is_and_is_noted_once() -> None:
    book = directory(ann="user_id:u-1 email:ann@x", bob="user_id:u-2")

    found = [resolve(book, "user_id:u-2 email:ann@x") for _ in range(3)]

    [refusal] = book.refusals.values()
    assert found == [BOB] * 3
    assert (refusal.kind, refusal.from_customer, refusal.into_customer) == (
        IdentityChangeKind.REFUSED,
        ANN,
        BOB,
    )
    assert book.merges == []
    assert book.new_owners == {}


def test_another_user_on_a_known_browser_is_somebody_else() -> None:
    book = directory(ann="user_id:u-1 anonymous_id:a")

    found = resolve(book, "user_id:u-2 anonymous_id:a")

    assert found == UUID(int=100)
    assert book.owners[Identity("anonymous_id", "a")] == ANN


def test_a_user_id_joins_the_customer_we_knew_by_mail() -> None:
    book = directory(ann="email:ann@x")

    assert resolve(book, "user_id:u email:ann@x") == ANN
    assert resolve(book, "user_id:u") == ANN


def test_the_strongest_identity_decides_even_against_all_others() -> None:
    book = directory(ann="user_id:u-1 crm_id:k-1", bob="user_id:u-2 crm_id:k-2")

    found = resolve(book, "user_id:u-1 crm_id:k-2")

    assert found == ANN
    assert book.new_customers == set()


def test_a_device_that_changed_hands_joins_nobody() -> None:
    book = directory(ann="anonymous_id:a device:d")

    found = resolve(book, "anonymous_id:b device:d")

    assert found == derive_customer_id("anonymous_id", "b")
    assert book.merges == []
    assert book.refusals == {}


def test_who_logs_in_on_a_device_of_somebody_else_is_another_customer() -> None:
    book = directory(ann="anonymous_id:a device:d")

    found = resolve(book, "user_id:u device:d")

    assert found != ANN
    assert book.owners[Identity("device", "d")] == ANN
    assert book.merges == []


def test_who_logs_in_on_a_device_of_nobody_else_has_it() -> None:
    book = directory(ann="device:d")

    assert resolve(book, "user_id:u device:d") == ANN


def test_a_device_known_by_nothing_else_joins_its_visitor() -> None:
    book = directory(ann="device:d")

    found = resolve(book, "anonymous_id:a device:d")

    assert book.survivor(ANN) == found


def test_alias_merges_even_two_known_customers() -> None:
    book = directory(ann="user_id:old email:ann@x", bob="user_id:new")

    book.alias("old", resolve(book, "user_id:new"))

    assert book.survivor(ANN) == BOB
    assert resolve(book, "email:ann@x") == BOB


def test_alias_of_an_unseen_id_takes_it_for_a_visitor() -> None:
    book = directory(bob="user_id:new")

    book.alias("visitor", BOB)

    assert book.owners[Identity("anonymous_id", "visitor")] == BOB
    assert book.merges[0].from_customer == derive_customer_id("anonymous_id", "visitor")


def test_a_chain_of_merges_ends_with_the_last_survivor() -> None:
    book = directory(ann="anonymous_id:a", bob="user_id:u")
    first = resolve(book, "anonymous_id:a")

    resolve(book, "anonymous_id:a user_id:u")
    book.alias("u", resolve(book, "user_id:other"))

    assert book.survivor(first) == book.survivor(BOB) == resolve(book, "anonymous_id:a")


@pytest.mark.parametrize(
    ("type", "value", "stored"),
    [
        ("email", " Ann@Example.COM ", "ann@example.com"),
        ("email", "ann", None),
        ("phone", "+31 6-1234", "+3161234"),
        ("phone", "none", None),
        ("user_id", "  ", None),
        ("crm_id", " K-1 ", "K-1"),
    ],
)
def test_identities_are_normalised_or_name_nobody(
    type: str, value: str, stored: str | None
) -> None:
    assert normalise_identity(type, value) == (Identity(type, stored) if stored else None)


def test_an_unknown_identity_type_is_told_with_the_nearest() -> None:
    with pytest.raises(UnknownIdentityType, match=r"'e-mail'.*Did you mean `email`"):
        parse_identity("e-mail", "ann@example.com")


def linked(book: IdentityDirectory) -> dict[str, str]:
    """By whose word each identity is its customer's."""
    return {f"{one.type}:{one.value}": source.value for one, source in book.links.items()}


def say(book: IdentityDirectory, text: str, source: LinkSource = LinkSource.SERVER) -> UUID:
    """The customer of a call by somebody's word."""
    return book.resolve(identities(text), "track", source=source)


def test_what_is_named_together_remembers_by_whose_word() -> None:
    book = directory()

    say(book, "anonymous_id:a")
    say(book, "anonymous_id:a user_id:u", LinkSource.CLAIM)
    say(book, "anonymous_id:b user_id:u", LinkSource.WRITE_KEY)

    assert linked(book) == {
        "anonymous_id:a": "claim",
        "user_id:u": "claim",
        "anonymous_id:b": "write_key",
    }


def test_proof_takes_the_place_of_what_was_not_proved_and_not_the_other_way_round() -> None:
    book = directory()

    say(book, "anonymous_id:a user_id:u", LinkSource.WRITE_KEY)
    say(book, "anonymous_id:a user_id:u")
    say(book, "anonymous_id:a user_id:u", LinkSource.WRITE_KEY)
    book.new_owners.clear()
    say(book, "anonymous_id:a user_id:u", LinkSource.STAFF)

    assert linked(book) == dict.fromkeys(("anonymous_id:a", "user_id:u"), "server")
    assert book.new_owners == {}


def test_a_name_by_itself_proves_no_link() -> None:
    book = directory()
    say(book, "anonymous_id:a user_id:u", LinkSource.WRITE_KEY)

    say(book, "anonymous_id:a")
    say(book, "user_id:u")

    assert linked(book) == dict.fromkeys(("anonymous_id:a", "user_id:u"), "write_key")


def test_what_moves_by_the_word_of_a_write_key_is_no_longer_proved() -> None:
    book = directory(bob="user_id:v")
    say(book, "anonymous_id:a anonymous_id:b")

    say(book, "anonymous_id:a user_id:v", LinkSource.WRITE_KEY)

    assert linked(book)["anonymous_id:a"] == "write_key"
    [_, merge] = book.merges
    assert merge.linked_by is LinkSource.WRITE_KEY


def test_what_is_refused_is_linked_to_nobody() -> None:
    book = directory(ann="email:ann@x", bob="user_id:u")

    say(book, "user_id:u email:ann@x")

    assert linked(book) == {}


def test_alias_links_whom_it_names() -> None:
    book = directory(ann="user_id:u")

    book.alias("a", ANN, LinkSource.STAFF)

    assert linked(book) == {"anonymous_id:a": "staff"}


def test_who_names_the_id_of_a_browser_names_the_browser() -> None:
    book = directory()
    browser = say(book, "anonymous_id:a")

    book.resolve(identities("email:ann@x"), "identify", browser)

    assert linked(book) == {"anonymous_id:a": "server", "email:ann@x": "server"}


def test_a_placeholder_of_before_they_counted_as_nobody_hinders_nobody() -> None:
    book = directory(ann="user_id:u anonymous_id:undefined device:0")

    found = book.resolve(identities("email:ann@example.com"), "identify", ANN)

    assert found == ANN
    assert derive_visitor_id(Identity("anonymous_id", "undefined")) is None
    assert derive_visitor_id(Identity("anonymous_id", "a")) == derive_customer_id(
        "anonymous_id", "a"
    )
