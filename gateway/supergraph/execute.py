"""Execute a plan: send its requests, gather what comes back, shape the answer.

The gathered data is one tree of plain JSON under raw keys. Entities are merged into the very
objects they were represented from; equal representations are sent once. Nothing here resolves
field by field.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import orjson
from graphql import GraphQLError
from graphql.execution.values import get_variable_values

from gateway.supergraph.errors import OperationRefused
from gateway.supergraph.fetches import Load, Place, Request, Source
from gateway.supergraph.operation import TYPENAME, Branch, Position
from gateway.supergraph.plan import Denial, Plan, Stage, Variant, introspect
from gateway.supergraph.projection import Violation
from gateway.supergraph.transport import (
    Reply,
    SubgraphError,
    SubgraphInvalidResponse,
    SubgraphTimeout,
    SubgraphUnavailable,
    Transport,
)

JSON: TypeAlias = dict[str, Any]
ClientPath: TypeAlias = tuple[str | int, ...]
HeadersFor: TypeAlias = Callable[[str], Mapping[str, str]]
"""Headers for a subgraph: who asks, as a token that subgraph accepts."""

MAX_ERRORS = 100
MAX_VARIABLE_ERRORS = 20
SUBSCRIBE_INSTEAD = {
    "message": "Subscriptions don't run as requests.",
    "extensions": {"code": OperationRefused.code, "hint": "Subscribe over a websocket or SSE."},
}
DENIED = {
    "code": "UNAUTHORIZED_FIELD_OR_TYPE",
    "hint": "Ask with a token that grants it, or leave the field out.",
}
PASSED_EXTENSIONS = ("code", "hint", "problems")


def _no_headers(_: str) -> Mapping[str, str]:
    return {}


async def execute(
    plan: Plan,
    variables: Mapping[str, Any] | None,
    transport: Transport,
    *,
    headers: HeadersFor = _no_headers,
    within_s: float | None = None,
    labels: frozenset[str] = frozenset(),
    denied: frozenset[str] = frozenset(),
) -> JSON:
    """The answer to an operation: `data`, and `errors` if there are any. Without `data` if the
    variables are wrong or a variant of the plan can't be made.

    Args:
        labels, denied: See `Plan.variant`.
        within_s: When to give up on everything not yet answered; what is there is returned.
    """
    if plan.is_subscription:
        return {"errors": [SUBSCRIBE_INSTEAD]}
    given = dict(variables or {})
    definitions = plan.operation.variable_definitions or ()
    coerced: Mapping[str, Any] = {}
    if definitions:
        values = get_variable_values(
            plan.supergraph.schema, definitions, given, max_errors=MAX_VARIABLE_ERRORS
        )
        if isinstance(values, list):
            return {"errors": [_variable_error(error) for error in values]}
        coerced = values.coerced
    variant = plan.variant(coerced, labels=labels, denied=denied)
    return await _Run(plan, variant, given, transport, headers, within_s).answer()


def refusal(error: OperationRefused) -> JSON:
    """The answer to an operation that was refused."""
    return {"errors": list(error.errors)}


class _Run:
    """One execution of a plan."""

    def __init__(
        self,
        plan: Plan,
        variant: Variant,
        variables: JSON,
        transport: Transport,
        headers: HeadersFor,
        within_s: float | None,
    ) -> None:
        self._plan = plan
        self._variant = variant
        self._variables = variables
        self._transport = transport
        self._headers = headers
        self._deadline = None
        if within_s is not None:
            self._deadline = asyncio.get_running_loop().time() + within_s
        self._data: JSON = {}
        self._errors: list[JSON] = []
        self._left_out = 0

    async def answer(self) -> JSON:
        for stage in self._variant.stages:
            await self._run_stage(stage)
        if self._variant.introspection:
            self._introspect()
        for denial in self._variant.denials:
            self._add_denial(denial)
        projection = self._variant.projection
        data = projection(self._data)
        if projection.is_violated:
            for violation in projection.violations(self._data):
                self._add_violation(violation)
        answer: JSON = {"data": data}
        if self._errors:
            answer["errors"] = self._listed_errors()
        return answer

    async def _run_stage(self, stage: Stage) -> None:
        waiting = {request: request.waits_for for request in stage.requests}
        first = [request for request in stage.requests if not request.waits_for]
        await self._run_all(first, waiting)

    async def _run_all(self, requests: list[Request], waiting: dict[Request, int]) -> None:
        if len(requests) == 1:
            await self._run(requests[0], waiting)
        elif requests:
            await asyncio.gather(*(self._run(request, waiting) for request in requests))

    async def _run(self, request: Request, waiting: dict[Request, int]) -> None:
        """Send a request, and then those that only waited for it."""
        if request.loads:
            await self._load_entities(request)
        else:
            await self._load_plain(request)
        ready: list[Request] = []
        for follower in request.followers:
            waiting[follower] -= 1
            if not waiting[follower]:
                ready.append(follower)
        await self._run_all(ready, waiting)

    async def _load_plain(self, request: Request) -> None:
        assert request.place is not None
        targets = request.place.find(self._data)
        if not targets:
            return
        answered = await self._fetch(request, self._used_variables(request))
        if isinstance(answered, SubgraphError):
            self._add_failure(answered, request, request.place, targets)
            return
        data = answered.get("data")
        for target in targets:
            if isinstance(data, dict):
                _merge(target, data)
        for error in answered.get("errors") or ():
            self._add_subgraph_errors(error, request, request.place, targets)

    async def _load_entities(self, request: Request) -> None:
        variables = self._used_variables(request)
        batches = [_Batch(load, self._data) for load in request.loads]
        for batch in batches:
            variables[batch.load.variable] = batch.representations
        if not any(batch.representations for batch in batches):
            return
        answered = await self._fetch(request, variables)
        if not isinstance(answered, SubgraphError):
            answered = self._merge_entities(request, batches, answered)
        if isinstance(answered, SubgraphError):
            for batch in batches:
                for place, items in batch.targets():
                    self._add_failure(answered, request, place, items)

    def _merge_entities(
        self, request: Request, batches: "list[_Batch]", answered: JSON
    ) -> JSON | SubgraphError:
        data = answered.get("data")
        errors = answered.get("errors") or ()
        if isinstance(data, dict):
            for batch in batches:
                if not batch.merge(data.get(batch.load.alias), has_errors=bool(errors)):
                    return SubgraphInvalidResponse(request.subgraph)
        for error in errors:
            self._add_entity_errors(error, request, batches)
        return answered

    def _used_variables(self, request: Request) -> JSON:
        given = self._variables
        return {name: given[name] for name in request.variables if name in given}

    async def _fetch(self, request: Request, variables: JSON) -> JSON | SubgraphError:
        body = request.opening + orjson.dumps(variables) + b"}"
        try:
            async with asyncio.timeout_at(self._deadline):
                headers = self._headers(request.subgraph)
                reply = await self._transport.fetch(request.subgraph, body, headers)
        except TimeoutError:
            return SubgraphTimeout(request.subgraph)
        except SubgraphError as error:
            return error
        return _read(request.subgraph, reply)

    def _introspect(self) -> None:
        assert self._variant.introspection is not None
        data, errors = introspect(
            self._plan.supergraph, self._variant.introspection, self._variables
        )
        self._data.update(data)
        for error in errors:
            self._add(error.message, tuple(error.path or ()), {"code": "INTROSPECTION_FAILED"})

    # Errors

    def _add(self, message: str, path: ClientPath | None, extensions: JSON) -> None:
        if len(self._errors) >= MAX_ERRORS:
            self._left_out += 1
            return
        error: JSON = {"message": message}
        if path:
            error["path"] = list(path)
        self._errors.append(error | {"extensions": extensions})

    def _add_failure(
        self, error: SubgraphError, request: Request, place: Place, targets: list[JSON]
    ) -> None:
        """One error for each field of the client's that a failed request would have filled."""
        extensions = {"code": error.code, "hint": error.hint, "service": request.subgraph}
        keys = [
            answered.key
            for answered in place.branch.answer
            if answered.source and _is_fetched_by(answered.source.visits, request)
        ]
        for path in self._paths(place, targets):
            for key in keys:
                self._add(error.problem, (*path, key), extensions)
            if not keys:
                self._add(error.problem, path, extensions)

    def _add_denial(self, denial: Denial) -> None:
        """One error for each place where a field would have been that is denied."""
        branch = denial.place.branch
        for item, path in denial.place.find_with_paths(self._data):
            at = _client_path(_root_of(branch), path)
            type_name = item.get(TYPENAME, branch.types[0])
            for key, name in denial.fields:
                message = f"Access to {f'{type_name}.{name}'!r} is denied."
                self._add(message, (*at, key), DENIED)

    def _add_subgraph_errors(
        self, error: Any, request: Request, place: Place, targets: list[JSON]
    ) -> None:
        message, rest, extensions = _subgraph_error(error, request.subgraph)
        for path in self._paths(place, targets):
            below = _client_path(place.branch.position, rest)
            self._add(message, (*path, *below), extensions)

    def _add_entity_errors(self, error: Any, request: Request, batches: "list[_Batch]") -> None:
        """Repeat an entity's error for every object it was fetched for."""
        message, path, extensions = _subgraph_error(error, request.subgraph)
        alias, index = (*path[:2], None, None)[:2]
        for batch in batches:
            if alias not in (None, batch.load.alias):
                continue
            for place, items in batch.targets(index if isinstance(index, int) else None):
                below = _client_path(place.branch.position, path[2:])
                for at in self._paths(place, items):
                    self._add(message, (*at, *below), extensions)

    def _paths(self, place: Place, targets: list[JSON]) -> Iterator[ClientPath]:
        """The client's paths of some of the objects at a place."""
        wanted = {id(target) for target in targets}
        root = _root_of(place.branch)
        for item, path in place.find_with_paths(self._data):
            if id(item) in wanted:
                yield _client_path(root, path)

    def _add_violation(self, violation: Violation) -> None:
        """Say why something is null, unless an error at, above or below it says so already."""
        for error in self._errors:
            shared = zip(error.get("path", ()), violation.path, strict=False)
            if all(known == new for known, new in shared):
                return
        self._add(violation.reason, violation.path, {"code": "NULL_IN_NON_NULL_FIELD"})

    def _listed_errors(self) -> list[JSON]:
        if not self._left_out:
            return self._errors
        message = f"{self._left_out} further errors are left out."
        return [*self._errors, {"message": message, "extensions": {"code": "TOO_MANY_ERRORS"}}]


