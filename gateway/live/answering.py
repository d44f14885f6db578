"""Any operation of the graph as a stream of answers, for protocols that send more than one."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, aclosing, nullcontext
from dataclasses import dataclass
from typing import TypeAlias

from opentelemetry.trace import SpanKind

from gateway.graphql_http.documents import Documents
from gateway.graphql_http.endpoint import Exchange
from gateway.pipeline.pipeline import RequestPipeline
from gateway.pipeline.request import GraphQLRequest
from services.chassis import telemetry
from services.chassis.errors import RaakError
from services.chassis.graphql_http import JSON, Parameters
from services.chassis.principal import Principal

Answers: TypeAlias = AsyncGenerator[JSON, None]


@dataclass(frozen=True, slots=True)
class Operation:
    """What a client asked, prepared; or why it is not answered."""

    graph: RequestPipeline
    exchange: Exchange
    question: GraphQLRequest | None
    caller: Principal | None

    @property
    def refusal(self) -> RaakError | None:
        """Why nothing of it is answered."""
        return self.exchange.refusal

    @property
    def is_subscription(self) -> bool:
        """Whether there is an answer for each event, until somebody ends it."""
        return self.exchange.prepared is not None and self.exchange.prepared.plan.is_subscription

    def traced(self, traceparent: str | None) -> AbstractContextManager[object]:
        """The operation as a span of its own, where no request has one for it."""
        prepared = self.exchange.prepared
        if prepared is None or not telemetry.tracing():
            return nullcontext()
        operation = prepared.operation
        name = f"{operation.kind} {operation.name or ''}".strip()
        return telemetry.span(name, SpanKind.SERVER, traceparent)

    async def answers(self) -> Answers:
        """All of them. The last may have `errors` and no `data`: what was refused, or failed."""
        exchange, is_counted = self.exchange, self.exchange.prepared is None
        if exchange.prepared is not None:
            with exchange:
                async with aclosing(self._answers()) as answers:
                    async for answer in answers:
                        if not is_counted:
                            exchange.body, is_counted = answer, True
                            exchange.count()
                        yield answer
                return
        if not is_counted:
            exchange.count()
        yield exchange.body

    async def _answers(self) -> Answers:
        prepared, question = self.exchange.prepared, self.question
        assert prepared is not None
        assert question is not None
        if not prepared.plan.is_subscription:
            yield await self.graph.answer(prepared, question, self.caller)
            return
        async with aclosing(self.graph.subscribe(prepared, question, self.caller)) as answers:
            async for answer in answers:
                yield answer


@dataclass(frozen=True, slots=True)
class Answering:
    """The graph as it is now, and the documents clients may name."""

    graph: Callable[[], RequestPipeline]
    documents: Documents

    def open(self, asked: Parameters, caller: Principal | None, *, may_change: bool) -> Operation:
        """The operation a client means."""
        graph, exchange, question = self.graph(), Exchange(is_understood=True), None
        with exchange:
            document = self.documents.text_of(asked)
            question = GraphQLRequest(document, asked.operation_name, asked.variables, may_change)
            exchange.prepared = graph.prepare(question, caller)
            self.documents.learn(asked)
        if exchange.prepared is None:
            exchange.count()
        return Operation(graph, exchange, question, caller)


def errors_of(failure: Exception) -> list[JSON]:
    """A failure as `errors`; what is not ours is logged and masked."""
    with Exchange() as exchange:
        raise failure
    errors: list[JSON] = exchange.body["errors"]
    return errors
