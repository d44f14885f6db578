"""`raak operations`: documents registered in the gateway's database, after its own checks.

Registered along with every folder are the documents of the command line itself (`infra/documents`),
so that `raak apply` works where only registered operations are answered.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from graphql import DocumentNode, GraphQLError, OperationDefinitionNode, parse, validate

from gateway import store
from gateway.access.limits.load_shedding import Priorities
from gateway.access.limits.registered_operations import RegisteredOperation
from gateway.app import source_of
from gateway.pipeline.prepare import PreparedOperationCache
from gateway.schema_source import CompositionResult
from gateway.settings import GatewaySettings
from gateway.supergraph import Supergraph
from infra.gateway_database import open_gateway_database
from services.chassis.errors import RaakError

OWN = Path(__file__).with_name("documents")


@dataclass(frozen=True, slots=True)
class OperationProblem:
    path: Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


class NothingToPublish(RaakError, code="NOTHING_TO_PUBLISH"):
    """A folder holds no documents."""


class InvalidOperations(RaakError, code="NOT_PUBLISHABLE"):
    """Documents that could not be answered; none of the folder is published."""

    def __init__(self, problems: Sequence[OperationProblem]) -> None:
        self.problems = problems
        lines = "\n".join(map(str, problems))
        count = f"{len(problems)} problems" if len(problems) > 1 else "1 problem"
        super().__init__(f"{count}:\n{lines}", hint="Fix them and publish again; nothing was.")


class OperationNotFound(RaakError, code="NO_SUCH_OPERATION"):
    """A document that is to be retired is not registered."""


async def publish(
    settings: GatewaySettings, folders: Sequence[Path], now: datetime
) -> tuple[list[RegisteredOperation], int]:
    """Register the documents of folders, and the command line's own: all of them or none.

    Gives them, and the number of new ones. Raises InvalidOperations or NothingToPublish.
    """
    documents = check_documents(settings, [*folders, OWN], now)
    async with open_gateway_database(settings) as database, database.transaction() as connection:
        return documents, await store.publish(connection, documents, now)


def check_documents(
    settings: GatewaySettings, folders: Sequence[Path], now: datetime
) -> list[RegisteredOperation]:
    """Read the documents of folders; raises InvalidOperations unless the gateway can answer all."""
    checker = _OperationChecker(settings, CompositionResult.of(source_of(settings)).supergraph)
    documents: list[RegisteredOperation] = []
    problems: list[OperationProblem] = []
    for folder in folders:
        for path in _find_files(folder):
            text = path.read_bytes().decode(errors="replace")  # the parser reports where
            problems += checker.find_problems(path, text)
            documents.append(RegisteredOperation(text, str(path.relative_to(folder)), now))
    if problems:
        raise InvalidOperations(problems)
    return documents


def _find_files(folder: Path) -> list[Path]:
    files = sorted(folder.rglob("*.graphql"))
    if not files:
        raise NothingToPublish(
            f"{str(folder)!r} holds no *.graphql.", hint="Put each document into a file of its own."
        )
    return files


class _OperationChecker:
    """Checks documents as the gateway would if they were sent now."""

    def __init__(self, settings: GatewaySettings, supergraph: Supergraph) -> None:
        self._schema = supergraph.schema
        self._max_tokens = settings.max_tokens
        self._operations = PreparedOperationCache(
            supergraph, settings.limits, settings.weights, Priorities.read().classify, size=1
        )

    def find_problems(self, path: Path, text: str) -> list[OperationProblem]:
        try:
            document = parse(text, max_tokens=self._max_tokens)
        except GraphQLError as error:
            return [_problem_at(path, error.formatted)]
        operations = _operations(document)
        if not operations:
            return [OperationProblem(path, 1, "The document has no operation.")]
        found = [_problem_at(path, error.formatted) for error in validate(self._schema, document)]
        found = found or [p for each in operations for p in self._check_operation(path, text, each)]
        return sorted(found, key=lambda problem: (problem.line, problem.message))

    def _check_operation(
        self, path: Path, text: str, operation: OperationDefinitionNode
    ) -> Iterator[OperationProblem]:
        name = operation.name.value if operation.name else None
        try:
            self._operations.get(text, name)
        except RaakError as refused:
            line = operation.loc.start_token.line if operation.loc else 1
            yield OperationProblem(path, line, f"{refused.problem} {refused.hint}")


def _operations(document: DocumentNode) -> list[OperationDefinitionNode]:
    return [d for d in document.definitions if isinstance(d, OperationDefinitionNode)]


def _problem_at(path: Path, error: Any) -> OperationProblem:
    places = error.get("locations") or [{"line": 1}]
    return OperationProblem(path, places[0]["line"], error["message"])


async def list_documents(settings: GatewaySettings) -> list[RegisteredOperation]:
    async with open_gateway_database(settings) as database, database.connection() as connection:
        return await store.operations(connection)


async def retire(settings: GatewaySettings, beginning: str) -> RegisteredOperation:
    """Forget the document whose hash begins like this, and give it; raises OperationNotFound."""
    async with open_gateway_database(settings) as database, database.transaction() as connection:
        matches = [d for d in await store.operations(connection) if d.hash.startswith(beginning)]
        if len(matches) != 1 or not beginning:
            raise OperationNotFound(
                f"{len(matches)} registered documents have a hash that begins with {beginning!r}.",
                hint="Give the hash of one of them: `raak operations list` shows them.",
            )
        await store.retire(connection, matches[0].hash)
        return matches[0]
