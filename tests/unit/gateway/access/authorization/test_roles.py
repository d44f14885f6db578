"""Roles: the reviewed file decides, and covers every field there is."""

from pathlib import Path

import pytest
from graphql import GraphQLObjectType, get_named_type, is_object_type
from graphql.type import is_non_null_type

from gateway.access.authorization.authorization import Authorization
from gateway.access.authorization.roles import InvalidRoles, Roles
from gateway.schema_source import read_subgraphs
from gateway.supergraph import compose
from gateway.surfaces import operations, tokens
from services.chassis.principal import IDENTITIES, LOOKUP_POLICY
from services.contracts.enums import OWN_CUSTOMER_ONLY, Role
from tests.callers import caller

ROLES = Roles.read()


def fields_of_the_graph() -> set[str]:
    schema = compose(read_subgraphs()).schema
    return {
        f"{type_.name}.{field}"
        for type_ in schema.type_map.values()
        if is_object_type(type_) and not type_.name.startswith("__")
        for field in type_.fields
    }


def readable(role: Role, type_name: str) -> set[str]:
    """The fields of a type a role may read."""
    return {
        coordinate.partition(".")[2]
        for coordinate in ROLES.readers
        if coordinate.startswith(f"{type_name}.") and ROLES.may_read(role, coordinate)
    }


@pytest.mark.parametrize("role", Role)
def test_for_every_pair_of_role_and_field_the_file_says_allow_or_deny(role: Role) -> None:
    pairs = {coordinate: ROLES.may_read(role, coordinate) for coordinate in fields_of_the_graph()}

    missing = sorted(pairs.keys() - ROLES.readers.keys())
    gone = sorted(ROLES.readers.keys() - pairs.keys())
    file = "gateway/access/authorization/roles.yaml"
    assert not missing, f"say in {file} who may read {', '.join(missing)}"
    assert not gone, f"take out of {file}: {', '.join(gone)}"
    assert any(pairs.values())


def test_every_role_is_granted_something() -> None:
    assert ROLES.grants.keys() == set(Role)
    assert all(grant.scopes for grant in ROLES.grants.values())


# --- what a reviewer looks for ----------------------------------------------------------------


def test_an_admin_may_read_everything_and_has_every_scope() -> None:
    assert all(ROLES.may_read(Role.ADMIN, coordinate) for coordinate in ROLES.readers)
    assert all(grant.scopes <= ROLES.grants[Role.ADMIN].scopes for grant in ROLES.grants.values())


@pytest.mark.parametrize("role", sorted(OWN_CUSTOMER_ONLY))
def test_those_who_speak_for_one_customer_may_ask_only_what_concerns_one(role: Role) -> None:
    assert readable(role, "Query") == {"customer", "nextBestActions"}
    assert readable(role, "Mutation") == {"identify", "track", "setConsent", "recordOutcome"}
    assert "staff" not in ROLES.grants[role].policies


def test_a_browser_learns_of_a_customer_what_it_shows_and_nothing_else() -> None:
    assert readable(Role.VISITOR, "Customer") == {"id", "consents", "nextBestActions", "inbox"}


@pytest.mark.parametrize("role", sorted(OWN_CUSTOMER_ONLY))
def test_customers_do_not_see_how_they_are_decided_about(role: Role) -> None:
    inside = {"trace", "controlGroup", "propensity", "score", "lever", "eligibility", "whyNot"}
    for type_name in ("Decision", "Proposition", "Action", "Customer", "Touchpoint"):
        assert not readable(role, type_name) & inside, type_name
    for type_name in ("ActionTrace", "Segment", "JourneyDefinition", "ActionResult", "Feature"):
        assert not readable(role, type_name), type_name


def test_an_agent_explains_and_does_not_publish() -> None:
    assert "whyNot" in readable(Role.AGENT, "Customer")
    assert "trace" in readable(Role.AGENT, "Decision")
    assert not any(field.startswith("publish") for field in readable(Role.AGENT, "Mutation"))


def test_an_analyst_reads_results_and_cannot_tell_who_anybody_is() -> None:
    assert "actionResults" in readable(Role.ANALYST, "Query")
    assert not readable(Role.ANALYST, "Identity") | readable(Role.ANALYST, "Trait")
    assert not readable(Role.ANALYST, "Customer") & {"identities", "traits", "history"}
    assert not readable(Role.ANALYST, "CustomerEvent") & {"properties", "context"}
    assert "customers" not in readable(Role.ANALYST, "Query"), "a condition would tell traits"


def test_of_the_staff_exactly_those_look_customers_up_who_may_read_who_they_are() -> None:
    staff = {role: ROLES.grants[role] for role in set(Role) - OWN_CUSTOMER_ONLY}
    lookup = {role for role, grant in staff.items() if LOOKUP_POLICY in grant.policies}

    assert lookup == {role for role, grant in staff.items() if IDENTITIES in grant.scopes}
    assert lookup >= {role for role, grant in staff.items() if "customers:write" in grant.scopes}, (
        "who writes identities is answered with the id of whoever has them"
    )


def test_nobody_but_marketers_and_admins_publishes() -> None:
    for field in readable(Role.ADMIN, "Mutation"):
        if field.startswith("publish"):
            assert ROLES.readers[f"Mutation.{field}"] == {Role.MARKETER, Role.ADMIN}, field


