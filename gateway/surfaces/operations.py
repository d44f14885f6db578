"""`POST /operations`: a client's build publishes its manifest, without a way to the database."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

from gateway.access.limits.operation_manifest import (
    OperationDraft,
    OperationProblem,
    merge_drafts,
    read_manifest,
)
from gateway.access.limits.registered_operations import RegisteredOperation, list_operations
from gateway.pipeline.operation_checker import OperationChecker
from gateway.pipeline.pipeline import RequestPipeline
from gateway.pipeline.prepare import PreparedOperation
from gateway.surfaces.json_api import JSON, AuditedCall
from gateway.surfaces.mcp.tools import describe_use
from services.chassis.clock import Clock, utc_now
from services.chassis.principal import Principal

PATH = "/operations"
SCOPE = "operations:publish"
MAX_AUDITED = 50
"""Hashes in a record of the audit log."""

StoreOperations = Callable[[Sequence[RegisteredOperation], datetime], Awaitable[int]]
"""Registers documents, all or none, and gives the number of new ones; raises RaakError."""


class OperationsApi:
    """Registers the documents of a manifest, after the checks of `raak operations publish`."""

    def __init__(
        self,
        graph: Callable[[], RequestPipeline],
        store_operations: StoreOperations,
        clock: Clock = utc_now,
    ) -> None:
        self._graph = graph
        self._store_operations = store_operations
        self._clock = clock

    async def publish(self, caller: Principal, value: Any, call: AuditedCall) -> JSON:
        """The answer to a manifest; raises InvalidOperations, OperationIdTaken or Unavailable."""
        now = self._clock()
        drafts, problems = read_manifest(value, f"manifest of {caller.subject}")
        problems += await self._find_problems(drafts)
        documents = merge_drafts(drafts, problems, now)
        call.details["documents"] = len(documents)
        call.details["hashes"] = [document.hash for document in documents[:MAX_AUDITED]]
        new = await self._store_operations(documents, now)
        return describe_publication(documents, new, self._graph().operations.get)

    async def _find_problems(self, drafts: Sequence[OperationDraft]) -> list[OperationProblem]:
        """Checks a document at a time, so that requests are answered in between."""
        graph = self._graph()
        checker = OperationChecker(
            graph.supergraph, graph.limits, graph.weights, graph.admission.classify
        )
        problems: list[OperationProblem] = []
        for draft in drafts:
            problems += checker.find_problems(draft)
            await asyncio.sleep(0)
        return problems


def describe_publication(
    documents: Sequence[RegisteredOperation],
    new: int,
    prepare: Callable[[str, str | None], PreparedOperation],
) -> JSON:
    """What was published, each operation by each id a client may send; and which tool it is, if it
    has a description.
    """
    operations = [
        {
            "id": name,
            "hash": document.hash,
            "name": operation,
            "source": document.source,
            **describe_use(prepare(document.text, operation)),
        }
        for document in documents
        for name in document.ids or (document.hash,)
        for operation in list_operations(document.text)
    ]
    return {"registered": len(documents), "new": new, "operations": operations}
