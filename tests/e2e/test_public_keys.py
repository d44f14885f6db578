"""Attacks with what everybody has: the write key of a page, and tokens of their own browser.

Each goes through the public door of a whole Raak, and says what the attacker gets.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import aiohttp
import jwt
import pytest

from infra.demo.asking import until as wait_until
from infra.tokens import issue_claim
from services.contracts.identity import derive_customer_id
from tests.e2e import test_live as live
from tests.e2e.people import JSON, codes, wait_until_known
from tests.stack import Stack

ALL = """query($ref: CustomerRef!) { customer(ref: $ref) {
  id traits { name value source sender } consents { purpose status sender }
  identities { type value } history { kind linkedBy }
  events(first: 50) { edges { node { name properties messageId sender } } } } }"""
CLAIMS = """query($ref: CustomerRef!) { customer(ref: $ref) {
  id claims { type value sender confirmedAt } } }"""
CONSENT = "mutation($i: ConsentInput!) { setConsent(input: $i) { id } }"
IDENTIFY = "mutation($i: IdentifyInput!) { identify(input: $i) { id } }"
TRACK = "mutation($i: TrackInput!) { track(input: $i) { duplicate } }"
IBAN = "NL91ABNA0417164300"


def ref(type: str, value: str) -> JSON:
    """A customer, named by an identity."""
    return {"identity": {"type": type, "value": value}}


@dataclass(frozen=True)
class Shop:
    """A Raak, with what its server does and what its pages, or anybody, can do."""

    stack: Stack

    def serve(self, call: str, **event: Any) -> JSON:
        """The shop's server sends a call."""
        answer: JSON = self.stack.send(call, event, key=self.stack.stage.api_key).json()
        assert answer["success"], answer
        return answer

    def page(self, call: str, **event: Any) -> JSON:
        """Somebody sends a call with the write key; what is answered, with its status."""
        answer = self.stack.send(call, event)
        return {"status": answer.status_code, **answer.json()}

    def code(self, call: str, **event: Any) -> str:
        """Why a call that somebody sends with the write key is refused."""
        answer = self.page(call, **event)
        [refused] = answer["rejected"]
        assert answer["status"] == 400
        assert refused["hint"]
        return str(refused["code"])

    def ask(self, query: str, role: str, own: str = "", **variables: Any) -> JSON:
        """What the graph answers somebody with a token."""
        return self.stack.as_(role, own).answer(query, **variables)

    def look_at(self, role: str, own: str, who: JSON) -> JSON:
        """All that somebody with a token sees of a customer."""
        data: JSON = self.ask(ALL, role, own, ref=who)["data"]
        return data["customer"] or {}

    def claim(self, browser: str, said: JSON, *, secret: str = "", minutes: float = 15) -> JSON:
        """The context of a call that hands a signed claim on."""
        secret = secret or self.stack.instance.secret("claim-secret")
        signed = issue_claim(secret, browser, said, datetime.now(UTC), minutes)
        return {"raak": {"claim": signed}}


@pytest.fixture(scope="module")
def shop(stack: Stack) -> Shop:
    return Shop(stack)


@dataclass(frozen=True)
class Victim:
    """Somebody a server has said much of."""

    user: str
    email: str
    phone: str
    browser: str


@pytest.fixture(scope="module")
def victim(shop: Shop) -> Victim:
    """Known by the server's word, who said no to e-mail."""
    tag = uuid4().hex[:8]
    number = f"+316{uuid4().int % 10**8:08}"
    victim = Victim(f"victim-{tag}", f"victim-{tag}@example.com", number, f"victims-{tag}")
    shop.serve(
        "identify",
        userId=victim.user,
        anonymousId=victim.browser,
        traits={"email": victim.email, "phone": victim.phone, "iban": IBAN},
        context={"consent": {"categoryPreferences": {"email": False}}},
    )
    wait_until_known(shop.stack, "user_id", victim.user)
    return victim


def emails_consent(shop: Shop, victim: Victim) -> str:
    """The victim's word on e-mail, as an agent sees it."""
    [consent] = shop.look_at("agent", "", ref("user_id", victim.user))["consents"]
    return str(consent["status"])


