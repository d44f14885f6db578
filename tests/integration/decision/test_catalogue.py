"""Catalogues as versions: refused with places, compared, announced, and explained when old."""

import asyncio
import threading
from uuid import uuid4

from services.contracts.decision import DecisionSeriesNeeded
from tests.integration.decision.conftest import (
    AGENT,
    CATALOGUE,
    MARKETER,
    PUBLISH,
    Replica,
    by,
    keys,
    later,
    running,
    snapshot,
)
from tests.reading import reading_threads
from tests.waiting import until

WITHOUT_NEWSLETTER = (
    CATALOGUE[: CATALOGUE.index("  - key: newsletter")]
    + CATALOGUE[CATALOGUE.index("  - key: loyalty") :]
)
TRACE = """
query ($id: ID!) { decision(id: $id) { catalogueVersion trace {
  action { key name } stage passed failed { condition actual }
  propensity contextWeight value { cents } lever price score rank probability
} } }
"""


async def test_content_is_what_was_written_and_read_beside_the_thread_that_answers(
    replica: Replica,
) -> None:
    content = "{country: NO, opens: 12:30, code: 0755, version: 1.10, day: 2026-01-01, on: 1}"

    with reading_threads() as threads:
        await replica.publish(CATALOGUE.replace("{title: Read us}", content))
    decision = await replica.offers(by("anonymous_id", "b1"))

    assert threads
    assert threading.get_ident() not in threads
    assert decision["propositions"][0]["content"] == {
        **{"country": "NO", "opens": "12:30", "code": "0755", "version": "1.10"},
        **{"day": "2026-01-01", "on": 1},
    }


async def test_every_problem_is_reported_with_its_line_and_a_remedy(replica: Replica) -> None:
    broken = (
        CATALOGUE.replace("traits.age >= 18", "trait.age >= 18")
        .replace("placements: hero", "placements: herro", 1)
        .replace("at_most: 3", "at_most: none")
    )
    schema_only = CATALOGUE.replace("value_cents: 500", "value: 500")

    semantic = await replica.ask(
        PUBLISH, MARKETER, yaml=broken.replace("at_most: none", "at_most: 3")
    )
    by_model = await replica.ask(PUBLISH, MARKETER, yaml=schema_only)

    problems = semantic["errors"][0]["extensions"]["problems"]
    lines = broken.splitlines()
    assert [lines[p["line"] - 1].strip() for p in problems] == [
        "eligibility: trait.age >= 18",
        "placements: herro",
    ]
    assert problems[0]["path"] == "actions[0].eligibility[0]"
    assert "traits" in problems[0]["hint"]
    assert problems[1]["hint"] == "Did you mean `hero`?"
    problems = by_model["errors"][0]["extensions"]["problems"]
    assert {(p["path"], p["problem"]) for p in problems} == {
        ("actions[0].value_cents", "This is missing."),
        ("actions[0].value", "'value' is not known here."),
    }
    assert await replica.count("catalogue_version") == 1


async def test_a_publication_says_what_changed_and_the_same_text_is_no_new_version(
    replica: Replica,
) -> None:
    dearer = CATALOGUE.replace("value_cents: 500", "value_cents: 600")

    change = await replica.publish(dearer)
    again = await replica.publish(dearer)

    assert change["version"] == again["version"] == 2
    assert change["changed"] == ["jazz"]
    assert change["unchanged"] == ["newsletter", "loyalty"]
    assert again["changed"] == []
    needs = await replica.published(DecisionSeriesNeeded)
    assert [need.version for need in needs] == [1, 2]
    assert [one["event"] for one in needs[0].series] == ["order_completed"]


async def test_an_action_offered_lately_is_removed_only_by_force(replica: Replica) -> None:
    await replica.offers(by("anonymous_id", "b1"))

    refused = await replica.ask(PUBLISH, MARKETER, yaml=WITHOUT_NEWSLETTER)
    later(replica, days=31)
    change = await replica.publish(WITHOUT_NEWSLETTER)

    error = refused["errors"][0]
    assert error["extensions"]["code"] == "ACTION_IN_USE"
    assert "'newsletter' (last on 2026-11-22)" in error["message"]
    assert change["removed"] == ["newsletter"]


