"""Who somebody is stays hidden from who may not know: by names and by looks, in any JSON value."""

from dataclasses import dataclass, replace
from time import process_time
from typing import Any

import pytest
import strawberry
from hypothesis import given
from hypothesis import strategies as st
from strawberry.scalars import JSON

from services.chassis.graphql import Schema
from services.chassis.masking import (
    MASK,
    USUAL,
    IdentitiesNotReadable,
    Masking,
    leave_unmasked,
    mask_texts,
    words_of,
)
from services.chassis.principal import IDENTITIES, Principal
from services.contracts.enums import Role
from services.contracts.identity import IDENTIFYING_NAMES

# --- by looks ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("ann@example.com", MASK),
        ("Write to Ann.Bee+x@mail.example.co.uk!", f"Write to {MASK}!"),
        ("an IP: ann@[10.0.0.1] or ann@localhost", f"an IP: ann@[10.0.0.1] or {MASK}"),
        ("<mailto:ann%40example.com>", f"<mailto:{MASK}>"),
        ("twice: ann%2540example.com", f"twice: {MASK}"),
        ("wide: ann\uff20example.com", f"wide: {MASK}"),
        ("jürgen@münchen.example", MASK),
        (
            "https://shop.example/x?utm=a&email=someone&q=1#c",
            f"https://shop.example/x?utm=a&email={MASK}&q=1#c",
        ),
        ("/x?user_id=2002&page=3", f"/x?user_id={MASK}&page=3"),
        ("call +31 6 1234 5678 now", f"call {MASK} now"),
        ("tel:%2B31612345678", f"tel:{MASK}"),
        ("+1 (555) 010-9999", MASK),
        ("pay NL91 ABNA 0417 1643 00 TODAY", f"pay {MASK} TODAY"),
        ("nl91abna0417164300", MASK),
    ],
)
def test_what_looks_like_an_address_or_account_is_hidden_in_any_text(
    text: str, masked: str
) -> None:
    assert USUAL.mask(text) == masked
    assert USUAL.mask({"note": [text]}) == {"note": [masked]}
    assert USUAL.mask({text: 1}) == {masked: 1}


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-30T13:49:04+00:00",
        "3 + 4 = 7, 100% of 20",
        "7d0c7c4e-52a1-5a1f-9c3d-2f9b1a6f4a10",
        "AB12 CDEF GHIJ KLMN 1234",
        "order-1234567890123",
        "@here, see example.com",
        "/x?page=3&name=jazz",
        "",
    ],
)
def test_what_does_not_is_as_it_was(text: str) -> None:
    assert USUAL.mask(text) == text


@pytest.mark.parametrize(
    "hostile",
    [
        "@".join(["a" * 99] * 320),
        "a" * 32_000 + "%40",
        "+1 " * 10_000,
        "AA11 " * 6_000,
        "?a" * 15_000 + "=",
        "x." * 15_000 + "@" + "a." * 900,
    ],
)
def test_no_text_is_slow(hostile: str) -> None:
    began = process_time()
    USUAL.mask(hostile)

    assert process_time() - began < 5


# --- by names ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *sorted(IDENTIFYING_NAMES),
        "emailAddress",
        "Email-Address",
        "customer_email",
        "EMAIL",
        "phone2",
        "userId",
        "userName",
        "shippingAddress",
        "externalIds",
        "homePhoneNumber",
        "email_hash",
    ],
)
def test_what_stands_under_such_a_name_is_hidden_whole(name: str) -> None:
    value = {name: {"a": [1, "x"]}, "deep": [{name: 2002}, {name: "x"}]}

    assert USUAL.mask(value) == {name: MASK, "deep": [{name: MASK}, {name: MASK}]}
    assert USUAL.mask_member(name, "x", are_traits=True) == MASK


@pytest.mark.parametrize(
    "name", ["email_opens", "phonetic", "name", "order_id", "plan", "number", ""]
)
def test_what_stands_under_another_name_is_not(name: str) -> None:
    assert USUAL.mask({name: "jazz"}) == {name: "jazz"}


def test_whether_there_is_something_is_no_secret() -> None:
    assert USUAL.mask({"email": True, "phone": None, "iban": False}) == {
        "email": True,
        "phone": None,
        "iban": False,
    }


def test_a_name_is_a_persons_among_traits_and_a_products_elsewhere() -> None:
    event = {"products": [{"name": "Kind of Blue"}], "traits": {"name": "Ann", "town": "Delft"}}

    assert USUAL.mask(event) == {
        "products": [{"name": "Kind of Blue"}],
        "traits": {"name": MASK, "town": "Delft"},
    }
    assert USUAL.mask_member("name", "Ann", are_traits=True) == MASK
    assert USUAL.mask({"name": "Ann"}, are_traits=True) == {"name": MASK}


def test_an_operator_names_further_ones() -> None:
    masking = Masking(frozenset({"Member No", "nickname"}))

    masked = masking.mask({"memberNo": 7, "nick_name": "An", "email": "x", "plan": "gold"})

    assert masked == {"memberNo": MASK, "nick_name": MASK, "email": MASK, "plan": "gold"}


