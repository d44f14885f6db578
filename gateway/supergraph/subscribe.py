"""Run a subscription: for each event of its source, the rest of the plan as its own request."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from gateway.supergraph.execute import (
    JSON,
    NONE,
    HeadersFor,
    Run,
    Witnessed,
    body_of,
    no_headers,
    refusal_of_variables,
    used_variables,
)
from gateway.supergraph.plan import Plan
from gateway.supergraph.reports import MAX_ERRORS, Refusal, plain_refusal
from gateway.supergraph.transport import SubgraphError, Transport


async def subscribe(
    plan: Plan,
    variables: Mapping[str, Any] | None,
    transport: Transport,
    *,
    headers: HeadersFor = no_headers,
    within_s: float | None = None,
    labels: frozenset[str] = NONE,
    denied: frozenset[str] = NONE,
    refusal: Refusal = plain_refusal,
    witnessed: Witnessed | None = None,
    max_errors: int = MAX_ERRORS,
) -> AsyncGenerator[JSON, None]:
    """One answer for each event. A service that fails costs an answer its own fields, as in a
    query; the next event asks it again. What ends the source itself is the last answer, which
    has `errors` and no `data`, as has the only answer to wrong variables.

    The next event is read when the next answer is asked for: whoever is slow makes the source
    wait. Close the generator (`aclosing`) to end the source.

    Args:
        within_s: Deadline of each event, as in `execute`.
        labels, denied: See `Plan.variant`.
        refusal: What is told of a field of `denied`.
    """
    given = dict(variables or {})
    coerced = plan.inputs.coerce(given)
    if isinstance(coerced, list):
        yield refusal_of_variables(coerced)
        return
    variant = plan.variant(coerced, labels=labels, denied=denied)

    def run() -> Run:
        return Run(
            plan, variant, given, transport, headers, within_s, witnessed, max_errors, refusal
        )

    source = variant.source
    if source is None:
        yield await run().answer()
        return
    body = body_of(source, used_variables(source, given))
    try:
        async with transport.stream(source.subgraph, body, headers(source.subgraph)) as events:
            async for event in events:
                following = run()
                following.take(source, event)
                yield await following.answer()
    except SubgraphError as error:
        extensions = {"code": error.code, "hint": error.hint, "service": source.subgraph}
        yield {"errors": [{"message": error.problem, "extensions": extensions}]}
