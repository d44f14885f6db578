"""What the page of the gateway says of the endpoint is so."""

import re
from pathlib import Path

from gateway.graphql_http import endpoint, persisted_operations, preflight
from services.chassis import bodies
from services.chassis.errors import RaakError, UnknownOperation
from services.chassis.graphql_http import media_types, request

PAGE = (Path(__file__).parents[3] / "docs" / "gateway.md").read_text()
MODULES = (bodies, media_types, request, endpoint, persisted_operations, preflight)
SECTION = PAGE.partition("## GraphQL over HTTP")[2].partition("\n## ")[0]


def test_it_lists_every_refusal_with_its_status() -> None:
    told = re.findall(r"^\| `([A-Z_]+)` \| (\d+) \|", SECTION, re.MULTILINE)
    ours = {
        (error.code, str(error.status))
        for module in MODULES
        for error in vars(module).values()
        if isinstance(error, type)
        and issubclass(error, RaakError)
        and error.__module__ == module.__name__
    } | {(UnknownOperation.code, str(UnknownOperation.status))}

    assert sorted(told) == sorted(ours)


def test_it_names_every_header_that_a_get_may_have() -> None:
    told = {name.lower() for name in re.findall(r"`([A-Za-z-]+)`", SECTION)}

    assert set(preflight.PREFLIGHT_HEADERS) <= told


def test_it_tells_how_deep_json_may_be() -> None:
    assert f"deeper than {request.MAX_DEPTH} levels" in SECTION
