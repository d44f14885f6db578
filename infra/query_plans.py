"""`raak plan`: how the gateway fetches the operations of a file, as Apollo and Hive show it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphql import (
    DocumentNode,
    GraphQLError,
    OperationDefinitionNode,
    parse,
    validate,
)

from gateway.pipeline.prepare import CUSTOMER_IDS
from gateway.supergraph import (
    CannotPlan,
    NotIdempotentInSubscription,
    Operation,
    QueryPlan,
    Supergraph,
    compose,
    explain_plan,
    plan_document,
    print_plan,
    read_supergraph,
)
from services.chassis.errors import RaakError

SUBGRAPHS = Path(__file__).parents[1] / "gateway" / "subgraphs"
MAX_TOKENS = 10_000


class FileUnreadable(RaakError, code="FILE_UNREADABLE"):
    """A file that is not there, or is no text."""


class VariablesInvalid(RaakError, code="VARIABLES_INVALID"):
    """Variables that are no JSON object."""


class OperationInvalid(RaakError, code="OPERATION_INVALID"):
    """Operations that the gateway would refuse, each with its place in the file."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(
            "\n".join(problems), hint="Fix the operation, or plan it over another --supergraph."
        )


@dataclass(frozen=True, slots=True)
class OperationPlan:
    """One operation's query plan, with the conditions of @skip and @include it holds for."""

    name: str | None
    conditions: Mapping[str, bool]
    plan: dict[str, Any]
    """As `explain_plan` gives it."""

    def as_text(self) -> str:
        conditions = "".join(f" ${name}: {json.dumps(on)}" for name, on in self.conditions.items())
        return f"# {self.name or 'Operation'}{conditions}\n{print_plan(self.plan)}"

    def as_json(self) -> str:
        head = {"operationName": self.name, "conditions": self.conditions}
        return json.dumps(head | self.plan, indent=2)


def load_supergraph(path: Path | None) -> Supergraph:
    if path:
        return read_supergraph(_read(path))
    return compose({found.stem: _read(found) for found in sorted(SUBGRAPHS.glob("*.graphql"))})


def plan_file(
    path: Path, supergraph: Supergraph, variables: Mapping[str, Any]
) -> list[OperationPlan]:
    """The plans of all operations in a file; raises FileUnreadable or OperationInvalid."""
    text = _read(path)
    try:
        document = parse(text, max_tokens=MAX_TOKENS)
    except GraphQLError as error:
        raise OperationInvalid([_locate(path, error.formatted)]) from None
    if errors := validate(supergraph.schema, document):
        raise OperationInvalid([_locate(path, error.formatted) for error in errors])
    plans: list[OperationPlan] = []
    problems: list[str] = []
    for definition in _operations(document):
        operation = Operation.choose(document, definition.name.value if definition.name else None)
        try:
            plan = plan_document(supergraph, document, operation, entity_id_fields=CUSTOMER_IDS)
            plans.append(_explain(operation, plan, variables))
        except (CannotPlan, NotIdempotentInSubscription) as refused:
            line = definition.loc.start_token.line if definition.loc else 1
            problems.append(f"{path}:{line}: {refused.problem} {refused.hint}")
    if problems:
        raise OperationInvalid(problems)
    return plans


def read_variables(text: str) -> dict[str, Any]:
    try:
        variables = json.loads(text)
    except json.JSONDecodeError:
        variables = None
    if not isinstance(variables, dict):
        raise VariablesInvalid(
            f"{text!r} is no JSON object.", hint="Write --variables '{\"a\": true}'."
        )
    return variables


def _explain(operation: Operation, plan: QueryPlan, variables: Mapping[str, Any]) -> OperationPlan:
    values = operation.defaults | dict(variables)
    conditions = {condition: bool(values.get(condition)) for condition in plan.conditions}
    name = operation.definition.name.value if operation.definition.name else None
    return OperationPlan(name, conditions, explain_plan(plan.supergraph, plan.variant(conditions)))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise FileUnreadable(
            f"{str(path)!r} can't be read: {reason}.", hint="Name a file of GraphQL."
        ) from None


def _operations(document: DocumentNode) -> list[OperationDefinitionNode]:
    return [d for d in document.definitions if isinstance(d, OperationDefinitionNode)]


def _locate(path: Path, error: Mapping[str, Any]) -> str:
    places = error.get("locations") or [{"line": 1, "column": 1}]
    return f"{path}:{places[0]['line']}:{places[0]['column']}: {error['message']}"
