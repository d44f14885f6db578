"""The committed SDL is what the code says, and a change that breaks clients is not made unseen."""

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.supergraph import CompositionError, read_supergraph
from infra.schema import BreakingSchemaChange, SchemaFiles, StaleSchema, UnreadableSchema

USERS = """
extend schema @link(url: "https://specs.apollo.dev/federation/v2.11", import: ["@key"])
type Query { me(old: Boolean): User users: [User!] user(by: By!): User }
input By { id: ID name: String }
type User @key(fields: "id") { id: ID! name: String! role: Role }
enum Role { ADMIN GUEST }
"""


@pytest.fixture
def code(tmp_path: Path) -> SchemaFiles:
    """One subgraph, written."""
    written = SchemaFiles({"users": USERS}, tmp_path)
    written.write()
    return written


def changed(code: SchemaFiles, old: str, new: str) -> SchemaFiles:
    assert old in USERS
    return replace(code, subgraphs={"users": USERS.replace(old, new)})


def test_what_was_written_is_fresh(code: SchemaFiles) -> None:
    code.check()

    assert (code.folder / "subgraphs" / "users.graphql").read_text() == USERS
    assert "type Query {" in (code.folder / "schema.graphql").read_text()


def test_a_change_that_was_not_written_is_stale(code: SchemaFiles) -> None:
    added = changed(code, "name: String!", "name: String! age: Int")

    with pytest.raises(StaleSchema, match=r"subgraphs/users\.graphql, schema\.graphql"):
        added.check()

    assert added.write() == ["subgraphs/users.graphql", "schema.graphql"]
    added.check()


def test_a_directive_that_clients_do_not_see_makes_only_the_subgraph_stale(
    code: SchemaFiles,
) -> None:
    marked = changed(code, "name: String!", "name: String! @deprecated")
    keyed = changed(code, '@key(fields: "id")', '@key(fields: "id") @key(fields: "name")')

    assert keyed.find_stale() == ["subgraphs/users.graphql"]
    assert len(marked.find_stale()) == 2


def test_all_breaking_changes_are_listed_and_nothing_is_written(code: SchemaFiles) -> None:
    breaking = changed(code, "me(old: Boolean)", "me(old: Boolean!)")
    breaking = replace(
        breaking, subgraphs={"users": breaking.subgraphs["users"].replace("name: String!", "")}
    )

    with pytest.raises(BreakingSchemaChange, match="2 breaking changes"):
        breaking.check()
    with pytest.raises(BreakingSchemaChange, match="allow-breaking") as refused:
        breaking.write()

    assert "User.name" in refused.value.problem
    assert "Query.me(old:)" in refused.value.problem
    code.check()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("name: String!", "", "Field User.name was removed."),
        ("name: String!", "name: String", "User.name changed type from String! to String."),
        ("(old: Boolean)", "(old: Int)", "Query.me(old:) has changed type from Boolean to Int."),
        ("(old: Boolean)", "(old: Boolean, of: ID!)", "argument Query.me(of:) was added."),
        ("(old: Boolean)", "", "Argument Query.me(old:) was removed."),
        ("ADMIN GUEST", "ADMIN", "Enum value Role.GUEST was removed."),
        ("[User!]", "[User]", "Query.users changed type from [User!] to [User]."),
        ("input By {", "input By @oneOf {", "By became @oneOf: exactly one of its fields"),
    ],
)
def test_each_kind_of_breaking_change_is_named(
    code: SchemaFiles, old: str, new: str, said: str
) -> None:
    breaking = changed(code, old, new)

    with pytest.raises(BreakingSchemaChange) as refused:
        breaking.check()

    assert said in refused.value.problem


def test_what_a_removed_service_left_behind_is_stale_and_removed(code: SchemaFiles) -> None:
    left = code.folder / "subgraphs" / "gone.graphql"
    left.write_text("type Query { gone: ID }")

    with pytest.raises(StaleSchema, match=r"subgraphs/gone\.graphql"):
        code.check()

    assert code.write() == ["subgraphs/gone.graphql"]
    assert not left.exists()


@pytest.mark.parametrize("sdl", ["<<<<<<< HEAD", "type Query { a: Nope }"])
def test_a_public_schema_that_is_no_sdl_is_refused(code: SchemaFiles, sdl: str) -> None:
    (code.folder / "schema.graphql").write_text(sdl)

    with pytest.raises(UnreadableSchema, match=r"schema\.graphql can't be read"):
        code.check()


def test_a_breaking_change_is_written_when_it_is_allowed(code: SchemaFiles) -> None:
    breaking = changed(code, "name: String!", "")

    breaking.write(allow_breaking=True)

    breaking.check()


def test_a_dangerous_change_is_told_and_written(code: SchemaFiles) -> None:
    dangerous = changed(code, "ADMIN GUEST", "ADMIN GUEST ROBOT")

    assert dangerous.find_breaking_changes() == []
    assert len(dangerous.find_dangerous_changes()) == 1
    assert "ROBOT" in dangerous.find_dangerous_changes()[0]
    dangerous.write()


def test_subgraphs_that_do_not_compose_are_told_with_all_reasons(code: SchemaFiles) -> None:
    broken = changed(code, "[User!]", "[Nobody!]")

    with pytest.raises(CompositionError, match="Nobody"):
        broken.check()


def test_the_supergraph_for_other_routers_says_where_the_subgraphs_are() -> None:
    code = SchemaFiles({"profile": USERS, "journey": "type Mutation { forget: ID }"})

    read = read_supergraph(code.supergraph({"RAAK_GATEWAY_PROFILE_URL": "http://profile:8001"}))

    assert read.urls == {
        "profile": "http://profile:8001/graphql",
        "journey": "http://127.0.0.1:8003/graphql",
    }
