"""Run a subscription: for each event of its source, the rest of the plan as its own request."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from gateway.supergraph.executor.execute import (
    JSON,
    PLAIN,
    Run,
    Terms,
    begun,
    body_of,
    used_variables,
)
from gateway.supergraph.planner.query_plan import Plan
from gateway.supergraph.transport.http import SubgraphError, Transport


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
