"""Decision's part of the graph: who may see what, pages, why not, and requests gone wrong."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from services.chassis.principal import Principal
from services.contracts.enums import Role
from services.decision import handlers
from services.decision.schema import schema
from tests.callers import caller
from tests.integration.decision.conftest import (
    MARKETER,
    OFFERS,
    Replica,
    by,
    keys,
    later,
    merged,
    running,
    snapshot,
)

WHY_NOT = """
query ($reference: [_Any!]!, $action: ID!, $channel: Channel! = WEB, $placement: String! = "hero") {
  _entities(representations: $reference) { ... on Customer {
    whyNot(action: $action, channel: $channel, placement: $placement) {
      stage passed rank failed { condition actual }
    }
  } }
}
"""


def visitor(value: str) -> Principal:
    """A visitor, known by their browser."""
    return caller(Role.VISITOR, "v", {"type": "anonymous_id", "value": value})


def app(value: str) -> Principal:
    """An app that speaks for a browser."""
    return caller(Role.APP, "a", {"type": "anonymous_id", "value": value})


def entity(customer: object, type: str = "Customer") -> list[dict[str, Any]]:
    """An entity as the gateway names it."""
    return [{"__typename": type, "id": str(customer)}]


async def test_a_visitor_is_served_their_own_customer_and_no_other(replica: Replica) -> None:
    ada = uuid4()
    await replica.know(snapshot(ada))

    own = await replica.ask(OFFERS, app("b1"), customer=by("anonymous_id", " b1 "))
    others = [
        await replica.ask(OFFERS, app("b1"), customer=someone)
        for someone in (
            by("anonymous_id", "b2"),
            by("email", f"{ada}@example.com"),
            by("email", "nobody@example.com"),
            {"id": str(ada)},
            {"id": str(uuid4())},
        )
    ]

    denied = {error["path"][-1] for error in own["errors"]}
    assert denied <= {"propensity", "score", "value", "trace", "controlGroup"}
    assert keys(own["data"]["nextBestActions"])
    assert [a["errors"][0]["extensions"]["code"] for a in others] == ["FORBIDDEN"] * 5
    assert await replica.count("decision") == 1


async def test_who_may_not_look_customers_up_asks_offers_by_id_or_browser_only(
    replica: Replica,
) -> None:
    ada = uuid4()
    await replica.know(snapshot(ada))

    served = [
        await replica.ask(OFFERS, MARKETER, customer=someone)
        for someone in ({"id": str(ada)}, by("anonymous_id", "b1"))
    ]
    refused = [
        await replica.ask(OFFERS, MARKETER, customer=by("email", f"{name}@example.com"))
        for name in (ada, "nobody")
    ]

    assert served[0]["data"]["nextBestActions"]["customer"]["id"] == str(ada)
    assert keys(served[1]["data"]["nextBestActions"])
    assert [a["errors"][0]["extensions"]["code"] for a in refused] == ["FORBIDDEN"] * 2
    assert await replica.count("decision") == 2


async def test_a_visitor_who_became_known_may_ask_for_who_they_are_now(replica: Replica) -> None:
    ada = uuid4()
    await replica.know(snapshot(ada))
    first = await replica.ask(OFFERS, visitor("b1"), customer=by("anonymous_id", "b1"))
    anonymous = first["data"]["nextBestActions"]["customer"]["id"]

    await replica.hear(handlers.merge_customers, merged(anonymous, ada))
    answer = await replica.ask(OFFERS, visitor("b1"), customer={"id": str(ada)})

    assert keys(answer["data"]["nextBestActions"]) == ["jazz", "newsletter"]


@pytest.mark.parametrize(
    "field",
    [
        'nextBestActions(channel: WEB, placement: "hero") { id }',
        "decisions { edges { node { id } } }",
    ],
)
async def test_entities_show_a_visitor_no_other_customer(replica: Replica, field: str) -> None:
    ada = uuid4()
    await replica.know(snapshot(ada))
    query = f"""query ($r: [_Any!]!) {{
      _entities(representations: $r) {{ ... on Customer {{ {field} }} }} }}"""

    answer = await replica.ask(query, app("b1"), r=entity(ada))

    assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    assert list(answer["data"]["_entities"][0].values()) == [None]
    assert await replica.count("decision") == 0


async def test_a_decision_is_readable_for_its_customer_and_for_staff(replica: Replica) -> None:
    decision = await replica.offers(by("anonymous_id", "b1"))
    query = "query ($id: ID!) { decision(id: $id) { id customer { id } } }"
    federated = """query ($r: [_Any!]!) {
      _entities(representations: $r) { ... on Decision { id } } }"""

    by_staff = await replica.ask(query, id=decision["id"])
    by_him = await replica.ask(query, app("b1"), id=decision["id"])
    by_another = await replica.ask(query, app("b2"), id=decision["id"])
    as_entity = await replica.ask(federated, app("b2"), r=entity(decision["id"], "Decision"))
    as_his = await replica.ask(federated, app("b1"), r=entity(decision["id"], "Decision"))
    nowhere = await replica.ask(query, id="nonsense")

    assert by_staff["data"] == by_him["data"]
    assert by_another["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    assert as_entity["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    assert as_his["data"]["_entities"] == [{"id": decision["id"]}]
    assert nowhere["data"]["decision"] is None


async def test_decisions_are_paged_newest_first(replica: Replica) -> None:
    ada = uuid4()
    await replica.know(snapshot(ada))
    ids = []
    for _ in range(5):
        ids.append((await replica.offers({"id": str(ada)}))["id"])
        later(replica, seconds=1)
    query = """query ($r: [_Any!]!, $after: String) { _entities(representations: $r) {
      ... on Customer { decisions(first: 2, after: $after) {
        edges { node { id propositions { action { key } } } } pageInfo { hasNextPage endCursor }
    } } } }"""

    pages, after = [], None
    while True:
        answer = await replica.ask(query, r=entity(ada), after=after)
        page = answer["data"]["_entities"][0]["decisions"]
        pages.append([edge["node"]["id"] for edge in page["edges"]])
        if not page["pageInfo"]["hasNextPage"]:
            break
        after = page["pageInfo"]["endCursor"]

    assert pages == [ids[4:2:-1], ids[2:0:-1], ids[:1]]


async def test_why_not_waits_for_the_customer_rather_than_explain_a_stranger(
    database_url: str,
) -> None:
    ada = uuid4()
    async with running(database_url, answer_within_ms=1) as replica:
        await replica.publish()
        await replica.know(snapshot(ada, traits={"age": 17}))
        asking = replica.ask(WHY_NOT, reference=entity(ada), action="jazz")
        async with replica.database.transaction() as connection:
            await connection.execute("LOCK TABLE customer_snapshot IN ACCESS EXCLUSIVE MODE")
            explained = asyncio.create_task(asking)
            decided = await replica.offers({"id": str(ada)})
        answer = await explained

    assert "could not be read in time" in decided["degraded"]
    assert answer["data"]["_entities"][0]["whyNot"]["failed"] == [
        {"condition": "traits.age >= 18", "actual": 17}
    ]


async def test_why_not_names_the_stage_the_condition_and_the_value(replica: Replica) -> None:
    ada = uuid4()
    await replica.know(snapshot(ada, traits={"age": 17}))

    async def why(action: str, **more: Any) -> Any:
        answer = await replica.ask(WHY_NOT, reference=entity(ada), action=action, **more)
        return answer["data"]["_entities"][0]["whyNot"] or answer["errors"][0]["extensions"]

    jazz, loyalty = await why("jazz"), await why("loyalty")
    elsewhere = await why("loyalty", channel="CALL_CENTRE", placement="desk")
    proposed, unknown = await why("newsletter"), await why("jaz")

    assert jazz["stage"] == "ELIGIBILITY"
    assert jazz["failed"] == [{"condition": "traits.age >= 18", "actual": 17}]
    assert loyalty["stage"] == "SUITABILITY"
    assert loyalty["failed"][0]["actual"] == 0
    assert elsewhere["stage"] == "VALIDITY"
    assert elsewhere["failed"] == [
        {"condition": "has a treatment for desk on CALL_CENTRE", "actual": "WEB hero"}
    ]
    assert (proposed["stage"], proposed["passed"], proposed["rank"]) == ("ARBITRATION", True, 1)
    assert unknown["code"] == "DECISION_UNKNOWN_ACTION"
    assert unknown["hint"] == "Did you mean `jazz`?"
    assert await replica.count("decision") == 0


@pytest.mark.parametrize(
    ("wrong", "code", "hint"),
    [
        ({"placement": "heroo"}, "DECISION_UNKNOWN_PLACEMENT", "Did you mean `hero`?"),
        ({"placement": "desk"}, "DECISION_UNKNOWN_PLACEMENT", "It is on CALL_CENTRE."),
        ({"limit": 0}, "DECISION_INVALID_REQUEST", "Ask for 1 to 30"),
        ({"limit": 31}, "DECISION_INVALID_REQUEST", "Ask for 1 to 30"),
        ({"context": [1]}, "DECISION_INVALID_REQUEST", "Pass a JSON object."),
        ({"context": {"x": "y" * 20_000}}, "DECISION_INVALID_REQUEST", "at most 16384"),
        ({"context": {"x": 2**70}}, "DECISION_INVALID_REQUEST", "at most 64 bits"),
        ({"event": {"name": ""}}, "DECISION_INVALID_REQUEST", "1 to 200"),
        (
            {"event": {"name": "e", "at": "2030-01-01T00:00:00Z"}},
            "DECISION_INVALID_REQUEST",
            "Leave `at` out",
        ),
        ({"customer": {}}, "BAD_USER_INPUT", "Pass exactly one"),
        ({"customer": {"id": "17"}}, "INVALID_CUSTOMER_REF", "as the graph returned it"),
        ({"customer": by("telex", "1")}, "INVALID_CUSTOMER_REF", "anonymous_id"),
        ({"customer": by("email", "a\0b@c.d")}, "INVALID_CUSTOMER_REF", "1 to 255"),
    ],
)
async def test_a_wrong_request_gets_the_problem_and_the_remedy(
    replica: Replica, wrong: dict[str, Any], code: str, hint: str
) -> None:
    variables = {"customer": by("anonymous_id", "b1"), **wrong}

    answer = await replica.ask(OFFERS, **variables)

    [error] = answer["errors"]
    assert error["extensions"]["code"] == code
    assert hint in error["extensions"]["hint"]
    assert await replica.count("decision") == 0


async def test_an_unknown_channel_is_refused_by_the_graph_itself(replica: Replica) -> None:
    answer = await replica.ask(
        OFFERS.replace("$channel: Channel! = WEB", "$channel: Channel! = FAX"),
        customer=by("anonymous_id", "b1"),
    )

    assert "FAX" in answer["errors"][0]["message"]


def test_the_subgraph_extends_customer_and_keeps_its_fields_nullable() -> None:
    sdl = schema.as_str()

    customer = sdl[sdl.index("type Customer") :].split("\n}")[0]
    assert customer.startswith('type Customer @key(fields: "id")')
    assert "Decision!" not in customer.replace("[Decision!]", "")
    assert 'type Decision @key(fields: "id")' in sdl
    assert 'type Action @key(fields: "key")' in sdl
    assert "type Money @shareable" in sdl
