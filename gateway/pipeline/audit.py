"""What the audit log is to know of a request."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Any

from graphql import GraphQLSchema

from gateway.access.audit.audit_log import AuditEntry, AuditLog
from gateway.pipeline.authorize import CustomerReference
from gateway.pipeline.operation_facts import OperationFacts, coerce_variables
from gateway.pipeline.prepare import PreparedOperation
from gateway.pipeline.request import GraphQLRequest
from services.chassis.principal import Principal

JSON = dict[str, Any]


def open_entry(
    log: AuditLog,
    prepared: PreparedOperation,
    request: GraphQLRequest,
    caller: Principal,
    customers: Sequence[CustomerReference],
    schema: GraphQLSchema,
) -> AuditEntry:
    """The entry of a request that is about to be answered."""
    references = [reference for _, reference in customers]
    if not prepared.operation.texts:
        return AuditEntry(log, caller, prepared.audited, references)
    details = log.describe(_texts(prepared.operation, request, schema))
    return AuditEntry(log, caller, prepared.audited, references, details)


def _texts(
    operation: OperationFacts, request: GraphQLRequest, schema: GraphQLSchema
) -> Iterator[tuple[str, str, str]]:
    """The definitions and conditions of a request: field, argument, text."""
    variables = coerce_variables(operation.text_variables, request.variables, schema)
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
