"""Execute a plan: send its requests, gather what comes back, shape the answer.

The gathered data is one tree of plain JSON under raw keys. Entities are merged into the very
objects they were represented from; equal representations are sent once. Nothing but
introspection is resolved field by field.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple, TypeAlias

import orjson
from graphql import execute_sync

from gateway.supergraph.errors import OperationRefused
from gateway.supergraph.executor.entities import Batch, by_place, merge
from gateway.supergraph.executor.response_errors import MAX_ERRORS, Refusal, Reports, plain_refusal
from gateway.supergraph.planner.fetch_nodes import Request, Source
from gateway.supergraph.planner.query_plan import NONE, Plan, Planning, Stage, Variant
from gateway.supergraph.transport.subgraph_response import (
    SubgraphError,
    SubgraphInvalidResponse,
    SubgraphTimeout,
)
from gateway.supergraph.transport.transport import Transport, is_mutation, request_deadline

JSON: TypeAlias = dict[str, Any]
HeadersFor: TypeAlias = Callable[[str], Mapping[str, str]]
"""Headers for a subgraph: who asks, as a token that subgraph accepts. Called for every request,
so that a subscription may go on for longer than a token is good for."""
Witnessed: TypeAlias = Callable[[str, set[str]], None]
"""Told which objects of a type were read or changed, by the field `Plan.witness` names. Those that
nobody told the type of are told by the name of the interface as which they were found."""

SUBSCRIBE_INSTEAD = {
    "message": "Subscriptions don't run as requests.",
    "extensions": {"code": OperationRefused.code, "hint": "Subscribe over a websocket or SSE."},
}


def no_headers(_: str) -> Mapping[str, str]:
    """Nothing is said of who asks."""
    return {}


class Terms(NamedTuple):
    """On whose behalf something is executed, and within which bounds."""

    headers: HeadersFor = no_headers
    within_s: float | None = None
    """When to give up on everything not yet answered; what is there is returned. For each event
    of a subscription anew."""
    labels: frozenset[str] = NONE
    denied: frozenset[str] = NONE
    """See `Plan.variant`."""
    refusal: Refusal = plain_refusal
    """What is told of a field of `denied`."""
    planning: Planning = nullcontext
    """See `Plan.variant`."""
    witnessed: Witnessed | None = None
    max_errors: int = MAX_ERRORS


PLAIN = Terms()
"""Nobody asks, and nothing bounds him."""


async def execute(
    plan: Plan, variables: Mapping[str, Any] | None, transport: Transport, terms: Terms = PLAIN
) -> JSON:
    """The answer to an operation: `data`, and `errors` if there are any. Without `data` if the
    variables are wrong.
    """
    if plan.is_subscription:
        return {"errors": [SUBSCRIBE_INSTEAD]}
    run = begun(plan, variables, transport, terms)
    return await run.answer() if isinstance(run, Run) else run


async def subscribe(
    plan: Plan, variables: Mapping[str, Any] | None, transport: Transport, terms: Terms = PLAIN
) -> AsyncGenerator[JSON, None]:
    """One answer for each event. A service that fails costs an answer its own fields, as in a
    query; the next event asks it again. What ends the source itself is the last answer, which
    has `errors` and no `data`, as has the only answer to wrong variables.

    The next event is read when the next answer is asked for: whoever is slow makes the source
    wait. Close the generator (`aclosing`) to end the source.
    """
    run = begun(plan, variables, transport, terms)
    if not isinstance(run, Run):
        yield run
        return
    source = run.variant.source
    if source is None:
        yield await run.answer()
        return
    body = body_of(source, used_variables(source, run.variables))
    headers = terms.headers(source.subgraph)
    try:
        async with transport.stream(source.subgraph, body, headers) as events:
            async for event in events:
                following = run.anew()
                following.take(source, event)
                yield await following.answer()
    except SubgraphError as error:
        extensions = {"code": error.code, "hint": error.hint, "service": source.subgraph}
        yield {"errors": [{"message": error.problem, "extensions": extensions}]}


def begun(
    plan: Plan, variables: Mapping[str, Any] | None, transport: Transport, terms: Terms
) -> "Run | JSON":
    """An execution that has asked for nothing yet, or the answer to variables that are wrong."""
    given = dict(variables or {})
    coerced = plan.inputs.coerce(given)
    if isinstance(coerced, list):
        return _refusal_of_variables(coerced)
    variant = plan.variant(
        coerced, labels=terms.labels, denied=terms.denied, planning=terms.planning
    )
    return Run(plan, variant, given, transport, terms)


def _refusal_of_variables(reasons: Sequence[str]) -> JSON:
    """The answer to variables that are not what the operation declares."""
    hint = "Send the variables as the operation declares them."
    extensions = {"code": "BAD_USER_INPUT", "hint": hint}
    return {"errors": [{"message": reason, "extensions": extensions} for reason in reasons]}


def refusal(error: OperationRefused) -> JSON:
    """The answer to an operation that was refused."""
    return {"errors": list(error.errors)}


class Run:
    """One execution of a plan, or of the part of a subscription's plan that follows an event."""

    def __init__(
        self, plan: Plan, variant: Variant, variables: JSON, transport: Transport, terms: Terms
    ) -> None:
        self._plan = plan
        self.variant = variant
        self.variables = variables
        self._transport = transport
        self._terms = terms
        self._now = asyncio.get_running_loop().time
        self._ends = None if terms.within_s is None else self._now() + terms.within_s
        self._data: JSON = {}
        self._not_asked: list[tuple[Request, Sequence[tuple[Source, JSON]]]] = []
        """What could not be asked for, since an input is not there."""
        self._reports = Reports(plan.supergraph, self._data, terms.max_errors, terms.refusal)

    def anew(self) -> "Run":
        """Another execution of the same, whose time begins now."""
        return Run(self._plan, self.variant, self.variables, self._transport, self._terms)

    async def answer(self) -> JSON:
        """Everything that can be had until the deadline."""
        token = None if self._ends is None else request_deadline.set(self._ends)
        try:
            for stage in self.variant.stages:
                await self._run_stage(stage)
        finally:
            if token is not None:
                request_deadline.reset(token)
        if self.variant.introspection:
            self._introspect()
        if self._not_asked and self._reports.has_any:
            self._tell_not_asked()
        for denial in self.variant.denials:
            self._reports.denied(denial)
        if self._terms.witnessed:
            self._witness(self._terms.witnessed)
        return self._shaped()

    def _shaped(self) -> JSON:
        projection = self.variant.projection
        data = projection(self._data)
        answer: JSON = {"data": data}
        if projection.is_violated:
            self._reports.violated(projection.violations(self._data))
        if errors := self._reports.listed(data):
            answer["errors"] = errors
        return answer

    async def _run_stage(self, stage: Stage) -> None:
        waiting = {request: request.waits_for for request in stage.requests}
        first = [request for request in stage.requests if not request.waits_for]
        await self._run_all(first, waiting)

    async def _run_all(self, ready: Sequence[Request], waiting: dict[Request, int]) -> None:
        """Send requests at once, and each that waits when its last input is there; if anything
        but a service fails, none goes on running.
        """
        while len(ready) == 1:
            ready = await self._run(ready[0], waiting)
        if ready:
            async with asyncio.TaskGroup() as together:
                for request in ready:
                    together.create_task(self._run_all([request], waiting))

    async def _run(self, request: Request, waiting: dict[Request, int]) -> list[Request]:
        """Send a request; those are returned that only waited for it."""
        await (self._load_entities(request) if request.loads else self._load_plain(request))
        for follower in request.followers:
            waiting[follower] -= 1
        return [follower for follower in request.followers if not waiting[follower]]

    async def _load_plain(self, request: Request) -> None:
        assert request.place is not None
        if request.place.find(self._data):
            variables = used_variables(request, self.variables)
            self.take(request, await self._fetch(request, variables))

    def take(self, request: Request, answered: JSON | SubgraphError) -> None:
        """Gather what was answered to a request for fields, at the objects they belong to."""
        assert request.place is not None
        targets = request.place.find(self._data)
        if isinstance(answered, SubgraphError):
            self._reports.failed(answered, request, request.place, targets)
            return
        data = answered.get("data")
        if isinstance(data, dict):
            for target in targets:
                merge(target, data)
        self._reports.told(answered.get("errors") or (), request, request.place, targets)

    async def _load_entities(self, request: Request) -> None:
        variables = used_variables(request, self.variables)
        batches = [Batch(load, self._data) for load in request.loads]
        for batch in batches:
            variables[batch.load.variable] = batch.representations
        self._not_asked += [(request, batch.left_out) for batch in batches if batch.left_out]
        if not any(batch.representations for batch in batches):
            return
        answered = await self._fetch(request, variables)
        if not isinstance(answered, SubgraphError):
            answered = self._merge_entities(request, batches, answered)
        if isinstance(answered, SubgraphError):
            for batch in batches:
                for place, items in batch.targets():
                    self._reports.failed(answered, request, place, items)

    def _merge_entities(
        self, request: Request, batches: Sequence[Batch], answered: JSON
    ) -> JSON | SubgraphError:
        data = answered.get("data")
        errors = answered.get("errors") or ()
        if isinstance(data, dict):
            for batch in batches:
                if not batch.merge(data.get(batch.load.alias), has_errors=bool(errors)):
                    return SubgraphInvalidResponse(
                        request.subgraph, "its entities are not those asked for"
                    )
        self._reports.told_of_entities(errors, request, batches)
        return answered

    async def _fetch(self, request: Request, variables: JSON) -> JSON | SubgraphError:
        if self._ends is not None and self._now() >= self._ends:
            # It must not even begin: it may be a mutation.
            return SubgraphTimeout(request.subgraph, was_sent=False)
        token = is_mutation.set(True) if request.is_mutation else None
        try:
            response = await self._transport.fetch(
                request.subgraph,
                body_of(request, variables),
                self._terms.headers(request.subgraph),
                is_idempotent=request.is_idempotent,
            )
            return response.parse(request.subgraph)
        except SubgraphError as error:
            return error if request.is_idempotent else error.mark_as_possibly_executed()
        finally:
            if token is not None:
                is_mutation.reset(token)

    def _tell_not_asked(self) -> None:
        for request, left_out in self._not_asked:
            for place, items in by_place(left_out):
                self._reports.not_asked(request, place, items)

    def _introspect(self) -> None:
        assert self.variant.introspection is not None
        schema = self._plan.supergraph.schema
        result = execute_sync(schema, self.variant.introspection, variable_values=self.variables)
        self._data.update(result.data or {})
        for error in result.errors or ():
            path = tuple(error.path or ())
            self._reports.add(error.message, path, {"code": "INTROSPECTION_FAILED"})

    def _witness(self, witnessed: Witnessed) -> None:
        """Tell which objects the answer may hold, once for each type."""
        seen: dict[str, set[str]] = {}
        for witness in self.variant.witnesses:
            ids = seen.setdefault(witness.type_name, set())
            for item in witness.place.find(self._data):
                if isinstance(told := item.get(witness.raw_key), str | int):
                    ids.add(str(told))
        for type_name, ids in seen.items():
            if ids:
                witnessed(type_name, ids)


def used_variables(request: Request, given: JSON) -> JSON:
    """A service is told only the variables its request uses."""
    return {name: given[name] for name in request.variables if name in given}


def body_of(request: Request, variables: JSON) -> bytes:
    """A request as it is sent."""
    return request.opening + orjson.dumps(variables) + b"}"
