"""The fields of an event and of its parts, by path, as its JSON schema tells them."""

from collections.abc import Iterator
from typing import Any

from services.contracts.base import Event

Fields = dict[str, str]
"""Path to kind: `propositions[].value.cents` is an `integer`."""


def fields_of(event: type[Event]) -> Fields:
    """Every field of an event, the ones of its parts included."""
    schema = event.model_json_schema(mode="serialization")
    return dict(_fields(schema, schema.get("$defs", {}), ""))


def required_of(event: type[Event]) -> set[str]:
    """The fields a sender must give."""
    schema = event.model_json_schema(mode="validation")
    return set(_required(schema, schema.get("$defs", {}), ""))


def _fields(node: dict[str, Any], parts: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for inner, name, at in _inner(node, parts, path):
        if name:
            yield at, _kind(inner)
        yield from _fields(inner, parts, at)


def _required(node: dict[str, Any], parts: dict[str, Any], path: str) -> Iterator[str]:
    for inner, name, at in _inner(node, parts, path):
        if name and name in _resolved(node, parts).get("required", ()):
            yield at
        yield from _required(inner, parts, at)


def _inner(
    node: dict[str, Any], parts: dict[str, Any], path: str
) -> Iterator[tuple[dict[str, Any], str, str]]:
    """The schemas inside a schema: the schema, its name if it is a field, and its path."""
    node = _resolved(node, parts)
    for name, field in node.get("properties", {}).items():
        yield field, name, f"{path}.{name}".removeprefix(".")
    for option in node.get("anyOf", ()):
        yield option, "", path
    if isinstance(node.get("items"), dict):
        yield node["items"], "", f"{path}[]"


def _resolved(node: dict[str, Any], parts: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = parts[node["$ref"].rpartition("/")[2]] if "$ref" in node else node
    return found


def _kind(node: dict[str, Any]) -> str:
    """What a field holds, in a word or two."""
    if "anyOf" in node:
        return " or ".join(_kind(option) for option in node["anyOf"])
    if "items" in node:
        return f"array of {_kind(node['items'])}"
    if "$ref" in node:
        return "object"
    return str(node.get("format", node.get("type", "anything")))


def parent(path: str) -> str:
    """The field a field is part of; empty for one of the event itself."""
    return path.rpartition(".")[0].removesuffix("[]")
