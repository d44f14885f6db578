"""Checks documents that are to be registered as the gateway would if they were sent now."""

from collections.abc import Callable, Iterator, Set
from typing import Any

from graphql import DocumentNode, GraphQLError, OperationDefinitionNode, parse, validate

from gateway.access.limits.cost import CostWeights
from gateway.access.limits.load_shedding import Workload
from gateway.access.limits.operation_limits import OperationLimits
from gateway.access.limits.operation_manifest import OperationDraft, OperationProblem
from gateway.pipeline.prepare import PreparedOperation, PreparedOperationCache
from gateway.supergraph import Supergraph
from services.chassis.errors import RaakError


class OperationChecker:
    """Finds all that is wrong with a document: syntax, schema, limits, plan."""

    def __init__(
        self,
        supergraph: Supergraph,
        limits: OperationLimits,
        weights: CostWeights,
        classify: Callable[[Set[str]], Workload],
    ) -> None:
        self._schema = supergraph.schema
        self._max_tokens = limits.tokens
        self._operations = PreparedOperationCache(supergraph, limits, weights, classify, size=1)

    def find_problems(self, draft: OperationDraft) -> list[OperationProblem]:
        if "\0" in draft.text:
            return [draft.problem("The document has a NUL character, which cannot be stored.")]
        try:
            document = parse(draft.text, max_tokens=self._max_tokens)
        except GraphQLError as error:
            return [_describe(draft, error)]
        operations = _operations(document)
        if not operations:
            return [draft.problem("The document has no operation.")]
        found = [_describe(draft, error) for error in validate(self._schema, document)]
        found = found or [p for each in operations for p in self._check_operation(draft, each)]
        return sorted(found, key=lambda problem: (problem.line, problem.message))

    def prepare(self, text: str, name: str | None) -> PreparedOperation:
        """An operation made ready, as the gateway does; raises RaakError."""
        return self._operations.get(text, name)

    def _check_operation(
        self, draft: OperationDraft, operation: OperationDefinitionNode
    ) -> Iterator[OperationProblem]:
        name = operation.name.value if operation.name else None
        try:
            self.prepare(draft.text, name)
        except RaakError as refusal:
            line = operation.loc.start_token.line if operation.loc else 1
            yield draft.problem(f"{refusal.problem} {refusal.hint}", line)


def _operations(document: DocumentNode) -> list[OperationDefinitionNode]:
    return [d for d in document.definitions if isinstance(d, OperationDefinitionNode)]


def _describe(draft: OperationDraft, error: Any) -> OperationProblem:
    places = error.locations or []
    return draft.problem(error.message, places[0].line if places else 1)
