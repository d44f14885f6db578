"""The text of a condition: parsed to Python's syntax tree, measured, and quoted in errors."""

import ast
import warnings
from collections.abc import Iterator
from typing import NoReturn

from services.rules.errors import ConditionSyntaxError, ConditionTooLarge
from services.rules.vocabulary import ConditionLimits

EXAMPLE = 'Write an expression such as `traits.age >= 18 and "vip" in segments`.'


class ConditionSource:
    """A condition's text, and where each node of its syntax tree is in it."""

    def __init__(self, text: str) -> None:
        self.text = text.replace("\r\n", "\n").replace("\r", "\n")
        self.lines = self.text.split("\n")

    def locate(self, node: ast.expr) -> tuple[int, int]:
        """The line and column of the node, from 1."""
        line = min(max(node.lineno - 1, 1), len(self.lines))
        return line, self._characters(line, node.col_offset) + 1

    def excerpt(self, node: ast.expr, negated: bool) -> str:
        """The node as written, negated from outside or not."""
        text = self._slice(node)
        if not negated:
            return text
        return f"not ({text})" if isinstance(node, ast.BoolOp) else f"not {text}"

    def parse(self, limits: ConditionLimits) -> ast.expr:
        """The syntax tree of the expression; raises an error if it is over the limits.

        Parentheses around the text let it span lines, as YAML blocks do.
        """
        self._check("characters", len(self.text), limits.characters)
        if not self.text.strip():
            raise ConditionSyntaxError("The condition is empty.", hint=EXAMPLE)
        root = self._parse_tree()
        if root.lineno == 1:  # it takes in, or has closed, the parenthesis that is ours
            several = isinstance(root, ast.Tuple | ast.GeneratorExp)
            self._refuse("it is empty, or several values" if several else "unmatched ')'", 1, 1)
        self._measure(root, limits)
        return root

    def _parse_tree(self) -> ast.expr:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # such as an invalid escape in a text
                return ast.parse(f"(\n{self.text}\n)", mode="eval").body
        except SyntaxError as error:
            self._refuse(error.msg, (error.lineno or 1) - 1, error.offset or 1)
        except (MemoryError, RecursionError):
            self._refuse("it is nested too deeply", 1, 1)
        except ValueError:  # NUL bytes, lone surrogates
            self._refuse("it holds characters no text can hold", 1, 1)

    def _refuse(self, reason: str, line: int, column: int) -> NoReturn:
        if not 1 <= line <= len(self.lines):  # in the parentheses we added
            line, column = len(self.lines), len(self.lines[-1]) + 1
        raise ConditionSyntaxError(
            f"This is not an expression: {reason.rstrip('?.')}.",
            hint=EXAMPLE,
            source=self.text,
            line=line,
            column=max(column, 1),
        )

    def _measure(self, root: ast.expr, limits: ConditionLimits) -> None:
        level: list[ast.AST] = [root]
        depth = nodes = 0
        while level:
            depth, nodes = depth + 1, nodes + len(level)
            self._check("depth", depth, limits.depth)
            self._check("nodes", nodes, limits.nodes)
            level = [child for node in level for child in _expressions_below(node)]

    def _check(self, name: str, value: int, limit: int) -> None:
        if value > limit:
            raise ConditionTooLarge(
                f"The condition has {name} {value}, over the limit of {limit}.",
                hint="Split it into several conditions or segments.",
                source=self.text[:200],
            )

    def _slice(self, node: ast.expr) -> str:
        first, last = node.lineno - 2, (node.end_lineno or node.lineno) - 2
        end = self._characters(last + 1, node.end_col_offset or 0)
        start = self._characters(first + 1, node.col_offset)
        if first == last:
            return self.lines[first][start:end]
        block = [self.lines[first][start:], *self.lines[first + 1 : last], self.lines[last][:end]]
        return " ".join(line.strip() for line in block)

    def _characters(self, line: int, offset: int) -> int:
        """Python counts a column in UTF-8 bytes; readers count characters."""
        return len(self.lines[line - 1].encode()[:offset].decode(errors="ignore"))


def _expressions_below(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr | ast.keyword | ast.comprehension):
            yield child
