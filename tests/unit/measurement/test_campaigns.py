"""Which campaign brought a visit."""

import pytest

from services.contracts.base import Json
from services.measurement.domain.campaigns import LONGEST, campaign_of


def test_segments_campaign_fields_are_read() -> None:
    context = {"campaign": {"name": "spring", "source": "news", "medium": "email", "colour": "red"}}

    assert campaign_of(context) == {"name": "spring", "source": "news", "medium": "email"}


def test_an_address_tells_what_the_context_does_not() -> None:
    page = {
        "url": "https://shop.example/?utm_source=google&utm_campaign=spring&gclid=Cj0&q=records"
    }

    assert campaign_of({"page": page}) == {"source": "google", "name": "spring", "gclid": "Cj0"}


def test_the_context_is_believed_before_the_address() -> None:
    context = {"campaign": {"source": "news"}, "page": {"search": "?utm_source=old&utm_medium=cpc"}}

    assert campaign_of(context) == {"source": "news", "medium": "cpc"}


@pytest.mark.parametrize(
    "context",
    [
        {},
        {"campaign": {}},
        {"campaign": "spring"},
        {"campaign": {"source": ""}},
        {"campaign": {"source": 7}},
        {"page": {"url": "https://[::shop/?gclid=1"}},
        {"page": {"url": "https://shop.example/?q=utm_source"}},
        {"page": ["?gclid=1"]},
    ],
)
def test_an_ordinary_visit_belongs_to_no_campaign(context: dict[str, Json]) -> None:
    assert campaign_of(context) == {}


def test_a_name_is_kept_no_longer_than_a_name_needs() -> None:
    assert len(campaign_of({"campaign": {"name": "x" * 9_999}})["name"]) == LONGEST


def test_a_nul_in_an_address_costs_neither_the_visit_nor_what_surrounds_it() -> None:
    page = {"url": "https://shop.example/?utm_source=a%00b&gclid=%00&utm_medium=cpc"}
    campaign = {"name": "sp\0ring"}

    found = campaign_of({"page": page, "campaign": campaign})

    assert found == {
        "source": "a\ufffdb",
        "gclid": "\ufffd",
        "medium": "cpc",
        "name": "sp\ufffdring",
    }


def test_a_link_that_is_written_as_in_html_is_read() -> None:
    page = {"url": "https://shop.example/?utm_source=news&amp;utm_medium=email"}

    assert campaign_of({"page": page}) == {"source": "news", "medium": "email"}
