"""Draw a valid operation over a schema, with variables."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLInputType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    get_named_type,
    is_abstract_type,
    is_composite_type,
    is_required_argument,
    parse,
    validate,
)

JSON = dict[str, Any]
ALIASES = ("a", "b", "id", "name", "size", "f0", "to0", "raak_id")
INTROSPECTION = (
    "__schema { queryType { name } mutationType { name } }",
    '__type(name: "Query") { name kind }',
    'other: __type(name: "Nothing") { name }',
)
VALUES: dict[str, tuple[tuple[str, Any], ...]] = {
    "Int": (("3", 3), ("5", 5), ("null", None)),
    "Kind": (("BAD", "BAD"), ("null", None)),
    "Filter": (
        ("{}", {}),
        ('{ least: 3, any: ["x"] }', {"least": 3, "any": ["x"]}),
        ("{ not: { kind: UGLY } }", {"not": {"kind": "UGLY"}}),
    ),
    "[Int!]": (("[1, 2]", [1, 2]), ("4", [4]), ("null", None)),
    "String!": (('"x"', "x"), ('"Ä \\" y"', 'Ä " y')),
}


@dataclass
class Operation:
    """An operation as text, with the values of its variables."""

    text: str
    variables: JSON

    @property
    def document(self) -> DocumentNode:
        return parse(self.text)


def draw_operation(random: Random, schema: GraphQLSchema) -> Operation:
    """A valid operation. Where aliases collide, they are changed until it is valid."""
    return _Drawing(random, schema).operation()


@dataclass
class _Drawing:
    random: Random
    schema: GraphQLSchema
    room: int = 0
    variables: dict[str, str] = field(default_factory=dict)
    values: JSON = field(default_factory=dict)
    fragments: dict[str, tuple[GraphQLNamedType, str, set[str]]] = field(default_factory=dict)
    spread: set[str] = field(default_factory=set)

    def operation(self) -> Operation:
        random = self.random
        root: Any = self.schema.query_type
        kind = "query"
        if self.schema.mutation_type and self._chance(0.25):
            root, kind = self.schema.mutation_type, "mutation"
        for n in range(random.randint(0, 3)):
            self.room = random.randint(2, 7)
            self._draw_fragment(f"F{n}")
        self.room = random.randint(4, 26)
        body = self._selection(root, 0)
        if kind == "query" and self._chance(0.1):
            body = f"{body[:-1]}{random.choice(INTROSPECTION)} }}"
        text = body
        while missing := sorted(n for n in self.spread if f"fragment {n} " not in text):
            for name in missing:
                type_, printed, spread = self.fragments[name]
                text += f"\nfragment {name} on {type_.name} {printed}"
                self.spread |= spread
        used = [name for name in self.variables if re.search(rf"\${name}\b", text)]
        declared = ", ".join(f"${name}: {self.variables[name]}" for name in used)
        text = f"{kind} Asked{declared and f'({declared})'} {text}"
        values = {name: value for name, value in self.values.items() if name in used}
        return Operation(self._repair(text), values)

    def _chance(self, of: float) -> bool:
        return self.random.random() < of

    def _draw_fragment(self, name: str) -> None:
        composites = [
            type_
            for key, type_ in self.schema.type_map.items()
            if is_composite_type(type_) and not key.startswith("__") and key != "Mutation"
        ]
        type_ = self.random.choice(composites)
        outside, self.spread = self.spread, set()
        printed = self._selection(type_, 2)
        self.fragments[name] = (type_, printed, self.spread)
        self.spread = outside

    # Selections

    def _selection(self, type_: GraphQLNamedType, depth: int) -> str:
        parts = [self._part(type_, depth) for _ in range(self.random.randint(1, 4))]
        if self._chance(0.2):
            parts.append("__typename")
        return f"{{ {' '.join(parts)} }}"

    def _part(self, type_: GraphQLNamedType, depth: int) -> str:
        if self._chance(0.3) or isinstance(type_, GraphQLUnionType):
            return self._fragment(type_, depth)
        assert isinstance(type_, GraphQLObjectType | GraphQLInterfaceType)
        if self._chance(0.08):
            return f"{self._alias(0.3)}__typename{self._condition()}"
        names = list(type_.fields)
        if depth >= 4 or self.room <= 0:
            names = [
                n for n in names if not is_composite_type(get_named_type(type_.fields[n].type))
            ]
        return self._field(type_, self.random.choice(names), depth) if names else "__typename"

    def _field(self, type_: GraphQLObjectType | GraphQLInterfaceType, name: str, depth: int) -> str:
        self.room -= 1
        found = type_.fields[name]
        arguments = [
            f"{argument}: {self._value(declared.type)}"
            for argument, declared in found.args.items()
            if is_required_argument(declared) or self._chance(0.5)
        ]
        below = ""
        returned = get_named_type(found.type)
        if is_composite_type(returned):
            below = f" {self._selection(returned, depth + 1)}"
        printed = f"({', '.join(arguments)})" if arguments else ""
        return f"{self._alias(0.25)}{name}{printed}{self._condition()}{below}"

    def _alias(self, of: float) -> str:
        return f"{self.random.choice(ALIASES)}: " if self._chance(of) else ""

    def _fragment(self, type_: GraphQLNamedType, depth: int) -> str:
        fitting = [n for n, (on, *_) in self.fragments.items() if self._overlap(type_, on)]
        if fitting and self._chance(0.4):
            name = self.random.choice(fitting)
            self.spread.add(name)
            return f"...{name}{self._condition()}"
        if depth > 5 or self.room <= 0:
            return "__typename"
        on = self.random.choice(list(self._narrower(type_)))
        condition = "" if on is type_ and self._chance(0.3) else f" on {on.name}"
        return f"...{condition}{self._condition()} {self._selection(on, depth + 1)}"

    def _narrower(self, type_: GraphQLNamedType) -> Iterator[GraphQLNamedType]:
        for other in self.schema.type_map.values():
            if is_composite_type(other) and self._overlap(type_, other):
                yield other

    def _overlap(self, one: GraphQLNamedType, other: GraphQLNamedType) -> bool:
        return not self._possible(one).isdisjoint(self._possible(other))

    def _possible(self, type_: GraphQLNamedType) -> set[str]:
        if is_abstract_type(type_):
            return {found.name for found in self.schema.get_possible_types(type_)}
        return {type_.name}

    # Variables

    def _condition(self) -> str:
        if not self._chance(0.1):
            return ""
        value = self.random.choice(("true", "false", "$yes", "$no"))
        if value.startswith("$"):
            self.variables[value[1:]] = "Boolean!"
            self.values[value[1:]] = value == "$yes"
        return f" @{self.random.choice(('skip', 'include'))}(if: {value})"

    def _value(self, type_: GraphQLInputType) -> str:
        fitting = VALUES[str(type_)]
        literal, value = self.random.choice(fitting)
        if not self._chance(0.5):
            return literal
        name = f"v{len(self.variables)}"
        self.variables[name] = str(type_)
        if self._chance(0.3):
            self.variables[name] += f" = {fitting[0][0]}"
            if self._chance(0.5):
                return f"${name}"
        if self._chance(0.9) or isinstance(type_, GraphQLNonNull):
            self.values[name] = value
        return f"${name}"

    # Validity

    def _repair(self, text: str) -> str:
        """Rename what can't be merged, one field at a time."""
        n = 0
        while errors := validate(self.schema, parse(text)):
            nodes = errors[0].nodes or []
            assert "conflict" in errors[0].message, (errors[0], text)
            node = next(n for n in reversed(nodes) if isinstance(n, FieldNode))
            assert node.loc
            start = node.loc.start
            name = node.name.loc
            assert name
            text = f"{text[:start]}x{n}: {text[name.start :]}"
            n += 1
        return text
