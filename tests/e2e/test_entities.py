"""Past the gateway, too, nobody is shown what belongs to another: by any field of an entity.

A router may ask a service for any entity by its key; the service looks at whom it asks for.
"""

from collections.abc import Iterator

import pytest
from graphql import (
    GraphQLArgument,
    GraphQLField,
    GraphQLObjectType,
    GraphQLOutputType,
    build_schema,
    get_named_type,
    is_leaf_type,
    is_required_argument,
)

from gateway.access.authentication.service_tokens import ServiceTokens, load_private_key
from gateway.schema_source import read_subgraphs
from infra.processes import SERVICES
from services.contracts.enums import Role
from tests.callers import caller
from tests.e2e.people import CLIENT, JSON, REFUSALS, Person, codes
from tests.stack import Stack

ARGUMENTS = {"channel": "WEB", "placement": '"home"', "action": '"jazz_weeks"'}
"""What required arguments are given."""


def selection(type_: GraphQLOutputType, depth: int = 3) -> str:
    """All that can be asked of an object without naming anybody."""
    named = get_named_type(type_)
    if not depth or not isinstance(named, GraphQLObjectType):
        return ""
    fields = [
        f"{name}{_arguments(field.args)} {below}"
        for name, field in named.fields.items()
        if (below := selection(field.type, depth - 1)) or is_leaf_type(get_named_type(field.type))
    ]
    return f"{{ {' '.join(fields)} }}" if fields else ""


def _arguments(arguments: dict[str, GraphQLArgument]) -> str:
    required = [
        f"{name}: {ARGUMENTS[name]}"
        for name, argument in arguments.items()
        if is_required_argument(argument)
    ]
    return f"({', '.join(required)})" if required else ""


def entity_fields(service: str) -> Iterator[tuple[str, str, GraphQLField]]:
    """The entity types of a service that belong to a customer, with their fields but the key."""
    sdl = read_subgraphs()[service]
    schema = build_schema(sdl, assume_valid_sdl=True)
    for type_name in ("Customer", "Decision"):
        type_ = schema.get_type(type_name)
        if isinstance(type_, GraphQLObjectType) and f"type {type_name} @key" in sdl:
            for name, field in type_.fields.items():
                yield type_name, name, field


ENTITY_FIELDS = [
    pytest.param(
        service, type_name, f"{name}{_arguments(field.args)} {selection(field.type)}", id=name
    )
    for service in SERVICES
    for type_name, name, field in entity_fields(service)
    if (type_name, name) != ("Customer", "id")
]


def entities(
    stack: Stack, service: str, role: Role, own: Person, field: str, keys: list[JSON]
) -> JSON:
    """What a service answers a router that speaks for a caller, by an internal token."""
    signing = load_private_key(stack.instance.keys.signing.read_text())
    header = ServiceTokens(signing).authorization(caller(role, "attacker", own.identity), service)
    type_name = keys[0]["__typename"]
    document = (
        "query($keys: [_Any!]!) { _entities(representations: $keys) "
        f"{{ ... on {type_name} {{ field: {field} }} }} }}"
    )
    response = CLIENT.post(
        f"http://127.0.0.1:{stack.instance.port + 1 + SERVICES.index(service)}/graphql",
        json={"query": document, "variables": {"keys": keys}},
        headers={"Authorization": header},
    )
    answer: JSON = response.json()
    return answer


@pytest.mark.parametrize("role", [Role.VISITOR, Role.APP])
@pytest.mark.parametrize(("service", "type_name", "field"), ENTITY_FIELDS)
def test_a_service_shows_nobody_anothers_entity(
    stack: Stack,
    victims: list[Person],
    attackers: list[Person],
    service: str,
    type_name: str,
    field: str,
    role: Role,
) -> None:
    keys = [
        {"__typename": type_name, "id": victim.decision if type_name == "Decision" else victim.id}
        for victim in victims
    ]
    for attacker in attackers:
        answer = entities(stack, service, role, attacker, field, keys)
        assert codes(answer), answer
        assert codes(answer) <= REFUSALS, answer
        for entity in answer["data"]["_entities"]:
            assert entity is None or entity["field"] is None, answer


def test_an_own_entity_is_shown(stack: Stack, attackers: list[Person]) -> None:
    for attacker in attackers:
        keys = [{"__typename": "Customer", "id": attacker.id}]
        answer = entities(stack, "journey", Role.VISITOR, attacker, "inbox { id }", keys)
        assert answer == {"data": {"_entities": [{"field": []}]}}, attacker.name
