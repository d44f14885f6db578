"""Roles: the reviewed file decides, and covers every field there is."""

import pytest
from graphql import GraphQLObjectType

from gateway.access.roles import InvalidRoles, Roles, read_permissions
from gateway.app import read_subgraphs
from gateway.supergraph import compose
from services.contracts.words import Role

ROOTS = ("Query", "Mutation")


def fields_of_the_graph() -> set[tuple[str, str]]:
    schema = compose(read_subgraphs()).schema
    roots = [schema.type_map[name] for name in ROOTS if name in schema.type_map]
    return {
        (root.name, field)
        for root in roots
        if isinstance(root, GraphQLObjectType)
        for field in root.fields
    }


def test_the_file_names_every_root_field_of_the_graph_and_no_other() -> None:
    assert Roles.read().fields == fields_of_the_graph()


def test_an_admin_may_ask_everything() -> None:
    roles = Roles.read()

    assert all(roles.may(Role.ADMIN, *field) for field in roles.fields)


@pytest.mark.parametrize("role", [Role.VISITOR, Role.APP])
def test_those_who_speak_for_one_customer_may_ask_only_what_concerns_one(role: Role) -> None:
    roles = Roles.read()

    assert {field for type_, field in roles.fields if roles.may(role, type_, field)} == {
        "customer",
        "nextBestActions",
        "identify",
        "track",
        "setConsent",
        "recordOutcome",
    }


def test_nobody_but_marketers_and_admins_publishes() -> None:
    roles = Roles.read()
    publishing = [field for _, field in roles.fields if field.startswith("publish")]

    for field in publishing:
        may = {role for role in Role if roles.may(role, "Mutation", field)}
        assert may == {Role.MARKETER, Role.ADMIN}, field


def test_a_field_the_file_does_not_name_is_refused_to_all() -> None:
    roles = Roles(read_permissions("Query: {customer: [agent]}"))

    assert not any(roles.may(role, "Query", "secrets") for role in Role)
    assert not any(roles.may(role, "Mutation", "customer") for role in Role)
    assert "No role may" in str(roles.refusal(Role.ADMIN, "Query", "secrets"))


def test_a_refusal_names_the_field_the_role_and_who_may() -> None:
    roles = Roles(read_permissions("Query: {dataMapping: [marketer, privacy]}"))

    refusal = roles.refusal(Role.AGENT, "Query", "dataMapping")

    assert refusal.code == "FORBIDDEN"
    assert "'agent' may not ask Query.dataMapping" in refusal.problem
    assert "marketer, privacy" in refusal.hint


@pytest.mark.parametrize("text", ["Query: {a: [owner]}", "Query: [a]", "Query: {a: 1}", "- a", "{"])
def test_a_file_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(InvalidRoles):
        read_permissions(text)