WAYS: dict[str, Callable[[Victim, str], tuple[str, JSON]]] = {
    "an e-mail address": lambda v, mine: ("identify", {"traits": {"email": v.email.upper()}}),
    "a phone number": lambda v, mine: ("identify", {"traits": {"phone": v.phone}}),
    "a user id": lambda v, mine: ("identify", {"userId": v.user}),
    "a user id in a track call": lambda v, mine: ("track", {"event": "x", "userId": v.user}),
    "a user id in a page call": lambda v, mine: ("page", {"userId": v.user}),
    "a user id in a group call": lambda v, mine: ("group", {"groupId": "g", "userId": v.user}),
    "the traits of the context": lambda v, mine: (
        "track",
        {"event": "x", "context": {"traits": {"email": v.email}}},
    ),
    "external ids": lambda v, mine: (
        "track",
        {"event": "x", "context": {"externalIds": [{"type": "user_id", "id": v.user}]}},
    ),
    "an alias of one's own browser": lambda v, mine: (
        "alias",
        {"userId": v.user, "previousId": mine},
    ),
}
OTHERS_BROWSER: dict[str, Callable[[Victim], JSON]] = {
    "the victim's browser among external ids": lambda v: {
        "externalIds": [{"type": "anonymous_id", "id": v.browser}]
    },
    "the victim's browser as a device": lambda v: {"device": {"id": v.browser}},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_browser_that_names_a_person_with_the_write_key_stays_who_it_is(
    shop: Shop, victim: Victim, way: str
) -> None:
    mine = f"mine-{uuid4().hex[:8]}"
    own, me = f"anonymous_id={mine}", ref("anonymous_id", mine)
    call, event = WAYS[way](victim, mine)

    assert shop.page(call, anonymousId=mine, **event)["accepted"] == 1
    given = {"customer": me, "purpose": "email", "status": "GIVEN"}
    shop.ask(CONSENT, "visitor", own, i=given)

    seen = shop.look_at("app", own, me)
    assert seen["id"] == str(derive_customer_id("anonymous_id", mine))
    assert seen["identities"] == [{"type": "anonymous_id", "value": mine}]
    assert seen["traits"] == []
    assert victim.email not in str(seen).lower()
    assert emails_consent(shop, victim) == "DENIED"
    [claim] = shop.ask(CLAIMS, "agent", ref=me)["data"]["customer"]["claims"]
    assert claim["value"] in (victim.user, victim.email, victim.phone)
    assert (claim["sender"], claim["confirmedAt"]) == ("WRITE_KEY", None)
    assert "UNAUTHORIZED_FIELD_OR_TYPE" in codes(shop.ask(CLAIMS, "app", own, ref=me))


@pytest.mark.parametrize("way", OTHERS_BROWSER)
def test_a_browser_that_names_anothers_browser_stays_who_it_is(
    shop: Shop, victim: Victim, way: str
) -> None:
    mine = f"mine-{uuid4().hex[:8]}"

    shop.page("track", event="x", anonymousId=mine, context=OTHERS_BROWSER[way](victim))

    seen = shop.look_at("app", f"anonymous_id={mine}", ref("anonymous_id", mine))
    assert seen["id"] == str(derive_customer_id("anonymous_id", mine))
    assert IBAN not in str(seen)


def test_a_write_key_joins_nobody_by_alias(shop: Shop, victim: Victim) -> None:
    mine = f"mine-{uuid4().hex[:8]}"
    before = shop.look_at("agent", "", ref("user_id", victim.user))

    refused = [
        shop.code("alias", userId="me", previousId=victim.user),
        shop.code("alias", userId="me", previousId=victim.user, anonymousId=mine),
        shop.code("alias", userId="me", previousId=victim.browser, anonymousId=mine),
        shop.code("alias", userId="me", previousId=victim.browser, anonymousId=victim.browser),
    ]

    assert refused == ["PROFILE_UNPROVED_IDENTITY", *["PROFILE_UNPROVED_CHANGE"] * 3]
    assert shop.look_at("agent", "", ref("user_id", victim.user)) == before


def test_an_address_claimed_before_its_owner_registers_gives_nothing_of_what_comes_later(
    shop: Shop,
) -> None:
    mine, tag = f"mine-{uuid4().hex[:8]}", uuid4().hex[:8]
    email = f"later-{tag}@example.com"
    shop.page("identify", anonymousId=mine, traits={"email": email})

    shop.serve("identify", userId=f"later-{tag}", traits={"email": email, "iban": IBAN})

    assert IBAN not in str(shop.look_at("app", f"anonymous_id={mine}", ref("anonymous_id", mine)))
    assert shop.ask(ALL, "app", f"anonymous_id={mine}", ref=ref("email", email))["errors"]


def test_the_answers_do_not_tell_who_exists(shop: Shop, victim: Victim) -> None:
    nobody = f"nobody-{uuid4().hex[:8]}@example.com"

    def answers(email: str) -> list[JSON]:
        mine = f"mine-{uuid4().hex[:8]}"
        own, me = f"anonymous_id={mine}", ref("anonymous_id", mine)
        traits = {"customer": me, "traits": {"email": email}}
        further = {"customer": me, "identities": [{"type": "email", "value": email}]}
        return [
            shop.page("identify", anonymousId=mine, traits={"email": email}),
            shop.page("identify", userId=email, traits={"email": email}),
            shop.page("alias", anonymousId=mine, userId=email, previousId=mine),
            shop.ask(IDENTIFY, "visitor", own, i=traits)["errors"],
            shop.ask(IDENTIFY, "app", own, i=further)["errors"],
            shop.ask(ALL, "app", own, ref=ref("email", email))["errors"],
        ]

    assert answers(victim.email) == answers(nobody)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_a_subscription_that_is_open_follows_nobody_the_write_key_names(
    shop: Shop, victim: Victim, session: aiohttp.ClientSession
) -> None:
    mine = f"mine-{uuid4().hex[:8]}"
    me = live.Caller(shop.stack, session, "app", f"anonymous_id={mine}")
    shop.page("track", anonymousId=mine, event="came")

    async with me.over_sse(ref("anonymous_id", mine)) as screen:
        first = await anext(screen)
        shop.page("identify", anonymousId=mine, traits={"email": victim.email})
        shop.page("track", anonymousId=mine, event="mine")
        shop.serve("track", userId=victim.user, event="the victim's own")
        shop.page("track", anonymousId=mine, event="last")
        heard = [first]
        async with asyncio.timeout(30):
            while "'name': 'last'" not in str(heard[-1]):
                heard.append(await anext(screen))

    activities = [one["data"]["customerActivity"] for one in heard]
    assert {one["customer"]["id"] for one in activities} == {
        str(derive_customer_id("anonymous_id", mine))
    }
    assert "the victim's own" not in str(activities)
    assert "MERGED" not in {one["kind"] for one in activities}


@pytest.mark.parametrize("role", ["visitor", "app"])
def test_a_customers_own_word_is_declared_whatever_it_says_of_itself(shop: Shop, role: str) -> None:
    user = f"own-{uuid4().hex[:8]}"
    shop.serve("identify", userId=user, traits={"loyalty_tier": "silver"})
    own, me = f"user_id={user}", ref("user_id", user)
    told = {"customer": me, "traits": {"loyalty_tier": "platinum"}}

    lies = [
        codes(shop.ask(IDENTIFY, role, own, i=told | lie))
        for lie in (
            {"kind": "FACTUAL", "source": "crm"},
            {"kind": "DERIVED"},
            {"source": "crm"},
            {"lawfulBasis": "CT"},
        )
    ]
    word = {"customer": me, "purpose": "email", "status": "GIVEN", "lawfulBasis": "LI"}
    lies.append(codes(shop.ask(CONSENT, role, own, i=word)))
    event = {"customer": me, "event": "x", "context": {"raak": {"kind": "FACTUAL"}}}
    lies.append(codes(shop.ask(TRACK, role, own, i=event)))
    plain = shop.ask(IDENTIFY, role, own, i=told)

    assert lies == [{"PROFILE_UNPROVED_PROVENANCE"}] * 6
    assert "errors" not in plain
    [tier] = shop.look_at("agent", "", me)["traits"]
    assert (tier["value"], tier["source"], tier["sender"]) == ("silver", "segment", "SERVER")


def test_a_pages_own_word_is_declared_whatever_it_says_of_itself(shop: Shop) -> None:
    mine = f"mine-{uuid4().hex[:8]}"
    lies = ({"kind": "FACTUAL"}, {"source": "crm"}, {"lawfulBasis": "CP"}, {"kind": "derived"})

    refused = {
        shop.code("identify", anonymousId=mine, traits={"a": 1}, context={"raak": lie})
        for lie in lies
    }

    assert refused == {"PROFILE_UNPROVED_PROVENANCE"}


def test_a_guessed_message_id_swallows_nothing(shop: Shop) -> None:
    user, browser = f"order-{uuid4().hex[:8]}", f"browser-{uuid4().hex[:8]}"
    shop.serve("identify", userId=user, anonymousId=browser)
    own, me = f"user_id={user}", ref("user_id", user)

    forged = shop.page("track", anonymousId=browser, event="nothing", messageId="order-1")
    shop.ask(TRACK, "app", own, i={"customer": me, "event": "none", "messageId": "order-1"})
    order = {"event": "order_completed", "messageId": "order-1"}
    served = [shop.serve("track", userId=user, **order) for _ in range(2)]
    late = shop.page("track", anonymousId=browser, event="late", messageId="order-1")

    assert (forged["accepted"], late["duplicates"]) == (1, 1)
    assert [one["accepted"] for one in served] == [1, 0]
    events = [edge["node"] for edge in shop.look_at("agent", "", me)["events"]["edges"]]
    found = {(e["name"], e["sender"]) for e in events if e["messageId"] == "order-1"}
    assert found == {("nothing", "WRITE_KEY"), ("none", "APP"), ("order_completed", "SERVER")}


def test_of_a_linked_browser_the_write_key_tells_what_it_does_and_nothing_else(
    shop: Shop,
) -> None:
    user, browser = f"linked-{uuid4().hex[:8]}", f"browser-{uuid4().hex[:8]}"
    shop.page("identify", anonymousId=browser, traits={"town": "Delft"})
    denied = {"consent": {"categoryPreferences": {"email": False}}}
    shop.serve("identify", userId=user, anonymousId=browser, context=denied)
    given = {"consent": {"categoryPreferences": {"email": True, "ads": False}}}

    traits = shop.code("identify", anonymousId=browser, traits={"town": "Breda"})
    looked = shop.page("track", anonymousId=browser, event="looked", context=given)
    plain = shop.page("identify", anonymousId=browser, userId=user)

    assert traits == "PROFILE_UNPROVED_CHANGE"
    assert (looked["accepted"], [one["code"] for one in looked["ignored"]]) == (
        1,
        ["PROFILE_UNPROVED_CHANGE"],
    )
    assert (plain["accepted"], "ignored" in plain) == (1, False)
    seen = shop.look_at("app", f"anonymous_id={browser}", ref("anonymous_id", browser))
    assert {c["purpose"]: c["status"] for c in seen["consents"]} == {
        "email": "DENIED",
        "ads": "DENIED",
    }
    assert [(t["value"], t["sender"]) for t in seen["traits"]] == [("Delft", "WRITE_KEY")]
    assert seen["history"] == []
    assert "looked" in str(seen["events"])


def test_a_login_by_signed_claim_counts_at_once(shop: Shop) -> None:
    tag = uuid4().hex[:8]
    user, browser = f"claimed-{tag}", f"browser-{tag}"
    email = f"{user}@example.com"
    shop.serve(
        "identify", userId=user, anonymousId=f"phone-{tag}", traits={"loyalty_tier": "silver"}
    )
    shop.page("identify", anonymousId=browser, userId=user, traits={"email": email, "a": 1})
    context = shop.claim(browser, {"user_id": user, "email": email})

    login = shop.page(
        "identify",
        anonymousId=browser,
        userId=user,
        traits={"email": email, "town": "Delft", "loyalty_tier": "gold"},
        context=context | {"consent": {"categoryPreferences": {"personalisation": True}}},
    )

    assert login["accepted"] == 1
    seen = shop.look_at("app", f"anonymous_id={browser}", ref("anonymous_id", browser))
    assert {t["name"]: (t["value"], t["sender"]) for t in seen["traits"]} == {
        "a": (1, "WRITE_KEY"),
        "email": (email, "APP"),
        "loyalty_tier": ("silver", "SERVER"),
        "town": ("Delft", "APP"),
    }
    assert [(c["status"], c["sender"]) for c in seen["consents"]] == [("GIVEN", "APP")]
    assert {"kind": "MERGED", "linkedBy": "CLAIM"} in seen["history"]
    claims = shop.ask(CLAIMS, "agent", ref=ref("user_id", user))["data"]["customer"]["claims"]
    assert {c["type"] for c in claims if c["confirmedAt"]} == {"user_id", "email"}
    own = f"anonymous_id={browser}"
    me = ref("anonymous_id", browser)
    wait_until(lambda: seen["id"] in str(shop.ask(OFFERS, "visitor", own, ref=me)))


OFFERS = """query($ref: CustomerRef!) {
  nextBestActions(customer: $ref, channel: WEB, placement: "home") { customer { id } } }"""


def signed(shop: Shop, browser: str, **said: Any) -> str:
    """A JWT with what a claim should have, and what is given instead."""
    now = time.time()
    claims = {
        "aud": "raak-claim",
        "exp": now + 600,
        "anonymous_id": browser,
        "user_id": "victim",
    } | said
    told = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(told, shop.stack.instance.secret("claim-secret"), "HS256")


def none_signed(shop: Shop, browser: str) -> str:
    """A JWT of which nobody has to know a secret."""
    said = jwt.decode(signed(shop, browser), options={"verify_signature": False})
    return jwt.encode(said, "", "none")


FORGED: dict[str, tuple[Callable[[Shop, str], object], str, str]] = {
    "another secret": (
        lambda shop, me: jwt.encode({"aud": "raak-claim", "exp": 9e9}, "x" * 32, "HS256"),
        "PROFILE_INVALID_CLAIM",
        "not signed with our secret",
    ),
    "no signature": (none_signed, "PROFILE_INVALID_CLAIM", "not signed with HS256"),
    "expired": (
        lambda shop, me: signed(shop, me, exp=time.time() - 60),
        "PROFILE_CLAIM_EXPIRED",
        "expired",
    ),
    "not yet valid": (
        lambda shop, me: signed(shop, me, nbf=time.time() + 300),
        "PROFILE_INVALID_CLAIM",
        "not valid yet",
    ),
    "for too long": (
        lambda shop, me: signed(shop, me, exp=time.time() + 86_400),
        "PROFILE_INVALID_CLAIM",
        "longer than",
    ),
    "without end": (
        lambda shop, me: signed(shop, me, exp=None),
        "PROFILE_INVALID_CLAIM",
        "no exp",
    ),
    "another audience": (
        lambda shop, me: signed(shop, me, aud="raak"),
        "PROFILE_INVALID_CLAIM",
        "another audience",
    ),
    "another browser": (
        lambda shop, me: signed(shop, "the victim's"),
        "PROFILE_INVALID_CLAIM",
        "another browser",
    ),
    "nobody": (
        lambda shop, me: signed(shop, me, user_id=None),
        "PROFILE_INVALID_CLAIM",
        "names nobody",
    ),
    "no text": (lambda shop, me: {"user_id": "victim"}, "PROFILE_INVALID_CLAIM", "not text"),
}


@pytest.mark.parametrize("flaw", FORGED)
def test_a_claim_that_proves_nothing_is_refused_by_name_and_costs_its_event_only(
    shop: Shop, flaw: str
) -> None:
    mine = f"mine-{uuid4().hex[:8]}"
    make, code, problem = FORGED[flaw]
    claim = make(shop, mine)
    bad = {
        "type": "identify",
        "anonymousId": mine,
        "userId": "victim",
        "traits": {"town": "Delft"},
        "context": {"raak": {"claim": claim}},
    }
    good = {"type": "track", "anonymousId": mine, "event": "looked"}

    answer = shop.page("batch", batch=[bad, good])

    [refused] = answer["rejected"]
    assert (answer["accepted"], refused["index"], refused["code"]) == (1, 0, code)
    assert problem in refused["problem"]
    assert str(claim) not in str(answer)
    seen = shop.look_at("app", f"anonymous_id={mine}", ref("anonymous_id", mine))
    assert (seen["traits"], len(seen["identities"])) == ([], 1)


def test_a_claim_shared_by_a_batch_counts_for_its_browser_and_is_kept_nowhere(shop: Shop) -> None:
    user, browser = f"shared-{uuid4().hex[:8]}", f"browser-{uuid4().hex[:8]}"
    context = shop.claim(browser, {"user_id": user})
    mine = {"type": "track", "anonymousId": browser, "event": "mine"}
    other = {"type": "track", "anonymousId": "another", "event": "another's"}

    answer = shop.page("batch", batch=[mine, other], context=context)

    assert (answer["accepted"], [r["index"] for r in answer["rejected"]]) == (1, [1])
    query = """query($ref: CustomerRef!) { customer(ref: $ref) {
      events(first: 5) { edges { node { name context } } } } }"""
    told = shop.ask(query, "agent", ref=ref("user_id", user))
    assert "mine" in str(told)
    logs = shop.stack.instance.folder / "logs"
    claim = context["raak"]["claim"]
    assert claim not in str(told)
    assert not [log for log in logs.iterdir() if claim in log.read_text(errors="replace")]


def test_the_longest_life_is_counted_from_when_a_claim_was_issued(shop: Shop) -> None:
    mine, now = f"mine-{uuid4().hex[:8]}", datetime.now(UTC)
    long = signed(shop, mine, iat=now - timedelta(minutes=90), exp=now + timedelta(minutes=10))

    refused = shop.page("track", anonymousId=mine, event="x", context={"raak": {"claim": long}})

    assert "longer than" in refused["rejected"][0]["problem"]
