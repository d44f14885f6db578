"""The keys of types in docs/gateway.md, for clients with a normalised cache."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from graphql import FieldNode, GraphQLObjectType

from gateway.schema_source import read_subgraphs
from gateway.supergraph import Supergraph, compose
from infra.marked_section import replace_section

PAGE = Path(__file__).parents[1] / "docs" / "gateway.md"
DEFAULT_KEY = ("id",)
"""By this both libraries find objects unless they are told otherwise."""


class CacheKeys(NamedTuple):
    """The object types that clients see, by what their objects are known by."""

    entities: dict[str, tuple[str, ...]]
    """Types with a @key, and its fields."""
    records: list[str]
    """Types with an id of their own and no @key."""
    values: list[str]


def find_keys(supergraph: Supergraph) -> CacheKeys:
    schema = supergraph.schema
    roots = {schema.query_type, schema.mutation_type, schema.subscription_type}
    types = {
        name: type_
        for name, type_ in sorted(schema.type_map.items())
        if isinstance(type_, GraphQLObjectType) and not name.startswith("__") and type_ not in roots
    }
    keys = {
        type_.name: tuple(
            node.name.value
            for node in key.fields.selections.selections
            if isinstance(node, FieldNode)
        )
        for subgraph in supergraph.subgraphs.values()
        for type_ in subgraph.types.values()
        for key in type_.keys
    }
    others = [name for name in types if name not in keys]
    return CacheKeys(
        {name: keys[name] for name in types if name in keys},
        [name for name in others if "id" in types[name].fields],
        [name for name in others if "id" not in types[name].fields],
    )


def section(keys: CacheKeys) -> str:
    named = {name: fields for name, fields in keys.entities.items() if fields != DEFAULT_KEY}
    entities = ", ".join(f"`{name}` (`{' '.join(of)}`)" for name, of in keys.entities.items())
    apollo = [
        *(f"{name}: {{ keyFields: [{_quote_names(of)}] }}," for name, of in named.items()),
        *(f"{name}: {{ keyFields: false }}," for name in keys.values),
    ]
    urql = [
        *(f"{name}: (data) => {_join_values(of)}," for name, of in named.items()),
        *(f"{name}: () => null," for name in keys.values),
    ]
    return "\n".join(
        [
            "| types | are known by |",
            "| --- | --- |",
            f"| {entities} | the key of the supergraph, the same in all services |",
            f"| {_list_names(keys.records)} | their `id` |",
            f"| {_list_names(keys.values)} | nothing: they are part of what holds them |",
            "",
            "```ts",
            'import { InMemoryCache } from "@apollo/client";',
            "",
            "const cache = new InMemoryCache({",
            "  typePolicies: {",
            *(f"    {line}" for line in apollo),
            "  },",
            "});",
            "```",
            "",
            "```ts",
            'import { cacheExchange } from "@urql/exchange-graphcache";',
            "",
            "const cache = cacheExchange({",
            "  keys: {",
            *(f"    {line}" for line in urql),
            "  },",
            "});",
            "```",
        ]
    )


def _list_names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _quote_names(fields: Iterable[str]) -> str:
    return ", ".join(f'"{field}"' for field in fields)


def _join_values(fields: Iterable[str]) -> str:
    return "`" + ":".join(f"${{data.{field}}}" for field in fields) + "`"


def page() -> str:
    return replace_section(PAGE, "cache keys", section(find_keys(compose(read_subgraphs()))))