def test_names_are_read_in_whatever_spelling() -> None:
    assert words_of("emailAddress") == words_of("Email-Address") == words_of("email_address")
    assert words_of("HTMLText2") == ("html", "text", "2")


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=12) | st.sampled_from(["email", "traits"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(ANY, st.sampled_from(["ann@example.com", "+31612345678", "NL91ABNA0417164300"]))
def test_wherever_in_a_value_it_stands_it_does_not_show_and_hiding_twice_is_hiding_once(
    value: Any, secret: str
) -> None:
    masked = USUAL.mask([value, {"x": [secret, {secret: {"y": f"a {secret} b"}}]}])

    assert secret not in str(masked)
    assert USUAL.mask(masked) == masked


def test_of_what_nobody_knows_no_text_shows_and_its_form_does() -> None:
    content = {"title": "Dear Ann", "links": [{"url": "x", "at": 1, "is_new": True}], "no": None}

    assert mask_texts(content) == {
        "title": MASK,
        "links": [{"url": MASK, "at": MASK, "is_new": True}],
        "no": None,
    }


# --- conditions -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "saw", "masked"),
    [
        ('traits.email == "x"', "anything", MASK),
        ("traits.name == 'x'", "Ann", MASK),
        ("event.properties.phone == 'x'", 612345678, MASK),
        ('events.last("order", user_id) == "x"', "2002", MASK),
        ('traits["e mail"] == "x"', "a", MASK),
        ("traits['address']['town'] == 'x'", {"town": "Delft"}, MASK),
        ('email of "order" where total > 3', "ann", MASK),
        ("missing(traits.email)", "ann", MASK),
        ("exists(traits.email)", "missing", "missing"),
        ("rank is at most 3", 4, 4),
        ('traits.plan == "email"', "gold", "gold"),
        ("traits.contact == 'x'", "ann@example.com", MASK),
        ("exists(traits.email)", False, False),
        (
            "a or b",
            {"traits.email == 'x'": "Ann", "traits.town == 'y'": "Delft"},
            {"traits.email == 'x'": MASK, "traits.town == 'y'": "Delft"},
        ),
    ],
)
def test_what_a_condition_saw_is_hidden_if_it_looked_at_who_somebody_is(
    condition: str, saw: Any, masked: Any
) -> None:
    assert USUAL.mask_compared(condition, saw) == masked


@pytest.mark.parametrize(
    "condition",
    [
        'traits.email == "ann@example.com"',
        'starts_with(traits.email, "a")',
        "traits.phone in ['1']",
        "traits.name == 'Ann'",
        "events.count('order', email == 'x') > 0",
        'events.last("order", properties["E-mail"]) == "x"',
        'traits["em\\x61il"] == "x"',
        'default(traits.email, "") == "x"',
        "exists(traits.plan) and (\n traits.email # not this\n == 'x')",
        "traits.email ==",
        'traits.contact == "ann@example.com"',
        'exists(traits.email) and traits.email > "m"',
    ],
)
def test_a_condition_that_would_find_out_who_somebody_is_is_refused(condition: str) -> None:
    with pytest.raises(IdentitiesNotReadable, match="reveal an identity") as refused:
        USUAL.check(["traits.plan == 'gold'", condition])
    assert "identities:read" in refused.value.hint


def test_a_condition_whether_there_is_an_address_or_about_anything_else_is_not() -> None:
    USUAL.check(
        [
            "missing(traits.email) and exists( traits.loyalty_id )",
            "traits.plan == 'email'",
            'events.count("email", last="30d") > 3 and context.medium == "email"',
            "consent.email and not consent.phone and not missing(traits['phone'])",
            '"loyal" in segments',
        ]
    )


# --- in a service -----------------------------------------------------------------------------

ANN = "ann@example.com"


@strawberry.type
class Note:
    text: str
    about: JSON
    author: str = ANN


@strawberry.type
class Rule:
    """What the company wrote."""

    text: str = f"Write to {ANN}"


@strawberry.type
class Query:
    @strawberry.field
    def notes(self) -> list[Note]:
        return [Note(text=f"from {ANN}", about=JSON({"email": "ann", "n": 1}))]

    @strawberry.field
    def rule(self) -> Rule:
        return Rule()

    @strawberry.field
    def tags(self) -> list[str] | None:
        return [ANN, "jazz"]

    @strawberry.field
    async def later(self) -> str:
        return ANN

    @strawberry.field
    def missing(self) -> str | None:
        return None


schema = Schema(
    query=Query,
    hides={"Rule": leave_unmasked, "Note.author": lambda masking, note, value: f"{len(note.text)}"},
)
QUERY = "{ notes { text about author } rule { text } tags later missing }"
STAFF = Principal(Role.ANALYST, "alan")


@dataclass
class Context:
    principal: Principal
    masking: Masking = USUAL


async def ask(principal: Principal, query: str = QUERY, masking: Masking = USUAL) -> Any:
    return (await schema.answer(query, None, Context(principal, masking)))["data"]


@pytest.mark.parametrize("query", [QUERY, QUERY.replace("{ notes", "{ notes @include(if: true)")])
async def test_every_text_and_json_of_a_service_is_hidden_unless_its_schema_says_otherwise(
    query: str,
) -> None:
    for _ in range(2):
        assert await ask(STAFF, query) == {
            "notes": [{"text": f"from {MASK}", "about": {"email": MASK, "n": 1}, "author": "20"}],
            "rule": {"text": f"Write to {ANN}"},
            "tags": [MASK, "jazz"],
            "later": MASK,
            "missing": None,
        }


async def test_who_may_identify_or_speaks_for_the_one_customer_sees_it_all() -> None:
    for one in (
        replace(STAFF, scopes=frozenset({IDENTITIES})),
        Principal(Role.VISITOR, "v"),
        Principal(Role.APP, "a"),
    ):
        data = await ask(one)
        assert data["notes"][0]["text"] == f"from {ANN}"
        assert data["later"] == ANN
        assert data["notes"][0]["about"] == {"email": "ann", "n": 1}


async def test_one_callers_answer_is_hidden_by_other_names_than_anothers() -> None:
    nothing = await ask(STAFF, "{ notes { about } }")
    all_of_it = await ask(STAFF, "{ notes { about } }", Masking(frozenset({"n"})))

    assert nothing["notes"][0]["about"]["n"] == 1
    assert all_of_it["notes"][0]["about"]["n"] == MASK
