"""Plans of known operations, so that parsing, validating and planning happen once."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from graphql import (
    ASTValidationRule,
    DocumentNode,
    GraphQLError,
    Token,
    TokenKind,
    get_operation_ast,
    parse,
    specified_rules,
    validate,
)
from graphql.language import Node

from gateway.supergraph.errors import CannotPlan, NotIdempotentInSubscription, OperationRefused
from gateway.supergraph.lru import Lru
from gateway.supergraph.planner.query_plan import QueryPlan, plan
from gateway.supergraph.planner.selection_tree import NO_ENTITY_ID_FIELDS
from gateway.supergraph.supergraph import Supergraph
from gateway.supergraph.syntax import used_fragments

TEXTS_PER_PLAN = 4
MAX_VALIDATION_ERRORS = 20
REFUSALS = (OperationRefused, NotIdempotentInSubscription, CannotPlan)
STRINGS = (TokenKind.STRING, TokenKind.BLOCK_STRING)


@dataclass(frozen=True, slots=True)
class NormalizedOperation:
    """A document without layout, comments, and whatever the operation doesn't use. Equal for
    documents that mean the same operation.
    """

    digest: bytes
    is_whole: bool
    """Whether only layout was removed, so that it is valid if an equal one is."""

    @classmethod
    def of(cls, document: DocumentNode, operation_name: str | None) -> "NormalizedOperation | None":
        """None if the document has no such operation."""
        operation = get_operation_ast(document, operation_name)
        if operation is None:
            return None
        fragments = used_fragments(operation, document)
        used: list[Node] = [operation, *(fragments[name] for name in sorted(fragments))]
        return cls(_digest(_print_tokens(used)), len(used) == len(document.definitions))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()


def _print_tokens(nodes: Iterable[Node]) -> str:
    return " ".join(text for node in nodes for text in _tokens(node))


def _tokens(node: Node) -> Iterator[str]:
    """The tokens of a definition; ten times quicker than printing it."""
    assert node.loc is not None
    token: Token | None = node.loc.start_token
    while token is not None:
        if token.kind in STRINGS:
            yield repr(token.value)
        elif token.kind is not TokenKind.COMMENT:
            yield token.value or token.kind.value
        token = None if token is node.loc.end_token else token.next


class PlanCache:
    """Plans by operation, first by its text and name, then normalized: without layout and without
    what it doesn't use. A million texts that differ in nothing else share one plan.

    Refused operations are cached apart from plans, and fewer of them: a caller that sends nothing
    but nonsense can't push out the plans of others.
    """

    def __init__(
        self,
        supergraph: Supergraph,
        *,
        size: int = 1_000,
        refused_size: int = 100,
        max_tokens: int = 10_000,
        rules: Sequence[type[ASTValidationRule]] = specified_rules,
        entity_id_fields: Mapping[str, str] = NO_ENTITY_ID_FIELDS,
    ) -> None:
        self._supergraph = supergraph
        self._max_tokens = max_tokens
        self._rules = tuple(rules)
        self._entity_id_fields = entity_id_fields
        self._digests: Lru[bytes] = Lru(TEXTS_PER_PLAN * size)
        self._plans: Lru[QueryPlan] = Lru(size)
        self._refused: Lru[OperationRefused | NotIdempotentInSubscription | CannotPlan] = Lru(
            refused_size
        )

    def __len__(self) -> int:
        return len(self._plans)

    def plan(
        self,
        text: str,
        operation_name: str | None = None,
        document: DocumentNode | None = None,
    ) -> QueryPlan:
        """The plan of an operation, planned now if it is new; `document` is its text, if it has
        been parsed.

        Raises:
            OperationRefused: It can't be parsed, or is not valid.
            NotIdempotentInSubscription: A subscription selects what may not be fetched repeatedly.
            CannotPlan: It is too large.
        """
        key = (_digest(text), operation_name)
        digest = self._digests.get(key)
        known = self._plans.get(digest) if digest else None
        if known is not None:
            return known
        refused = self._refused.get(key)
        if refused is not None:
            raise refused.with_traceback(None)
        try:
            digest, planned = self._plan_new(text, operation_name, document)
        except REFUSALS as error:
            self._refused.put(key, error.with_traceback(None))
            raise
        self._digests.put(key, digest)
        self._plans.put(digest, planned)
        return planned

    def _plan_new(
        self, text: str, operation_name: str | None, document: DocumentNode | None
    ) -> tuple[bytes, QueryPlan]:
        try:
            document = document or parse(text, max_tokens=self._max_tokens)
            normalized = NormalizedOperation.of(document, operation_name)
            known = self._plans.get(normalized.digest) if normalized else None
            if normalized and known and normalized.is_whole:
                return normalized.digest, known
            self._validate(document)
            if normalized and known:
                return normalized.digest, known
            planned = plan(
                self._supergraph, document, operation_name, entity_id_fields=self._entity_id_fields
            )
            assert normalized is not None, "a document without an operation can't be planned"
            return normalized.digest, planned
        except GraphQLError as error:
            raise OperationRefused([_describe(error, "GRAPHQL_PARSE_FAILED")]) from None
        except RecursionError:
            raise CannotPlan(
                "The operation is nested too deeply.", hint="Nest its selections less."
            ) from None

    def _validate(self, document: DocumentNode) -> None:
        errors = validate(
            self._supergraph.schema, document, self._rules, max_errors=MAX_VALIDATION_ERRORS
        )
        if errors:
            raise OperationRefused([_describe(error) for error in errors])


def _describe(error: GraphQLError, code: str = OperationRefused.code) -> dict[str, object]:
    description: dict[str, object] = {"message": error.message}
    if error.locations:
        description["locations"] = [
            {"line": at.line, "column": at.column} for at in error.locations
        ]
    hint = "Check the operation against the schema."
    description["extensions"] = {"code": code, "hint": hint} | dict(error.extensions or {})
    return description
