"""The tools of one caller: those whose operations it may ask, called with its own rights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.graphql_http.request_context import RequestContext
from gateway.pipeline.pipeline import RequestPipeline
from gateway.pipeline.request import GraphQLRequest
from gateway.surfaces.mcp.consent import SURFACE, check_consents
from gateway.surfaces.mcp.tools import CUSTOMER, Tool
from services.chassis.errors import RaakError
from services.chassis.principal import Principal

JSON = dict[str, Any]


class InvalidToolArguments(RaakError, code="INVALID_TOOL_ARGUMENTS"):
    """A tool is called with arguments that it does not have."""


@dataclass(frozen=True, slots=True)
class CallerTools:
    """What one caller has of the tools of a graph."""

    graph: RequestPipeline
    all_tools: Mapping[str, Tool]
    caller: Principal

    def visible(self) -> list[Tool]:
        """The tools whose every field the caller may have, by name."""
        return [tool for _, tool in sorted(self.all_tools.items()) if self._may_call(tool)]

    def find(self, name: str) -> Tool | None:
        """A tool by its name; None also for one that is not this caller's."""
        tool = self.all_tools.get(name)
        return tool if tool and self._may_call(tool) else None

    def _may_call(self, tool: Tool) -> bool:
        return self.graph.may_have(tool.prepared, self.caller)

    async def call(self, tool: Tool, arguments: Mapping[str, Any]) -> JSON:
        """The answer to a tool's operation; only `errors` for what is refused."""
        context = RequestContext()
        with context:
            _check_names(tool, arguments)
            request = GraphQLRequest(tool.text, tool.operation, arguments, surface=SURFACE)
            context.prepared = self.graph.prepare(request, self.caller)
            context.body = await self._answer(tool, request)
        context.count()
        return context.body

    async def _answer(self, tool: Tool, request: GraphQLRequest) -> JSON:
        """Nothing is done before all customers named have consented, and nothing is handed out
        before all customers in the answer have.
        """
        references = self.graph.find_customers(tool.prepared, request, self.caller)
        if not (references or tool.is_idempotent):
            raise InvalidToolArguments(
                f"{tool.name} records something, and names no customer.",
                hint="Name the customer it is about.",
            )
        consented = await check_consents(self.graph, self.caller, references)
        found: set[str] = set()

        def add_ids(type_name: str, ids: set[str]) -> None:
            if type_name == CUSTOMER:
                found.update(ids)

        answer = await self.graph.answer(tool.prepared, request, self.caller, add_ids)
        others = [{"id": customer} for customer in sorted(found - consented)]
        await check_consents(self.graph, self.caller, others)
        return answer


def _check_names(tool: Tool, arguments: Mapping[str, Any]) -> None:
    accepted = tool.arguments["properties"]
    if unknown := sorted(arguments.keys() - accepted.keys()):
        raise InvalidToolArguments(
            f"{tool.name} has no argument {unknown[0][:60]!r}.",
            hint=f"It has {', '.join(accepted) or 'none'}.",
        )
