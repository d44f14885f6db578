"""What one scope opens: every path of the graph, against the list that was reviewed."""

from dataclasses import replace
from inspect import isawaitable
from types import SimpleNamespace
from typing import Any

import pytest
from graphql import GraphQLObjectType, build_schema, default_field_resolver, get_named_type
from graphql.type import is_non_null_type

from gateway.access.authorization.authorization import Authorization, satisfies
from gateway.access.authorization.roles import Roles
from gateway.access.authorization.scope_paths import find_paths, find_paths_with_scope
from gateway.live.schema import schema as live
from gateway.schema_source import read_subgraphs
from gateway.supergraph import compose
from services.chassis.authorization import Unauthorized
from services.chassis.graphql import Schema
from services.chassis.principal import Principal
from services.contracts.enums import Role
from services.decision.schema import schema as decision
from services.journey.schema import schema as journey
from services.measurement.schema import schema as measurement
from services.profile.schema import schema as profile
from tests.callers import caller

ROLES = Roles.read()
GRAPH = compose(read_subgraphs())
AUTHORIZATION = Authorization.over(GRAPH, ROLES)
SCOPES = sorted(ROLES.grants[Role.ADMIN].scopes)
SERVICES = {
    "decision": decision,
    "journey": journey,
    "live": live,
    "measurement": measurement,
    "profile": profile,
}


def opened(scope: str) -> dict[str, str]:
    return find_paths_with_scope(scope, ROLES, AUTHORIZATION, GRAPH.schema)


# --- what a reviewer looks for ----------------------------------------------------------------

OF_CUSTOMER = {
    "decisions:make": {"nextBestActions"},
    "decisions:read": {"decisions"},
}
"""What scopes that are not for reading customers open of one, beside the id."""


@pytest.mark.parametrize("scope", [scope for scope in SCOPES if scope != "customers:read"])
def test_no_scope_but_that_for_reading_customers_leads_to_what_is_known_of_one(scope: str) -> None:
    found = {tuple(coordinate.split(".")) for coordinate in opened(scope)}

    customer_field = {field for type_, field in found if type_ == "Customer"}
    assert customer_field <= {"id"} | OF_CUSTOMER.get(scope, set())
    assert not {type_ for type_, _ in found} & {"Trait", "CustomerEvent", "Identity", "Message"}


@pytest.mark.parametrize("scope", SCOPES)
def test_no_scope_alone_tells_identities_or_why_something_was_decided(scope: str) -> None:
    types = {coordinate.partition(".")[0] for coordinate in opened(scope)}

    assert not types & {
        "Identity",
        "IdentityChange",
        "IdentityClaim",
        "ActivityMerge",
        "ActionTrace",
    }


@pytest.mark.parametrize("scope", [scope for scope in SCOPES if scope.endswith(":write")])
def test_who_may_only_write_reads_back_no_more_than_what_was_written(scope: str) -> None:
    customer_field = {name for name in opened(scope) if name.startswith("Customer.")}

    assert customer_field <= {"Customer.id"}


def test_what_asks_a_scope_can_be_null_where_it_is_refused() -> None:
    """Else a narrowed token loses the object it stands in, and all that is beside it."""
    for coordinate, requirement in GRAPH.metadata.requirements.items():
        type_name, _, field = coordinate.partition(".")
        type_ = GRAPH.schema.get_type(type_name)
        if field and requirement.scopes and type_name not in ("Mutation", "Subscription"):
            assert isinstance(type_, GraphQLObjectType)
            assert not is_non_null_type(type_.fields[field].type), f"{coordinate} cannot be null"


# --- the services see to it themselves --------------------------------------------------------


def resolvers(service: Schema) -> dict[str, Any]:
    """What answers each field of a service."""
    return {
        f"{type_.name}.{name}": field
        for type_ in service._schema.type_map.values()
        if isinstance(type_, GraphQLObjectType) and not type_.name.startswith("_")
        for name, field in type_.fields.items()
        if not name.startswith("_")
    }


async def is_refused(field: Any, principal: Principal) -> bool:
    """Whether a service refuses a caller; what else its resolver misses here is no refusal."""
    info: Any = SimpleNamespace(context=SimpleNamespace(principal=principal))
    try:
        answer = (field.subscribe or field.resolve or default_field_resolver)(None, info)
        if isawaitable(answer):
            await answer
    except Unauthorized:
        return True
    except Exception:
        return False
    return False


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("name", sorted(SERVICES))
async def test_whatever_way_a_field_is_reached_its_service_asks_what_the_graph_does(
    name: str, scope: str
) -> None:
    principal = replace(caller(Role.ADMIN), scopes=frozenset({scope}))
    requirements = GRAPH.metadata.requirements

    for coordinate, field in resolvers(SERVICES[name]).items():
        here = [requirements.get(coordinate), requirements.get(get_named_type(field.type).name)]
        refused = await is_refused(field, principal)
        if not all(
            satisfies(principal.scopes, principal.policies, asked) for asked in here if asked
        ):
            assert refused, f"{name} gives {coordinate} to who has {scope} alone"
        if coordinate not in AUTHORIZATION.denied(principal):
            assert not refused, f"{name} refuses {coordinate} to who has {scope}"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_what_a_service_hides_in_its_own_way_is_there(name: str) -> None:
    there = resolvers(SERVICES[name]).keys()
    types = {coordinate.partition(".")[0] for coordinate in there}

    assert SERVICES[name].hides.keys() <= there | types


# --- the walk ---------------------------------------------------------------------------------

SCHEMA = build_schema("""
type Query { shop: Shop, any: Any }
type Mutation { sell: Sale }
type Shop { owner: Person, secret: Int }
type Sale { till: Till }
type Till { sale: Sale, shop: Shop }
interface Person { name: String }
type Baker implements Person { name: String, bread: Int }
type Guest implements Person { name: String }
type Cat { meow: Int }
union Any = Cat | Shop
""")


def test_a_walk_goes_round_circles_and_through_interfaces_and_unions() -> None:
    found = find_paths(SCHEMA, frozenset({"Query.shop", "Shop.secret", "Guest.name"}))

    assert found["Cat.meow"] == "query any meow"
    assert found["Baker.bread"] == "query any owner bread"
    assert found["Till.sale"] == "mutation sell till sale"
    assert not found.keys() & {"Query.shop", "Shop.secret", "Guest.name"}
