"""Reading the campaign of a visit from an event's context."""

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from services.contracts.base import Json

CAMPAIGN_FIELDS = ("source", "medium", "name", "term", "content")
"""Of `context.campaign`, as in the Segment spec; each is a UTM parameter."""

UTM_FIELDS = {"utm_campaign": "name", **{f"utm_{f}": f for f in CAMPAIGN_FIELDS if f != "name"}}

CLICK_IDS = (
    "gclid", "gbraid", "wbraid", "dclid", "fbclid", "msclkid", "ttclid", "twclid", "li_fat_id",
)  # fmt: skip
"""What advertisers' networks add to the address of a click on them."""

LONGEST = 500
"""Characters stored of a name: it comes from an address anyone may have typed. A NUL in it, which
the database holds in no text, becomes U+FFFD, as what is not UTF-8 does."""


def campaign_of(context: Mapping[str, Json]) -> dict[str, str]:
    """UTM names and click ids by name; empty when no campaign brought this event.

    They are looked for in `context.campaign`, and in the address of `context.page`.
    """
    campaign = _mapping(context.get("campaign"))
    query = _query(_mapping(context.get("page")))
    found = {name: query[utm] for utm, name in UTM_FIELDS.items() if utm in query}
    found |= {name: query[name] for name in CLICK_IDS if name in query}
    found |= _texts(campaign, (*CAMPAIGN_FIELDS, *CLICK_IDS))
    return found


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}


def _texts(fields: Mapping[str, Json], names: tuple[str, ...]) -> dict[str, str]:
    values = {name: fields.get(name) for name in names}
    return {
        name: v.strip().replace("\0", "\ufffd")[:LONGEST]
        for name, v in values.items()
        if isinstance(v, str) and v.strip()
    }


def _query(page: Mapping[str, Json]) -> dict[str, str]:
    """The parameters of a page's address, the ones of a campaign only.

    Mails are written in HTML, and some of their links are opened as they are written there.
    """
    search, url = page.get("search"), page.get("url")
    text = search if isinstance(search, str) else ""
    if not text and isinstance(url, str):
        try:
            text = urlsplit(url).query
        except ValueError:  # an address in brackets that is none
            return {}
    pairs = parse_qsl(text.removeprefix("?").replace("&amp;", "&"))
    return _texts(dict(pairs), (*UTM_FIELDS, *CLICK_IDS))