class _Batch:
    """The distinct entities of one load, each with the objects that wait for it."""

    def __init__(self, load: Load, data: JSON) -> None:
        self.load = load
        self.representations: list[JSON] = []
        self._waiting: list[list[tuple[Source, JSON]]] = []
        known: dict[bytes, int] = {}
        for source in load.sources:
            for item in source.place.find(data):
                representation = source.represent(item)
                if representation is None:
                    continue
                identity = orjson.dumps(representation)
                index = known.setdefault(identity, len(self.representations))
                if index == len(self.representations):
                    self.representations.append(representation)
                    self._waiting.append([])
                self._waiting[index].append((source, item))

    def merge(self, entities: Any, *, has_errors: bool) -> bool:
        """Give each object its entity; False if the entities are not what was asked for."""
        if entities is None:
            return has_errors or not self.representations
        if not isinstance(entities, list) or len(entities) != len(self.representations):
            return False
        for entity, waiting in zip(entities, self._waiting, strict=True):
            if isinstance(entity, dict):
                _share(entity, waiting)
        return True

    def targets(self, index: int | None = None) -> Iterator[tuple[Place, list[JSON]]]:
        """The objects that wait for one entity, or for any, by their place."""
        known = index is not None and 0 <= index < len(self._waiting)
        waiting = [self._waiting[index]] if known and index is not None else self._waiting
        by_source: dict[int, tuple[Place, list[JSON]]] = {}
        for source, item in (pair for pairs in waiting for pair in pairs):
            by_source.setdefault(id(source), (source.place, []))[1].append(item)
        yield from by_source.values()


