"""Execute a plan: send its fetches, merge what comes back, shape the response.

The merged data is one tree of plain JSON under subgraph keys. Entities are merged into the very
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
from gateway.supergraph.executor.entities import EntityBatch, group_by_path, merge
from gateway.supergraph.executor.prepared_plans import prepare_coercion, prepare_shape
from gateway.supergraph.executor.response_errors import (
    MAX_ERRORS,
    DeniedErrorBuilder,
    ResponseErrors,
    default_denied_error,
)
from gateway.supergraph.planner.fetch_nodes import FetchNode, RepresentationSource
from gateway.supergraph.planner.query_plan import (
    EMPTY,
    PlanningContext,
    PlanStage,
    PlanVariant,
    QueryPlan,
)
from gateway.supergraph.transport.subgraph_response import (
    SubgraphError,
    SubgraphInvalidResponse,
    SubgraphTimeout,
)
from gateway.supergraph.transport.transport import Transport, is_mutation, request_deadline

JSON: TypeAlias = dict[str, Any]
HeadersFor: TypeAlias = Callable[[str], Mapping[str, str]]
"""Headers for a subgraph: the caller, as a token that subgraph accepts. Called for every fetch,
so that a subscription may go on for longer than a token is valid."""
EntityIdsHandler: TypeAlias = Callable[[str, set[str]], None]
"""Called with the ids of the objects of a type that were read or changed: the values of the field
that `QueryPlan.entity_id_fields` names. Objects of unknown type come under their interface."""

USE_SUBSCRIBE = {
    "message": "Subscriptions don't run as requests.",
    "extensions": {"code": OperationRefused.code, "hint": "Subscribe over a websocket or SSE."},
}


def no_headers(_: str) -> Mapping[str, str]:
    return {}


class ExecutionOptions(NamedTuple):
    """On whose behalf a plan is executed, and within which bounds."""

    headers: HeadersFor = no_headers
    within_s: float | None = None
    """When to stop waiting for fetches; what is there is returned. For each event of a
    subscription anew."""
    labels: frozenset[str] = EMPTY
    denied: frozenset[str] = EMPTY
    """See `QueryPlan.variant`."""
    denied_error: DeniedErrorBuilder = default_denied_error
    """Builds the error for a field of `denied`."""
    planning: PlanningContext = nullcontext
    """See `QueryPlan.variant`."""
    on_entity_ids: EntityIdsHandler | None = None
    max_errors: int = MAX_ERRORS


DEFAULT_OPTIONS = ExecutionOptions()
"""An anonymous caller, and no bounds."""


async def execute(
    plan: QueryPlan,
    variables: Mapping[str, Any] | None,
    transport: Transport,
    options: ExecutionOptions = DEFAULT_OPTIONS,
) -> JSON:
    """The response to an operation: `data`, and `errors` if there are any. Without `data` if the
    variables are wrong.
    """
    if plan.is_subscription:
        return {"errors": [USE_SUBSCRIBE]}
    execution = begin_execution(plan, variables, transport, options)
    return await execution.respond() if isinstance(execution, PlanExecution) else execution


async def subscribe(
    plan: QueryPlan,
    variables: Mapping[str, Any] | None,
    transport: Transport,
    options: ExecutionOptions = DEFAULT_OPTIONS,
) -> AsyncGenerator[JSON, None]:
    """One response for each event of the source stream: the root field's subgraph.

    A service that fails costs a response its own fields, as in a query; the next event asks it
    again. What ends the source stream itself is the last response, which has `errors` and no
    `data`, as has the only response to wrong variables.

    The next event is read when the next response is awaited: a slow client makes the source
    wait. Close the generator (`aclosing`) to end the source stream.
    """
    execution = begin_execution(plan, variables, transport, options)
    if not isinstance(execution, PlanExecution):
        yield execution
        return
    fetch = execution.variant.source_fetch
    if fetch is None:
        yield await execution.respond()
        return
    body = build_body(fetch, select_variables(fetch, execution.variables))
    headers = options.headers(fetch.subgraph)
    try:
        async with transport.stream(fetch.subgraph, body, headers) as events:
            async for event in events:
                next_execution = execution.restart()
                next_execution.merge_response(fetch, event)
                yield await next_execution.respond()
    except SubgraphError as error:
        extensions = {"code": error.code, "hint": error.hint, "service": fetch.subgraph}
        yield {"errors": [{"message": error.problem, "extensions": extensions}]}


def begin_execution(
    plan: QueryPlan,
    variables: Mapping[str, Any] | None,
    transport: Transport,
    options: ExecutionOptions,
) -> "PlanExecution | JSON":
    """An execution that has sent nothing yet, or the response to variables that are wrong."""
    values = dict(variables or {})
    coerced = prepare_coercion(plan).coerce(values)
    if isinstance(coerced, list):
        return _respond_to_wrong_variables(coerced)
    variant = plan.variant(
        coerced, labels=options.labels, denied=options.denied, planning=options.planning
    )
    return PlanExecution(plan, variant, values, transport, options)


def _respond_to_wrong_variables(reasons: Sequence[str]) -> JSON:
    hint = "Send the variables as the operation declares them."
    extensions = {"code": "BAD_USER_INPUT", "hint": hint}
    return {"errors": [{"message": reason, "extensions": extensions} for reason in reasons]}


def respond_to_refusal(error: OperationRefused) -> JSON:
    return {"errors": list(error.errors)}


class PlanExecution:
    """One execution of a plan, or of the part of a subscription's plan that follows an event."""

    def __init__(
        self,
        plan: QueryPlan,
        variant: PlanVariant,
        variables: JSON,
        transport: Transport,
        options: ExecutionOptions,
    ) -> None:
        self._plan = plan
        self.variant = variant
        self.variables = variables
        self._transport = transport
        self._options = options
        self._now = asyncio.get_running_loop().time
        self._deadline = None if options.within_s is None else self._now() + options.within_s
        self._data: JSON = {}
        self._incomplete: list[tuple[FetchNode, Sequence[tuple[RepresentationSource, JSON]]]] = []
        """What could not be fetched, since an input is missing."""
        self._errors = ResponseErrors(
            plan.supergraph, self._data, options.max_errors, options.denied_error
        )

    def restart(self) -> "PlanExecution":
        """Another execution of the same, whose time begins now."""
        return PlanExecution(
            self._plan, self.variant, self.variables, self._transport, self._options
        )

    async def respond(self) -> JSON:
        """The response, with what has come by the deadline."""
        token = None if self._deadline is None else request_deadline.set(self._deadline)
        try:
            for stage in self.variant.stages:
                await self._run_stage(stage)
        finally:
            if token is not None:
                request_deadline.reset(token)
        if self.variant.introspection:
            self._introspect()
        if self._incomplete and self._errors.has_any:
            self._report_incomplete()
        for denied in self.variant.denied_fields:
            self._errors.add_denied(denied)
        if self._options.on_entity_ids:
            self._report_entity_ids(self._options.on_entity_ids)
        return self._build_response()

    def _build_response(self) -> JSON:
        shape = prepare_shape(self._plan, self.variant)
        data = shape(self._data)
        response: JSON = {"data": data}
        if shape.violations:
            self._errors.add_violations(shape.violations)
        if errors := self._errors.collect(data):
            response["errors"] = errors
        return response

    async def _run_stage(self, stage: PlanStage) -> None:
        waiting = {fetch: fetch.dependency_count for fetch in stage.fetches}
        first = [fetch for fetch in stage.fetches if not fetch.dependency_count]
        await self._fetch_all(first, waiting)

    async def _fetch_all(self, ready: Sequence[FetchNode], waiting: dict[FetchNode, int]) -> None:
        """Send these fetches at once, and each dependent one when its last input is there; if
        anything but a service fails, all are cancelled.
        """
        while len(ready) == 1:
            ready = await self._fetch_one(ready[0], waiting)
        if ready:
            async with asyncio.TaskGroup() as tasks:
                for fetch in ready:
                    tasks.create_task(self._fetch_all([fetch], waiting))

    async def _fetch_one(self, fetch: FetchNode, waiting: dict[FetchNode, int]) -> list[FetchNode]:
        """Send a fetch; returns those that only waited for it."""
        await (self._fetch_entities(fetch) if fetch.entity_fetches else self._fetch_fields(fetch))
        for dependent in fetch.dependents:
            waiting[dependent] -= 1
        return [dependent for dependent in fetch.dependents if not waiting[dependent]]

    async def _fetch_fields(self, fetch: FetchNode) -> None:
        assert fetch.path is not None
        if fetch.path.find(self._data):
            variables = select_variables(fetch, self.variables)
            self.merge_response(fetch, await self._send(fetch, variables))

    def merge_response(self, fetch: FetchNode, response: JSON | SubgraphError) -> None:
        assert fetch.path is not None
        targets = fetch.path.find(self._data)
        if isinstance(response, SubgraphError):
            self._errors.add_failure(response, fetch, fetch.path, targets)
            return
        data = response.get("data")
        if isinstance(data, dict):
            for target in targets:
                merge(target, data)
        self._errors.add_subgraph_errors(response, fetch, fetch.path, targets)

    async def _fetch_entities(self, fetch: FetchNode) -> None:
        variables = select_variables(fetch, self.variables)
        batches = [EntityBatch(load, self._data) for load in fetch.entity_fetches]
        for batch in batches:
            variables[batch.entity_fetch.variable] = batch.representations
        self._incomplete += [(fetch, batch.incomplete) for batch in batches if batch.incomplete]
        if not any(batch.representations for batch in batches):
            return
        response = await self._send(fetch, variables)
        if not isinstance(response, SubgraphError):
            response = self._merge_entities(fetch, batches, response)
        if isinstance(response, SubgraphError):
            for batch in batches:
                for query_path, items in batch.targets():
                    self._errors.add_failure(response, fetch, query_path, items)

    def _merge_entities(
        self, fetch: FetchNode, batches: Sequence[EntityBatch], response: JSON
    ) -> JSON | SubgraphError:
        data = response.get("data")
        errors = response.get("errors") or ()
        if isinstance(data, dict):
            for batch in batches:
                if not batch.merge(data.get(batch.entity_fetch.alias), has_errors=bool(errors)):
                    return SubgraphInvalidResponse(
                        fetch.subgraph, "its entities are not those requested"
                    )
        self._errors.add_entity_errors(errors, fetch, batches)
        return response

    async def _send(self, fetch: FetchNode, variables: JSON) -> JSON | SubgraphError:
        if self._deadline is not None and self._now() >= self._deadline:
            # It must not even begin: it may be a mutation.
            return SubgraphTimeout(fetch.subgraph, was_sent=False)
        token = is_mutation.set(True) if fetch.is_mutation else None
        try:
            response = await self._transport.fetch(
                fetch.subgraph,
                build_body(fetch, variables),
                self._options.headers(fetch.subgraph),
                is_idempotent=fetch.is_idempotent,
            )
            return response.parse(fetch.subgraph)
        except SubgraphError as error:
            return error if fetch.is_idempotent else error.mark_as_possibly_executed()
        finally:
            if token is not None:
                is_mutation.reset(token)

    def _report_incomplete(self) -> None:
        for fetch, incomplete in self._incomplete:
            for query_path, items in group_by_path(incomplete):
                self._errors.add_incomplete(fetch, query_path, items)

    def _introspect(self) -> None:
        assert self.variant.introspection is not None
        schema = self._plan.supergraph.schema
        result = execute_sync(schema, self.variant.introspection, variable_values=self.variables)
        self._data.update(result.data or {})
        for error in result.errors or ():
            path = tuple(error.path or ())
            self._errors.add(error.message, path, {"code": "INTROSPECTION_FAILED"})

    def _report_entity_ids(self, on_entity_ids: EntityIdsHandler) -> None:
        """Report the ids of all objects that the response may hold, once for each type."""
        ids_by_type: dict[str, set[str]] = {}
        for entity_ids in self.variant.entity_ids:
            ids = ids_by_type.setdefault(entity_ids.type_name, set())
            for item in entity_ids.path.find(self._data):
                if isinstance(entity_id := item.get(entity_ids.subgraph_key), str | int):
                    ids.add(str(entity_id))
        for type_name, ids in ids_by_type.items():
            if ids:
                on_entity_ids(type_name, ids)


def select_variables(fetch: FetchNode, variables: JSON) -> JSON:
    """The variables that a fetch uses: a service gets no others."""
    return {name: variables[name] for name in fetch.variables if name in variables}


def build_body(fetch: FetchNode, variables: JSON) -> bytes:
    return fetch.body_start + orjson.dumps(variables) + b"}"
