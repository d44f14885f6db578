"""An operation made ready for all its requests: parsed, checked, priced and planned once."""

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass

from gateway.access.audit.record import AuditedOperation
from gateway.access.limits.cost import CostModel, CostWeights, OperationCost, check_cost
from gateway.access.limits.load_shedding import Workload
from gateway.access.limits.operation_limits import OperationLimits
from gateway.access.limits.registered_operations import hash_document
from gateway.pipeline.operation_facts import OperationFacts, collect_facts
from gateway.pipeline.parse import parse_document
from gateway.supergraph import PlanCache, QueryPlan, Supergraph
from gateway.supergraph.lru import Lru

CUSTOMER_IDS: Mapping[str, str] = {"Customer": "id"}
"""What every customer in an answer is fetched with, so that the audit log can name them."""


@dataclass(frozen=True, slots=True)
class PreparedOperation:
    """What is remembered of an operation."""

    operation: OperationFacts
    plan: QueryPlan
    cost: OperationCost
    workload: Workload
    audited: AuditedOperation


class PreparedOperationCache:
    """Prepares operations over one supergraph, and remembers them by their text and name.

    `PlanCache` below it shares one plan between texts that differ in layout only, and remembers
    what was refused.
    """

    def __init__(
        self,
        supergraph: Supergraph,
        limits: OperationLimits,
        weights: CostWeights,
        classify: Callable[[Set[str]], Workload],
        *,
        size: int,
    ) -> None:
        self._schema = supergraph.schema
        self._limits = limits
        self._classify = classify
        self._costs = CostModel(supergraph.schema, supergraph.metadata, weights)
        self._plans = PlanCache(
            supergraph, size=size, max_tokens=limits.tokens, entity_id_fields=CUSTOMER_IDS
        )
        self._prepared: Lru[PreparedOperation] = Lru(size)

    def __contains__(self, key: tuple[str, str | None]) -> bool:
        return key in self._prepared

    def keys(self) -> list[tuple[str, str | None]]:
        """The operations remembered, by text and name, the one used last at the end."""
        return self._prepared.keys()

    def get(self, text: str, name: str | None) -> PreparedOperation:
        """An operation of a document, prepared now if it is new; raises RaakError."""
        prepared = self._prepared.get((text, name))
        if prepared is None:
            prepared = self._prepare(text, name)
            self._prepared.put((text, name), prepared)
        return prepared

    def _prepare(self, text: str, name: str | None) -> PreparedOperation:
        document = parse_document(text, self._limits)
        operation = collect_facts(document, name, self._schema, self._limits)
        cost = self._costs.price(operation.document, operation.definition)
        if cost.is_fixed:
            check_cost(cost, {}, self._limits)
        workload = self._classify(operation.root_coordinates)
        plan = self._plans.plan(text, name, document)
        audited = AuditedOperation.by(operation.document, operation.definition, hash_document(text))
        return PreparedOperation(operation, plan, cost, workload, audited)
