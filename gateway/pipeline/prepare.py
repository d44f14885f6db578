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
from gateway.supergraph import QueryPlan, Supergraph, plan_document
from gateway.supergraph.lru import Lru

CUSTOMER_IDS: Mapping[str, str] = {"Customer": "id"}
"""What every customer in an answer is fetched with, so that the audit log can name them."""


@dataclass(frozen=True, slots=True)
class PreparedOperation:
    """What is remembered of an operation."""

    facts: OperationFacts
    plan: QueryPlan
    cost: OperationCost
    workload: Workload
    audited: AuditedOperation


class PreparedOperationCache:
    """Prepares operations over one supergraph, and remembers them by their text and name."""

    def __init__(
        self,
        supergraph: Supergraph,
        limits: OperationLimits,
        weights: CostWeights,
        classify: Callable[[Set[str]], Workload],
        *,
        size: int,
    ) -> None:
        self._supergraph = supergraph
        self._limits = limits
        self._classify = classify
        self._costs = CostModel(supergraph.schema, supergraph.metadata, weights)
        self._prepared: Lru[PreparedOperation] = Lru(size)

    def find(self, text: str, name: str | None) -> PreparedOperation | None:
        """An operation of a document, if it is remembered."""
        return self._prepared.get((text, name))

    def keys(self) -> list[tuple[str, str | None]]:
        """The operations remembered, by text and name, the one used last at the end."""
        return self._prepared.keys()

    def get(self, text: str, name: str | None) -> PreparedOperation:
        """An operation of a document, prepared now if it is new; raises RaakError."""
        prepared = self.find(text, name)
        if prepared is None:
            prepared = self._prepare(text, name)
            self._prepared.put((text, name), prepared)
        return prepared

    def _prepare(self, text: str, name: str | None) -> PreparedOperation:
        document = parse_document(text, self._limits)
        facts = collect_facts(document, name, self._supergraph.schema, self._limits)
        cost = self._costs.price(facts.root, facts.defaults)
        if cost.is_fixed:
            check_cost(cost, {}, self._limits)
        workload = self._classify(facts.root_coordinates)
        plan = plan_document(
            self._supergraph, document, facts.operation, entity_id_fields=CUSTOMER_IDS
        )
        audited = AuditedOperation.by(facts.operation.definition, facts.root, hash_document(text))
        return PreparedOperation(facts, plan, cost, workload, audited)