def _share(entity: JSON, waiting: list[tuple[Source, JSON]]) -> None:
    """Merge an entity into all objects that wait for it. Objects of one place may share what
    is inside; another place gets a copy, for its plan may add other things to it.
    """
    owned = {id(waiting[0][0]): entity}
    for source, item in waiting:
        own = owned.get(id(source))
        if own is None:
            own = owned[id(source)] = orjson.loads(orjson.dumps(entity))
        _merge(item, own)


def _merge(target: JSON, source: JSON) -> None:
    """Add what `source` knows to `target`; what both know as objects is merged inside."""
    for key, value in source.items():
        known = target.get(key)
        if known is None:
            target[key] = value
        elif isinstance(known, dict) and isinstance(value, dict) and known is not value:
            _merge(known, value)
        elif isinstance(known, list) and isinstance(value, list) and known is not value:
            _merge_lists(known, value)


def _merge_lists(target: list[Any], source: list[Any]) -> None:
    for i, (known, value) in enumerate(zip(target, source, strict=False)):
        if known is None:
            target[i] = value
        elif isinstance(known, dict) and isinstance(value, dict):
            _merge(known, value)
        elif isinstance(known, list) and isinstance(value, list):
            _merge_lists(known, value)


def _read(subgraph: str, reply: Reply) -> JSON | SubgraphError:
    try:
        answered = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        answered = None
    if isinstance(answered, dict) and (
        isinstance(answered.get("data"), dict) or isinstance(answered.get("errors"), list)
    ):
        return answered
    return (
        SubgraphUnavailable(subgraph) if reply.status >= 500 else SubgraphInvalidResponse(subgraph)
    )


