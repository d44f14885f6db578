"""What the audit log is to know of a request."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

from graphql import GraphQLSchema

from gateway.access.audit.audit_log import AuditEntry, AuditLog
from gateway.pipeline.caller_request import CallerRequest
from gateway.pipeline.operation_facts import coerce_variables

JSON = dict[str, Any]


def open_entry(log: AuditLog, call: CallerRequest, schema: GraphQLSchema) -> AuditEntry:
    """The entry of a request that is about to be answered."""
    references = [reference for _, reference in call.customers]
    texts = call.prepared.facts.texts
    details: JSON = log.describe(_texts(call, schema)) if texts else {}
    if call.request.surface:
        details["surface"] = call.request.surface
    return AuditEntry(log, call.caller, call.prepared.audited, references, details)


def _texts(call: CallerRequest, schema: GraphQLSchema) -> Iterator[tuple[str, str, str]]:
    """The definitions and conditions of a request: field, argument, text."""
    operation = call.prepared.facts
    variables = coerce_variables(operation.text_variables, call.request.variables, schema)
    for argument in operation.texts if variables is not None else ():
        if isinstance(text := argument.value_with(variables), str):
            yield argument.place.partition(".")[2], argument.name, text


async def record_answers(
    answers: AsyncGenerator[JSON, None], entry: AuditEntry
) -> AsyncGenerator[JSON, None]:
    """The same answers, each recorded before the caller gets it."""
    async with aclosing(answers):
        async for answer in answers:
            entry.record_answer(answer)
            yield answer
