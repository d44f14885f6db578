"""Any operation of the graph as a stream of responses, for protocols that send more than one."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, aclosing, nullcontext
from dataclasses import dataclass
from typing import TypeAlias

from opentelemetry.trace import SpanKind

from gateway.graphql_http.persisted_operations import PersistedOperations
from gateway.graphql_http.request_context import RequestContext
from gateway.pipeline.pipeline import RequestPipeline
from gateway.pipeline.prepare import PreparedOperation
from gateway.pipeline.request import GraphQLRequest
from services.chassis import telemetry
from services.chassis.errors import RaakError
from services.chassis.graphql_http.request import JSON, RequestParameters
from services.chassis.principal import Principal

Responses: TypeAlias = AsyncGenerator[JSON, None]


@dataclass(frozen=True, slots=True)
class OperationStream:
    """An operation, prepared; or why it is refused."""

    graph: RequestPipeline
    context: RequestContext
    request: GraphQLRequest | None
    caller: Principal | None

    @property
    def refusal(self) -> RaakError | None:
        return self.context.refusal

    @property
    def is_subscription(self) -> bool:
        """Whether there is a response for each event, until somebody ends it."""
        return self.context.prepared is not None and self.context.prepared.plan.is_subscription

    def trace(self, traceparent: str | None) -> AbstractContextManager[object]:
        """The operation as a span of its own, where no HTTP request has one for it."""
        prepared = self.context.prepared
        if prepared is None or not telemetry.tracing():
            return nullcontext()
        operation = prepared.facts
        name = f"{operation.kind} {operation.name or ''}".strip()
        return telemetry.span(name, SpanKind.SERVER, traceparent)

    async def execute(self) -> Responses:
        """All responses. The last may have `errors` and no `data`: a refusal or a failure."""
        context = self.context
        if context.prepared is None:
            yield context.body
            return
        is_counted = False
        with context:
            async with aclosing(self._execute(context.prepared)) as responses:
                async for response in responses:
                    if not is_counted:
                        context.body, is_counted = response, True
                        context.count()
                    yield response
            return
        if not is_counted:
            context.count()
        yield context.body

    async def _execute(self, prepared: PreparedOperation) -> Responses:
        assert self.request is not None
        if not prepared.plan.is_subscription:
            yield await self.graph.answer(prepared, self.request, self.caller)
            return
        async with aclosing(self.graph.subscribe(prepared, self.request, self.caller)) as responses:
            async for response in responses:
                yield response


@dataclass(frozen=True, slots=True)
class OperationStreams:
    """Opens streams on the graph as it is now."""

    graph: Callable[[], RequestPipeline]
    operations: PersistedOperations

    def open(
        self, parameters: RequestParameters, caller: Principal | None, *, may_change: bool
    ) -> OperationStream:
        """The operation a client sent, or named by its hash."""
        graph, context, request = self.graph(), RequestContext(), None
        with context:
            _, request = context.prepare(
                graph, self.operations, parameters, caller, may_change=may_change
            )
        if context.prepared is None:
            context.count()
        return OperationStream(graph, context, request, caller)


def format_failure(failure: Exception) -> list[JSON]:
    """A failure as `errors`; what is not ours is logged and masked."""
    with RequestContext() as context:
        raise failure
    errors: list[JSON] = context.body["errors"]
    return errors
