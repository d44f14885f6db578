"""Compose subgraphs that say of Federation only what a test is about."""

from gateway.supergraph import Supergraph, compose

LINK = """
extend schema @link(
  url: "https://specs.apollo.dev/federation/v2.11"
  import: ["@key", "@shareable", "@external", "@requires", "@provides", "@override",
    "@inaccessible", "@tag", "@extends", "@interfaceObject", "@authenticated", "@requiresScopes",
    "@cost", "@listSize", "FieldSet"]
)
"""


def composed(**sdls: str) -> Supergraph:
    """The supergraph of subgraphs in Federation 2.11, by name."""
    return compose({name: LINK + sdl for name, sdl in sdls.items()})
