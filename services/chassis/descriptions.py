"""What clients read in the schema is what stands in the code: docstrings become descriptions.

A type has its class's docstring, a field with a resolver its function's, with its arguments under
`Args:`, and every other field or enum value the string below it. What several resolvers take is
described once, by `Annotated[…, strawberry.argument(description=…)]`.
"""

import ast
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
)
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.enum import StrawberryEnumDefinition
from strawberry.types.field import StrawberryField

DEFINITION = GraphQLCoreConverter.DEFINITION_BACKREF

COMMON: Mapping[str, str] = {
    "Query": "Everything that can be read. A query changes nothing, except that "
    "`nextBestActions` records the decision it makes. What a caller may not have is null, with the "
    "error `UNAUTHORIZED_FIELD_OR_TYPE` at its path.",
    "Mutation": "Everything that can be changed. Each field is one transaction: done whole, and "
    "stored when the answer comes, or not at all.",
    "Subscription": "Everything that can be watched live, over server-sent events or WebSocket.",
    "DateTime": 'A moment in ISO 8601, as in "2026-11-30T09:30:00Z". Answers are in UTC; send '
    'moments with an offset ("Z", "+01:00").',
    "Date": 'A calendar day in ISO 8601, as in "2026-11-30".',
    "JSON": "Any JSON value: null, boolean, number, text, list or object. It may nest 32 levels; "
    "what is deeper is refused (`JSON_TOO_DEEP`).",
}
"""Of types that several subgraphs declare alike."""


@dataclass(frozen=True, slots=True)
class ClassDocs:
    own: str | None = None
    members: Mapping[str, str] = field(default_factory=dict)
    """By the name of the attribute."""


def describe_schema(schema: GraphQLSchema) -> None:
    """Give every element that has no description the docstring of what declares it."""
    for type_ in schema.type_map.values():
        if type_.name in COMMON:
            type_.description = COMMON[type_.name]
        match type_.extensions.get(DEFINITION):
            case StrawberryObjectDefinition() as definition:
                type_.description = type_.description or read_class(definition.origin).own
                _describe_fields(type_)
            case StrawberryEnumDefinition() as definition:
                docs = read_class(definition.wrapped_cls)
                type_.description = type_.description or docs.own
                assert isinstance(type_, GraphQLEnumType)
                for name, value in type_.values.items():
                    value.description = value.description or docs.members.get(name)


def _describe_fields(type_: GraphQLNamedType) -> None:
    assert isinstance(type_, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType)
    for one in type_.fields.values():
        declared = one.extensions.get(DEFINITION)
        if not isinstance(declared, StrawberryField):
            continue
        resolver = declared.base_resolver
        if resolver is not None and (doc := resolver.wrapped_func.__doc__):
            text, arguments = split_arguments(doc)
            _describe_arguments(one, arguments)
        else:
            text = read_class(declared.origin).members.get(declared.python_name, "")
        one.description = one.description or text or None


def _describe_arguments(one: GraphQLField, docs: Mapping[str, str]) -> None:
    for argument in one.args.values():
        name = argument.extensions[DEFINITION].python_name
        argument.description = argument.description or docs.get(name)


def split_arguments(doc: str) -> tuple[str, dict[str, str]]:
    """What a docstring says of a function, and of each argument."""
    text, _, arguments = inspect.cleandoc(doc).partition("\nArgs:\n")
    pairs = re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", arguments, flags=re.MULTILINE)
    return _unwrap(text), {name: _unwrap(said) for name, said in pairs}


def read_class(cls: Any) -> ClassDocs:
    """The docstrings in the source of a class; none where there is no source."""
    module = sys.modules.get(getattr(cls, "__module__", ""))
    return _read_module(module).get(cls.__qualname__, ClassDocs()) if module else ClassDocs()


@cache
def _read_module(module: ModuleType) -> Mapping[str, ClassDocs]:
    try:
        tree = ast.parse(inspect.getsource(module))
    except (OSError, TypeError):
        return {}
    return {
        node.name: ClassDocs(_doc_of(node), dict(_member_docs(node)))
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }


def _member_docs(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for member, below in zip(node.body, node.body[1:], strict=False):
        match member, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]),
                ast.Expr(value=ast.Constant(value=str(doc))),
            ):
                yield name, _unwrap(doc)


def _doc_of(node: ast.ClassDef) -> str | None:
    doc = ast.get_docstring(node)
    return _unwrap(doc) if doc else None


def _unwrap(doc: str) -> str:
    """A docstring as one paragraph: where its lines break says nothing."""
    return " ".join(doc.split())