async def test_force_removes_at_once(replica: Replica) -> None:
    await replica.offers(by("anonymous_id", "b1"))

    change = await replica.publish(WITHOUT_NEWSLETTER, force=True)

    assert change["removed"] == ["newsletter"]
    assert keys(await replica.offers(by("anonymous_id", "b1"))) == []


async def test_only_marketers_publish(replica: Replica) -> None:
    answer = await replica.ask(PUBLISH, AGENT, yaml=CATALOGUE)

    assert answer["errors"][0]["extensions"]["code"] == "UNAUTHORIZED_FIELD_OR_TYPE"


async def test_publications_at_once_are_versions_one_after_the_other(replica: Replica) -> None:
    texts = [
        CATALOGUE.replace("value_cents: 500", f"value_cents: {1000 + number}")
        for number in range(4)
    ]

    changes = await asyncio.gather(*(replica.publish(text) for text in texts))

    assert sorted(change["version"] for change in changes) == [2, 3, 4, 5]
    assert replica.context.catalogue_cache.version == 5


async def test_another_replica_hears_of_catalogue_and_counts(
    replicas: tuple[Replica, Replica],
) -> None:
    first, second = replicas
    await until(lambda: second.context.catalogue_cache.version == 1)
    decision = await second.offers(by("anonymous_id", "b1"))
    [before] = decision["propositions"]

    await first.report(before["id"], "ACCEPTED")
    await first.publish(CATALOGUE.replace("The newsletter", "The weekly"))
    await until(lambda: second.context.catalogue_cache.version == 2)
    await until(lambda: second.context.catalogue_cache.get_model().observations == 2)

    [after] = (await second.offers(by("anonymous_id", "b2")))["propositions"]
    assert after["propensity"] > before["propensity"]
    assert after["action"]["name"] == "The weekly"


async def test_a_decision_is_explained_by_the_catalogue_and_facts_of_then(
    database_url: str,
) -> None:
    async with running(database_url) as replica:
        await replica.publish()
        ada = uuid4()
        await replica.know(snapshot(ada, consents={"personalisation": False}))
        decision = await replica.offers({"id": str(ada)}, limit=1)
        for number in range(10):
            await replica.publish(CATALOGUE.replace("at_most: 3", f"at_most: {number + 4}"))
        await replica.know(snapshot(ada, 2, traits={"age": 5}))

    async with running(database_url) as another:
        answer = await another.ask(TRACE, id=decision["id"])

    stored = answer["data"]["decision"]
    assert stored["catalogueVersion"] == 1
    assert [(t["action"]["key"], t["stage"], t["passed"], t["rank"]) for t in stored["trace"]] == [
        ("jazz", "ARBITRATION", True, 1),
        ("newsletter", "ARBITRATION", False, 2),
        ("loyalty", "CONSENT", False, None),
    ]
    jazz, newsletter, loyalty = stored["trace"]
    assert jazz["score"] == decision["propositions"][0]["score"]
    assert jazz["probability"] == 1.0
    assert newsletter["failed"] == [{"condition": "rank is at most 1", "actual": 2}]
    assert loyalty["failed"] == [{"condition": "consent.personalisation", "actual": False}]


async def test_the_actions_of_the_catalogue_can_be_queried(replica: Replica) -> None:
    await replica.publish(CATALOGUE.replace("key: jazz\n", "key: jazz\n    status: PAUSED\n"))

    answer = await replica.ask(
        """{ paused: actions(status: PAUSED) { key status } all: actions { key }
             one: action(key: "loyalty") { name suitability treatments { key channel } }
             none: action(key: "polka") { name } }"""
    )

    data = answer["data"]
    assert data["paused"] == [{"key": "jazz", "status": "PAUSED"}]
    assert [action["key"] for action in data["all"]] == ["jazz", "newsletter", "loyalty"]
    assert data["one"]["treatments"] == [{"key": "banner", "channel": "WEB"}]
    assert data["none"] is None
