"""What the audit log says of texts that callers send: definitions, and conditions of lists.

Of a condition it says which facts were asked for: values may be personal data, so each literal is
a digest. Of a definition it says which one it is, and the SHA-256 of its text.
"""

import ast
import re
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any

from services.rules import ROOTS, ConditionError, ConditionLimits
from services.rules.condition_source import ConditionSource
from services.rules.functions import PUBLIC

CONDITION, DEFINITION = "where", "yaml"
"""The arguments."""
TEXT_ARGUMENTS = frozenset({CONDITION, DEFINITION})
KEY = re.compile(r"""^[ \t]*(?:-[ \t]+)?key:[ \t]*["']?([\w.-]{1,100})["']?[ \t]*$""", re.M | re.A)
MOST_KEYS = 50

Digest = Callable[[str, str], str]


def describe(texts: Iterable[tuple[str, str, str]], digest: Digest) -> dict[str, list[Any]]:
    """Members of a record. `texts` are fields, arguments and values."""
    members: dict[str, list[Any]] = {}
    for field, argument, text in texts:
        if argument == CONDITION:
            members.setdefault("where", []).append(digest_values(text, digest))
        else:
            keys = list(dict.fromkeys(KEY.findall(text)))[:MOST_KEYS]
            hashed = sha256(text.encode(errors="surrogatepass")).hexdigest()
            members.setdefault("published", []).append(
                {"field": field, "sha256": hashed, "keys": keys}
            )
    return members


def digest_values(condition: str, digest: Digest) -> str:
    """A condition with a digest for each literal; of what is no condition, a digest of it all."""
    try:
        tree = _Digesting(digest).visit(ConditionSource(condition).parse(ConditionLimits()))
        return ast.unparse(tree)
    except (ConditionError, RecursionError, ValueError):
        return digest("text", condition)


class _Digesting(ast.NodeTransformer):
    def __init__(self, digest: Digest) -> None:
        self._digest = digest

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if node.value is None or isinstance(node.value, bool):
            return node
        return ast.Name(self._digest("text", str(node.value)))

    def visit_Name(self, node: ast.Name) -> ast.expr:
        known = node.id in ROOTS or node.id in PUBLIC
        return node if known else ast.Name(self._digest("text", node.id))

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        root = node.value
        while isinstance(root, ast.Attribute):
            root = root.value
        return node if isinstance(root, ast.Name) and root.id in ROOTS else self._whole(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        is_known = isinstance(node.func, ast.Name) and node.func.id in PUBLIC
        return self.generic_visit(node) if is_known else self._whole(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.expr:
        return self._whole(node)

    def _whole(self, node: ast.expr) -> ast.expr:
        return ast.Name(self._digest("text", ast.unparse(node)))
