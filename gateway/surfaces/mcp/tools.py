"""Tools: registered operations that their authors describe, so that an assistant knows their use.

The description of an operation makes it a tool, for the callers who may have all it asks for. What
would reach a customer unnoticed is none, whatever its description says.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import GraphQLNamedType, get_named_type

from gateway.access.selections import TypedSelectionSet
from gateway.pipeline.pipeline import RequestPipeline
from gateway.pipeline.prepare import PreparedOperation
from gateway.supergraph.schema_metadata import NOT_IDEMPOTENT
from gateway.surfaces.mcp.argument_schema import describe_arguments
from gateway.surfaces.mcp.offer_card import OFFER_CARD
from services.chassis.errors import RaakError

log = logging.getLogger(__name__)

JSON = dict[str, Any]
CUSTOMER = "Customer"
LINE_END = re.compile(r"(?<!\n)\n(?!\n)")
"""Within a paragraph."""
WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True, slots=True)
class Tool:
    """An operation as an assistant sees it."""

    name: str
    description: str
    arguments: JSON
    """A JSON Schema."""
    text: str
    operation: str
    """Which of the operations in the text."""
    prepared: PreparedOperation
    is_read_only: bool
    is_idempotent: bool
    app: str | None = None
    """The address of the page that shows its results."""

    @property
    def title(self) -> str:
        return self.name.replace("_", " ").capitalize()


class ToolCache:
    """The tools of a graph and of the operations registered now, worked out once for each."""

    def __init__(self) -> None:
        self._of: tuple[RequestPipeline, int] | None = None
        self._tools: Mapping[str, Tool] = {}

    def tools(self, graph: RequestPipeline) -> Mapping[str, Tool]:
        """By name; of two with the same name the one published last."""
        of = graph, graph.registry.version
        if of != self._of:
            self._tools = {tool.name: tool for tool in find_tools(graph)}
            self._of = of
        return self._tools


def find_tools(graph: RequestPipeline) -> Iterator[Tool]:
    """The operations that are tools; why another one is none, the log says."""
    for text, name in graph.registry.described():
        try:
            prepared = graph.operations.get(text, name)
            problem = find_problem(prepared)
        except RaakError as error:
            problem = error.code
        if problem:
            fields = {"operation": name, "because": problem}
            log.warning("a described operation is no tool", extra={"fields": fields})
        else:
            yield build_tool(text, name, prepared, graph)


def tool_name(operation: str) -> str:
    """The name of the tool an operation is: `find_customer` of FindCustomer."""
    return WORD_START.sub("_", operation).lower()


def describe_use(prepared: PreparedOperation) -> JSON:
    """Which tool a registered operation is, or why it is none; nothing of one without a name or a
    description.
    """
    definition = prepared.facts.operation.definition
    if not (definition.name and definition.description):
        return {}
    if problem := find_problem(prepared):
        return {"tool": None, "noTool": problem}
    return {"tool": tool_name(definition.name.value)}


def build_tool(text: str, name: str, prepared: PreparedOperation, graph: RequestPipeline) -> Tool:
    facts, definition = prepared.facts, prepared.facts.operation.definition
    assert definition.description is not None, "that makes it a tool"
    return Tool(
        name=tool_name(name),
        description=LINE_END.sub(" ", definition.description.value),
        arguments=describe_arguments(definition, graph.supergraph.schema),
        text=text,
        operation=name,
        prepared=prepared,
        is_read_only=facts.kind == "query",
        is_idempotent=not _records_something(prepared),
        app=OFFER_CARD.uri if facts.root_coordinates == {OFFER_CARD.shows} else None,
    )


def _records_something(prepared: PreparedOperation) -> bool:
    """Whether it changes something, or is a query that records what it does."""
    plan = prepared.plan
    fields = (coordinate.split(".", 1) for coordinate in plan.coordinates)
    return plan.is_mutation or any(
        plan.supergraph.is_tagged(type_name, field, NOT_IDEMPOTENT) for type_name, field in fields
    )


def find_problem(prepared: PreparedOperation) -> str | None:
    """Why an operation cannot be a tool: it must tell which customer it is about, so that their
    consent can be looked at; before anything is recorded, if it records something.
    """
    facts = prepared.facts
    if facts.kind == "subscription":
        return "A subscription has no result to wait for."
    names_one = facts.references and len(list(facts.root.fields())) == 1
    if _records_something(prepared) and not names_one:
        return "It records something, and is not one field that a CustomerRef is an argument of."
    ownerless = sorted({each.name for each in _ownerless_types(facts.root)})
    if ownerless and facts.kind == "query":
        return f"It does not select the customer of {', '.join(ownerless)}."
    return None


def _ownerless_types(selected: TypedSelectionSet) -> Iterator[GraphQLNamedType]:
    """Types selected without the customer they hang from."""
    for field in selected.fields():
        type_ = get_named_type(field.definition.type) if field.definition else None
        if type_ is None or field.node.selection_set is None or type_.name == CUSTOMER:
            continue
        owners = {
            name
            for name, each in getattr(type_, "fields", {}).items()
            if get_named_type(each.type).name == CUSTOMER
        }
        if owners and owners.isdisjoint(below.name for below in field.below.fields()):
            yield type_
        else:
            yield from _ownerless_types(field.below)
