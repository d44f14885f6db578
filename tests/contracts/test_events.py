"""What services say to each other: how it travels, and that it never changes its meaning.

`events.json` holds every field of every fact as it has been published. Streams keep events for
days, and replicas of two releases run side by side, so a field that was published stays.
"""

import os
import pkgutil
import re
from collections.abc import Iterator
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services import contracts
from services.contracts.base import ENVELOPE, Event
from tests.contracts.any_event import any_event
from tests.contracts.fields import Fields, fields_of, parent, required_of

PUBLISHED = Path(__file__).with_name("events.json")
ACCEPT = "RAAK_ACCEPT_CONTRACTS"
HOW_TO_ACCEPT = f"{ACCEPT}=1 pytest tests/contracts"


def facts(base: type[Event] = Event) -> Iterator[type[Event]]:
    """Every fact of the contracts."""
    for event in base.__subclasses__():
        if event.__module__.startswith(f"{contracts.__name__}.") and "fact" in vars(event):
            yield event
        yield from facts(event)


for module in pkgutil.iter_modules(contracts.__path__):
    import_module(f"{contracts.__name__}.{module.name}")
FACTS = sorted(facts(), key=lambda event: event.fact)

each_fact = pytest.mark.parametrize("event", FACTS, ids=lambda event: event.fact)


# How they travel


@each_fact
@given(data=st.data())
def test_an_event_arrives_as_it_was_sent(event: type[Event], data: st.DataObject) -> None:
    sent = data.draw(any_event(event))

    arrived = event.from_cloudevent(sent.to_cloudevent())

    assert arrived == sent


@each_fact
@given(data=st.data())
def test_it_travels_as_a_cloudevent(event: type[Event], data: st.DataObject) -> None:
    """Required attributes and their syntax: CloudEvents 1.0.2, "Context Attributes"."""
    sent = data.draw(any_event(event))

    envelope = orjson.loads(sent.to_cloudevent("00-" + "1" * 32 + "-" + "2" * 16 + "-01"))

    assert envelope["specversion"] == "1.0"
    assert envelope["id"] == str(sent.event_id)
    assert envelope["type"] == f"raak.{event.fact}"
    assert urlsplit(envelope["source"]).path == f"/raak/{event.service()}"
    assert datetime.fromisoformat(envelope["time"]) == sent.occurred_at
    assert envelope.get("subject") == (str(sent.customer_id) if sent.customer_id else None)
    assert envelope["datacontenttype"] == "application/json"
    assert all(re.fullmatch("[a-z0-9]{1,20}", name) for name in envelope)
    assert not ENVELOPE & envelope["data"].keys()


@each_fact
@given(data=st.data())
def test_what_a_newer_sender_adds_is_not_heard(event: type[Event], data: st.DataObject) -> None:
    sent = data.draw(any_event(event))
    envelope = orjson.loads(sent.to_cloudevent())

    with_news = _with_news({**envelope, "newattribute": "?"}, event)

    assert event.from_cloudevent(orjson.dumps(with_news)) == sent


def _with_news(envelope: dict[str, Any], event: type[Event]) -> dict[str, Any]:
    """A field nobody knows, in the data and in every part of it that has named fields."""
    known = {path.partition("[")[0].partition(".")[0] for path in fields_of(event) if "." in path}
    data = {
        name: _added(value) if name in known else value for name, value in envelope["data"].items()
    }
    return {**envelope, "data": {**data, "something_new": 1}}


def _added(value: Any) -> Any:
    if isinstance(value, list):
        return [_added(one) for one in value]
    return {**value, "something_new": 1} if isinstance(value, dict) else value


@each_fact
@given(data=st.data())
def test_an_older_sender_is_still_understood(event: type[Event], data: st.DataObject) -> None:
    sent = data.draw(any_event(event))
    envelope = orjson.loads(sent.to_cloudevent())
    optional = [n for n, field in event.model_fields.items() if not field.is_required()]

    for name in optional:
        del envelope["data"][name]
    arrived = event.from_cloudevent(orjson.dumps(envelope))

    assert {name: getattr(arrived, name) for name in optional} == {
        name: event.model_fields[name].default for name in optional
    }


# What they say


@each_fact
def test_a_fact_is_named_after_its_service_and_version(event: type[Event]) -> None:
    service = event.__module__.rpartition(".")[2]

    assert re.fullmatch(rf"{service}\.[a-z_]+\.v[1-9][0-9]*", event.fact)


def test_no_two_classes_speak_of_the_same_fact() -> None:
    assert len({event.fact for event in FACTS}) == len(FACTS)


def test_no_fact_that_was_published_has_gone() -> None:
    gone = published().keys() - {event.fact for event in FACTS}

    assert not gone, (
        f"{sorted(gone)} was published and is no longer there. The release before this one still "
        f"publishes or hears it, and streams hold it: put its class back. It may go one release "
        f"after the last that used it; then take it out of {PUBLISHED.name}."
    )


@each_fact
def test_no_field_that_was_published_has_gone_or_changed(event: type[Event]) -> None:
    now = fields_of(event)

    broken = {
        f"{path} ({kind})"
        for path, kind in published().get(event.fact, {}).items()
        if now.get(path) != kind
    }

    assert not broken, (
        f"{event.fact} was published with {', '.join(sorted(broken))}, and has it no longer so. "
        f"Others read it, and streams hold it: put it back. To say something else, add a field "
        f"with a default; to change what the fact means, add a class for its next version."
    )


@each_fact
def test_a_field_added_since_has_a_default(event: type[Event]) -> None:
    before = published().get(event.fact)
    added = set() if before is None else fields_of(event).keys() - before.keys()

    needed = {path for path in added if path in required_of(event) and parent(path) not in added}

    assert not needed, (
        f"{event.fact} now asks for {', '.join(sorted(needed))}, which events already in the "
        f"streams have not: give it a default."
    )


def test_everything_published_is_written_down() -> None:
    now = {event.fact: fields_of(event) for event in FACTS}
    before = published()
    wanted = {
        fact: {**now.get(fact, {}), **before.get(fact, {})} for fact in {**before, **now}
    }  # additions only: what has gone is for the tests above
    if os.environ.get(ACCEPT):
        options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
        PUBLISHED.write_bytes(orjson.dumps(wanted, option=options))

    news = {
        f"{fact}: {path}"
        for fact, fields in wanted.items()
        for path in fields.keys() - published().get(fact, {}).keys()
    }

    assert not news, (
        f"New in the contracts: {', '.join(sorted(news))}. From now on it must stay; "
        f"if it is right, run `{HOW_TO_ACCEPT}` and commit {PUBLISHED.name}."
    )


def published() -> dict[str, Fields]:
    """What has been published: fact to fields."""
    found: dict[str, Fields] = orjson.loads(PUBLISHED.read_bytes()) if PUBLISHED.exists() else {}
    return found
