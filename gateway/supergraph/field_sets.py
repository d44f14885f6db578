"""Field sets: the `fields:` of @key, @requires and @provides."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from graphql import FieldNode, SelectionSetNode, Source, TokenKind, print_ast
from graphql.language import InlineFragmentNode
from graphql.language.parser import Parser


@dataclass(frozen=True, slots=True)
class FieldSet:
    """The `fields:` argument of @key, @requires or @provides. Equal when written alike."""

    text: str
    selections: SelectionSetNode = field(compare=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> "FieldSet":
        """Read a selection without its outer braces; raises GraphQLSyntaxError."""
        parser = Parser(Source(f"{{ {text} }}"), no_location=True)
        parser.expect_token(TokenKind.SOF)
        selections = parser.parse_selection_set()
        parser.expect_token(TokenKind.EOF)
        return cls.of(selections)

    @classmethod
    def of(cls, selections: SelectionSetNode) -> "FieldSet":
        """The field set of a selection already parsed."""
        return cls(" ".join(print_ast(selections).split()), selections)

    @property
    def sdl(self) -> str:
        """The `fields:` argument: without the outer braces."""
        return self.text[1:-1].strip()

    def names(self) -> Iterator[str]:
        """The fields at the top, whatever type conditions apply."""
        return (selected.name.value for selected in selected_fields(self.selections))


def selected_fields(
    selections: SelectionSetNode, types: Iterable[str] | None = None
) -> Iterator[FieldNode]:
    """The fields selected here, inline fragments looked through; given `types`, only through
    those whose condition is one of them.
    """
    for selection in selections.selections:
        if isinstance(selection, FieldNode):
            yield selection
        elif isinstance(selection, InlineFragmentNode):
            condition = selection.type_condition
            if types is None or condition is None or condition.name.value in types:
                yield from selected_fields(selection.selection_set, types)
