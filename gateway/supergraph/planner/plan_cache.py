"""Plans of operations seen before, so that parsing, validating and planning happen once."""

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
from gateway.supergraph.planner.query_plan import Plan, plan
from gateway.supergraph.planner.selection_tree import NOTHING
from gateway.supergraph.supergraph import Supergraph
from gateway.supergraph.syntax import used_fragments

TEXTS_PER_PLAN = 4
MAX_VALIDATION_ERRORS = 20
REFUSALS = (OperationRefused, NotIdempotentInSubscription, CannotPlan)
STRINGS = (TokenKind.STRING, TokenKind.BLOCK_STRING)


@dataclass(frozen=True, slots=True)
class NormalForm:
    """What is left of a document when layout, comments, and whatever the operation doesn't use
    are taken away. Equal for documents that mean the same operation.
    """

    identity: bytes
    is_whole: bool
    """Whether only layout was taken away, so that it is valid if its like is."""

    @classmethod
    def of(cls, document: DocumentNode, operation_name: str | None) -> "NormalForm | None":
        """None if the document has no such operation."""
        operation = get_operation_ast(document, operation_name)
        if operation is None:
            return None
        fragments = used_fragments(operation, document)
        used: list[Node] = [operation, *(fragments[name] for name in sorted(fragments))]
        return cls(_digest(_written(used)), len(used) == len(document.definitions))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()


def _written(nodes: Iterable[Node]) -> str:
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
    """Plans by operation, first by its text and name, then by what is left of it without layout
    and without what it doesn't use. A million texts that differ in nothing else share one plan.

    Refused operations are remembered apart from plans, and fewer of them: a caller who sends
    nothing but nonsense can't push out the plans of others.
    """

    def __init__(
        self,
        supergraph: Supergraph,
        *,
        size: int = 1_000,
        refused_size: int = 100,
        max_tokens: int = 10_000,
        rules: Sequence[type[ASTValidationRule]] = specified_rules,
        witness: Mapping[str, str] = NOTHING,
    ) -> None:
        self._supergraph = supergraph
        self._max_tokens = max_tokens
        self._rules = tuple(rules)
        self._witness = witness
        self._identities: Lru[bytes] = Lru(TEXTS_PER_PLAN * size)
        self._plans: Lru[Plan] = Lru(size)
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
    ) -> Plan:
        """The plan of an operation, made now if it is new; `document` is its text, if parsed
        already.

        Raises:
            OperationRefused: It can't be parsed, or is not valid.
            NotIdempotentInSubscription: A subscription asks what may not be asked again and again.
            CannotPlan: It is too large.
        """
        key = (_digest(text), operation_name)
        identity = self._identities.get(key)
        known = self._plans.get(identity) if identity else None
        if known is not None:
            return known
        refused = self._refused.get(key)
        if refused is not None:
            raise refused.with_traceback(None)
        try:
            identity, made = self._find(text, operation_name, document)
        except REFUSALS as error:
            self._refused.put(key, error.with_traceback(None))
            raise
        self._identities.put(key, identity)
        self._plans.put(identity, made)
        return made

    def _find(
        self, text: str, operation_name: str | None, document: DocumentNode | None
    ) -> tuple[bytes, Plan]:
        try:
            document = document or parse(text, max_tokens=self._max_tokens)
            form = NormalForm.of(document, operation_name)
            known = self._plans.get(form.identity) if form else None
            if form and known and form.is_whole:
                return form.identity, known
            self._validate(document)
            if form and known:
                return form.identity, known
            made = plan(self._supergraph, document, operation_name, witness=self._witness)
            assert form is not None, "what has no operation can't be planned"
            return form.identity, made
        except GraphQLError as error:
            raise OperationRefused([_described(error, "GRAPHQL_PARSE_FAILED")]) from None
        except RecursionError:
            raise CannotPlan(
                "The operation is nested too deeply.", hint="Nest its selections less."
            ) from None

    def _validate(self, document: DocumentNode) -> None:
        errors = validate(
            self._supergraph.schema, document, self._rules, max_errors=MAX_VALIDATION_ERRORS
        )
        if errors:
            raise OperationRefused([_described(error) for error in errors])


def _described(error: GraphQLError, code: str = OperationRefused.code) -> dict[str, object]:
    described: dict[str, object] = {"message": error.message}
    if error.locations:
        described["locations"] = [{"line": at.line, "column": at.column} for at in error.locations]
    hint = "Check the operation against the schema."
    described["extensions"] = {"code": code, "hint": hint} | dict(error.extensions or {})
    return described