def test_whoever_may_read_a_field_may_read_something_of_what_it_returns() -> None:
    schema = compose(read_subgraphs()).schema
    for coordinate, roles in ROLES.readers.items():
        type_name, _, field = coordinate.partition(".")
        type_ = schema.get_type(type_name)
        assert isinstance(type_, GraphQLObjectType)
        returned = get_named_type(type_.fields[field].type)
        if isinstance(returned, GraphQLObjectType):
            for role in roles:
                assert readable(role, returned.name), f"{role} reads {coordinate} in vain"


# --- the file and the marks in the schema -----------------------------------------------------

GRAPH = compose(read_subgraphs())


@pytest.mark.parametrize("role", Role)
def test_whatever_the_file_allows_a_role_the_services_let_it_have(role: Role) -> None:
    denied = Authorization.over(GRAPH, ROLES).denied(caller(role))

    for coordinate in ROLES.readers:
        if ROLES.may_read(role, coordinate):
            assert coordinate not in denied, (
                f"roles.yaml allows {role} {coordinate}, a mark does not"
            )


def test_everything_that_can_be_asked_of_the_root_asks_a_scope() -> None:
    for coordinate in ROLES.readers:
        if coordinate.startswith(("Query.", "Mutation.")):
            assert GRAPH.metadata.requirements[coordinate].scopes, f"{coordinate} asks no scope"


def test_every_scope_and_policy_that_is_asked_or_granted_is_both() -> None:
    requirements = GRAPH.metadata.requirements.values()
    admin = ROLES.grants[Role.ADMIN]

    scopes = {s for r in requirements for sets in r.scopes for s in sets}
    assert scopes | {operations.SCOPE, tokens.SCOPE} == admin.scopes, "asked beside the graph"
    policies = {p for r in requirements for sets in r.policies for p in sets}
    assert policies | {LOOKUP_POLICY} == admin.policies, "lookup is asked of arguments, not fields"


def test_what_some_readers_of_a_type_may_not_have_can_be_null() -> None:
    """Else denying one field would cost them the object it stands in."""
    for coordinate, roles in ROLES.readers.items():
        type_name, _, field = coordinate.partition(".")
        type_ = GRAPH.schema.get_type(type_name)
        assert isinstance(type_, GraphQLObjectType)
        others = {role for role in Role if readable(role, type_name)} - roles
        if others and type_name != "Mutation":
            assert not is_non_null_type(type_.fields[field].type), (
                f"{coordinate} is denied to {', '.join(sorted(others))}, and cannot be null"
            )


# --- the file ---------------------------------------------------------------------------------

SMALL = """
roles:
  agent: {scopes: [a, b], policies: [staff]}
readers:
  helpers: [agent, admin]
fields:
  Query: {customer: helpers, segments: [analyst]}
"""


def test_a_token_can_narrow_what_its_role_may_and_not_widen_it() -> None:
    roles = Roles.parse(SMALL)

    staff, nothing = frozenset({"staff"}), frozenset[str]()
    assert roles.resolve_grant(Role.AGENT, None) == (frozenset({"a", "b"}), staff)
    assert roles.resolve_grant(Role.AGENT, frozenset({"b", "z"})) == (frozenset({"b"}), staff)
    assert roles.resolve_grant(Role.AGENT, nothing) == (nothing, staff)
    assert roles.resolve_grant(Role.APP, None) == (nothing, nothing)


def test_a_field_is_read_by_those_named_or_in_the_group_named() -> None:
    roles = Roles.parse(SMALL)

    assert {role for role in Role if roles.may_read(role, "Query.customer")} == {
        Role.AGENT,
        Role.ADMIN,
    }
    assert {role for role in Role if roles.may_read(role, "Query.segments")} == {Role.ANALYST}


def test_a_field_the_file_does_not_name_is_refused_to_all() -> None:
    roles = Roles.parse(SMALL)

    assert not any(roles.may_read(role, "Query.secrets") for role in Role)
    assert not any(roles.may_read(role, "Mutation.customer") for role in Role)


@pytest.mark.parametrize(
    "text",
    [
        "fields: {}",
        "roles: {}\nfields: {Query: {a: [owner]}}",
        "roles: {}\nfields: {Query: {a: helpers}}",
        "roles: {}\nfields: {Query: [a]}",
        "roles: {}\nfields: {Query: {a: 1}}",
        "roles: {owner: {scopes: [], policies: []}}\nfields: {}",
        "roles: {agent: {scopes: [a]}}\nfields: {}",
        "roles: {agent: {scopes: ab, policies: []}}\nfields: {}",
        "roles: {agent: {scopes: [1], policies: []}}\nfields: {}",
        "[" * 5_000,
        "- a",
        "{",
    ],
)
def test_a_file_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(InvalidRoles):
        Roles.parse(text)


@pytest.mark.parametrize(
    "line",
    [
        "  Query: {}",
        "  Customer: {name: [admin], id: [agent], name: [visitor]}",
        "fields: {}",
    ],
)
def test_what_is_said_twice_is_refused_as_nobody_could_tell_which_holds(line: str) -> None:
    twice = line.strip().partition(":")[0] if "name" not in line else "name"

    with pytest.raises(InvalidRoles, match=f"line 8, .*{twice!r} is here a second time"):
        Roles.parse(f"{SMALL}{line}\n")


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "roles.yaml"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(InvalidRoles, match=r"roles\.yaml' can't be read"):
        Roles.read(file)