def _is_fetched_by(visits: list[Any], request: Request) -> bool:
    return any(visit.subgraph.name == request.subgraph for visit in visits)


def _subgraph_error(error: Any, subgraph: str) -> tuple[str, ClientPath, JSON]:
    """Message, raw path and extensions of an error as a subgraph wrote it."""
    written = error if isinstance(error, dict) else {}
    path = written.get("path")
    inner = written.get("extensions")
    inner = inner if isinstance(inner, dict) else {}
    passed = {key: inner[key] for key in PASSED_EXTENSIONS if key in inner}
    return (
        str(written.get("message", "The service reported an error.")),
        tuple(path) if isinstance(path, list) else (),
        {"code": "SUBGRAPH_ERROR"} | passed | {"service": subgraph},
    )


def _root_of(branch: Branch) -> Position:
    position = branch.position
    while position.parent is not None:
        position = position.parent.branch.position
    return position


def _client_path(position: Position | None, raw: ClientPath) -> ClientPath:
    """A raw path as the client knows it; it ends where only the plan asked for more."""
    path: list[str | int] = []
    for segment in raw:
        if isinstance(segment, str):
            found = _answered_as(position, segment)
            if found is None:
                break
            segment, position = found
        path.append(segment)
    return tuple(path)


def _answered_as(position: Position | None, raw_key: str) -> tuple[str, Position | None] | None:
    for branch in position.branches if position else ():
        for answered in branch.answer:
            if answered.source and answered.source.raw_key == raw_key:
                return answered.key, answered.source.child
    return None


def _variable_error(error: GraphQLError) -> JSON:
    hint = "Send the variables as the operation declares them."
    return {"message": error.message, "extensions": {"code": "BAD_USER_INPUT", "hint": hint}}
