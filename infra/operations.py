"""`raak operations`: documents registered in the gateway's database, after its own checks.

Registered along with all others are the documents of the command line itself (`infra/documents`),
so that `raak apply` works where only registered operations are answered.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import httpx

from gateway import store
from gateway.access.limits.load_shedding import Priorities
from gateway.access.limits.operation_manifest import (
    OperationDraft,
    OperationProblem,
    merge_drafts,
    read_manifest,
)
from gateway.access.limits.registered_operations import RegisteredOperation, list_operations
from gateway.app import source_of
from gateway.pipeline.operation_checker import OperationChecker
from gateway.schema_source import CompositionResult
from gateway.settings import GatewaySettings
from gateway.surfaces.json_api import JSON
from gateway.surfaces.operations import PATH, describe_publication
from infra.gateway_database import open_gateway_database
from infra.graph_client import GatewayUnreachable
from services.chassis.errors import RaakError
from services.chassis.strict_json import InvalidJson, parse_strict_json

OWN = Path(__file__).with_name("documents")
PUBLISH_S = 60.0
"""How long a gateway may take to check a manifest."""


class NothingToPublish(RaakError, code="NOTHING_TO_PUBLISH"):
    """A folder holds no documents, or there is nothing at a path."""


class PublicationRefused(RaakError, code="PUBLICATION_REFUSED"):
    """The gateway took none of the documents."""


class OperationNotFound(RaakError, code="NO_SUCH_OPERATION"):
    """A document that is to be retired is not registered."""


async def publish(settings: GatewaySettings, paths: Sequence[Path], now: datetime) -> JSON:
    """Register the documents of paths, and the command line's own: all of them or none.

    Gives what a gateway answers. Raises InvalidOperations, NothingToPublish or OperationIdTaken.
    """
    checker = build_checker(settings)
    documents = _check(checker, [*paths, OWN], now)
    async with open_gateway_database(settings) as database, database.transaction() as connection:
        new = await store.publish(connection, documents, now)
    return describe_publication(documents, new, checker.prepare)


def publish_to(url: str, key: str, paths: Sequence[Path], now: datetime) -> JSON:
    """Have a gateway register the documents of paths, and the command line's own, as `publish`
    does; gives its answer.
    """
    documents = merge_drafts(*read_documents([*paths, OWN]), now)
    entries = [
        {"document": document.text, "source": document.source, "id": name}
        for document in documents
        for name in document.ids or (None,)
    ]
    address = f"{url.rstrip('/')}{PATH}"
    try:
        response = httpx.post(
            address,
            json={"documents": entries},
            headers={"X-API-Key": key},
            timeout=PUBLISH_S,
            trust_env=False,
        )
        answer: JSON = response.json()
        if response.is_success and "registered" in answer:
            return answer
        code, problem, hint = (str(answer["error"][name]) for name in ("code", "problem", "hint"))
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError) as error:
        raise GatewayUnreachable(
            f"No gateway answers at {address} ({type(error).__name__}).",
            hint="Give --url the gateway's address, such as https://gateway.example.",
        ) from None
    raise PublicationRefused(f"{code} {problem}", hint=hint)


def check_documents(
    settings: GatewaySettings, paths: Sequence[Path], now: datetime
) -> list[RegisteredOperation]:
    """Read the documents of paths; raises InvalidOperations unless the gateway can answer all."""
    return _check(build_checker(settings), paths, now)


def build_checker(settings: GatewaySettings) -> OperationChecker:
    """Checks documents against the graph of the settings."""
    supergraph = CompositionResult.of(source_of(settings)).supergraph
    classify = Priorities.read().classify
    return OperationChecker(supergraph, settings.limits, settings.weights, classify)


def _check(
    checker: OperationChecker, paths: Sequence[Path], now: datetime
) -> list[RegisteredOperation]:
    drafts, problems = read_documents(paths)
    problems += [problem for draft in drafts for problem in checker.find_problems(draft)]
    return merge_drafts(drafts, problems, now)


def read_documents(paths: Sequence[Path]) -> tuple[list[OperationDraft], list[OperationProblem]]:
    """The documents of folders, files and manifests, and what is wrong with these."""
    drafts: list[OperationDraft] = []
    problems: list[OperationProblem] = []
    for path in paths:
        read = _read_manifest if path.is_file() and path.suffix != ".graphql" else _read_files
        more, flaws = read(path)
        drafts += more
        problems += flaws
    return drafts, problems


def _read_manifest(path: Path) -> tuple[list[OperationDraft], list[OperationProblem]]:
    try:
        return read_manifest(parse_strict_json(path.read_bytes()), str(path))
    except InvalidJson as error:
        return [], [OperationProblem(str(path), error.line, error.problem)]


def _read_files(path: Path) -> tuple[list[OperationDraft], list[OperationProblem]]:
    """The `*.graphql` below a folder, or one of them."""
    files = [path] if path.is_file() else sorted(path.rglob("*.graphql"))
    if not files:
        raise NothingToPublish(
            f"{str(path)!r} holds no *.graphql, and is no manifest.",
            hint="Give a folder with each document in a file of its own, or the JSON your client's "
            "build writes.",
        )
    base = path.parent if path.is_file() else path
    # What is not UTF-8 is replaced: the parser reports where.
    return [
        OperationDraft(
            each.read_bytes().decode(errors="replace"),
            str(each.relative_to(base)),
            path=str(each),
        )
        for each in files
    ], []


def describe(document: RegisteredOperation) -> str:
    """Where a document came from, and its operations."""
    names = (name or "(without a name)" for name in list_operations(document.text))
    return f"{document.source}: {', '.join(names)}"


async def list_documents(settings: GatewaySettings) -> list[RegisteredOperation]:
    async with open_gateway_database(settings) as database, database.connection() as connection:
        return await store.operations(connection)


async def retire(settings: GatewaySettings, beginning: str) -> RegisteredOperation:
    """Forget the document whose hash or id begins like this, and give it; raises
    OperationNotFound.
    """
    async with open_gateway_database(settings) as database, database.transaction() as connection:
        matches = [
            document
            for document in await store.operations(connection)
            if any(name.startswith(beginning) for name in document.names)
        ]
        if len(matches) != 1 or not beginning:
            raise OperationNotFound(
                f"{len(matches)} registered documents have a hash or id that begins with "
                f"{beginning!r}.",
                hint="Give the hash of one of them: `raak operations list` shows them.",
            )
        await store.retire(connection, matches[0].hash)
        return matches[0]
