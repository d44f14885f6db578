"""The graph behind its guards: who is let through, with what, and what the services hear of it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from gateway.access.limits.load_shedding import Admission, LoadShedder, Priorities
from gateway.access.limits.operation_limits import LimitExceeded
from gateway.access.limits.rate_limits import RateLimited, RateLimiter, RateLimits, caller_key
from gateway.access.limits.registered_operations import OperationRegistry
from gateway.pipeline.authorize import IntrospectionOff, OperationNotRegistered
from gateway.pipeline.parse import UnreadableDocument
from gateway.pipeline.pipeline import RequestPipeline
from gateway.pipeline.request import GraphQLRequest
from gateway.supergraph import OperationRefused, compose
from services.chassis.errors import InvalidCustomerRef, UnknownOperation
from services.chassis.graphql_http.request import MutationNotAllowed
from services.chassis.principal import LOOKUP_POLICY, Forbidden, NotAuthenticated, Principal
from services.contracts.enums import Role
from services.contracts.identity import derive_customer_id
from tests.unit.gateway.small_graph import ANN, SDLS, InProcess, graph

AGENT = Principal(Role.AGENT, "agnes", policies=frozenset({LOOKUP_POLICY}))
ANALYST = Principal(Role.ANALYST, "alan")
MARKETER = Principal(Role.MARKETER, "mo")
APP = Principal(Role.APP, "app", tuple(sorted(ANN.items())))
BOB = {"type": "email", "value": "bob@example.com"}
SCHEMA = "{ __schema { queryType { name } } }"


async def answer(
    query: str,
    caller: Principal | None = AGENT,
    *,
    transport: InProcess | None = None,
    is_open: bool = False,
    name: str | None = None,
    **variables: Any,
) -> dict[str, Any]:
    front = graph(transport or InProcess(), is_open=is_open)
    asked = GraphQLRequest(query, name, variables)
    return await front.answer(front.prepare(asked, caller), asked, caller)


async def test_an_agent_gets_what_it_asks_from_all_services() -> None:
    query = '{ customer(ref: {id: "1"}) { name nextBestActions } segments }'

    assert await answer(query) == {
        "data": {
            "customer": {"name": "Ann", "nextBestActions": ["jazz weeks"]},
            "segments": ["loyal"],
        }
    }


async def test_a_service_that_is_down_costs_its_own_fields() -> None:
    query = '{ customer(ref: {id: "1"}) { name nextBestActions } segments }'

    told = await answer(query, transport=InProcess(down={"decision"}))

    assert told["data"]["customer"] == {"name": "Ann", "nextBestActions": None}
    [error] = told["errors"]
    assert error["path"] == ["customer", "nextBestActions"]
    assert error["extensions"]["code"] == "SUBGRAPH_UNAVAILABLE"


# --- who may come in --------------------------------------------------------------------------


async def test_without_a_token_nothing_is_even_read_in_production() -> None:
    for query in ("{ segments }", "{ __typename }", "{ this is no GraphQL"):
        with pytest.raises(NotAuthenticated, match="carries no token"):
            await answer(query, None)


async def test_in_development_the_schema_is_told_to_anybody_and_nothing_else() -> None:
    told = await answer(SCHEMA, None, is_open=True)

    assert told == {"data": {"__schema": {"queryType": {"name": "Query"}}}}
    for query in (
        "{ segments }",
        "{ __typename segments }",
        "{ ...F } fragment F on Query { segments }",
    ):
        with pytest.raises(NotAuthenticated):
            await answer(query, None, is_open=True)


async def test_in_production_the_schema_is_told_to_nobody() -> None:
    for query in (SCHEMA, '{ ... { a: __type(name: "Query") { name } } }'):
        with pytest.raises(IntrospectionOff):
            await answer(query, Principal(Role.ADMIN, "root"))


async def test_a_mutation_is_refused_where_nothing_may_change() -> None:
    front = graph(InProcess())

    with pytest.raises(MutationNotAllowed):
        front.prepare(
            GraphQLRequest('mutation { publishSegment(yaml: "") }', may_change=False), AGENT
        )


# --- what is read -----------------------------------------------------------------------------


async def test_a_document_that_is_no_graphql_is_told_where() -> None:
    with pytest.raises(UnreadableDocument, match="line 2, column 3"):
        await answer("{\n  %\n}")


@pytest.mark.parametrize("name", [None, "C"])
async def test_it_must_be_clear_which_operation_is_meant(name: str | None) -> None:
    with pytest.raises(UnknownOperation, match="'A', 'B'"):
        await answer("query A { segments } query B { segments }", name=name)


async def test_a_field_that_is_not_there_is_refused_with_its_place() -> None:
    with pytest.raises(OperationRefused, match="segmets"):
        await answer("{ segmets }")


async def test_of_many_operations_only_the_one_meant_is_measured() -> None:
    aliases = " ".join(f"a{n}: segments" for n in range(100))
    two = f"query Small {{ segments }} query Large {{ {aliases} }}"

    assert await answer(two, name="Small") == {"data": {"segments": ["loyal"]}}
    with pytest.raises(LimitExceeded):
        await answer(two, name="Large")


async def test_an_operation_is_read_once() -> None:
    front = graph(InProcess())

    first = front.prepare(GraphQLRequest("{ segments }"), AGENT)

    assert front.prepare(GraphQLRequest("{ segments }"), ANALYST) is first


async def test_what_variables_have_planned_anew_is_charged_and_what_is_planned_is_not() -> None:
    charged: list[Any] = []

    class Noting(Admission):
        @contextmanager
        def charge_planning(self, who: Any) -> Iterator[None]:
            charged.append(who)
            yield

    limits = RateLimiter(RateLimits())
    front = replace(graph(InProcess()), admission=Noting(limits, LoadShedder(), Priorities.read()))
    text = "query A($a: Boolean!) { segments @include(if: $a) again: segments }"

    for included in (True, False, True, False):
        asked = GraphQLRequest(text, variables={"a": included})
        await front.answer(front.prepare(asked, AGENT), asked, AGENT)

    assert charged == [caller_key(AGENT)] * 3  # it is read once, and planned for each of two


@pytest.mark.parametrize("n", [101, 1_000_000])
async def test_a_page_asked_by_a_variable_is_measured_too(n: int) -> None:
    query = 'query($n: Int!) { customer(ref: {id: "1"}) { events(first: $n) } }'

    with pytest.raises(LimitExceeded, match=f"Customer.events is asked for first: {n}"):
        await answer(query, n=n)


async def test_a_page_size_that_stands_as_default_is_measured_too() -> None:
    query = 'query($n: Int = 500) { customer(ref: {id: "1"}) { events(first: $n) } }'

    with pytest.raises(LimitExceeded, match="500"):
        await answer(query)
    assert (await answer(query, n=1))["data"]["customer"]["events"] == ["looked"]


async def test_variables_that_do_not_fit_are_refused_before_anybody_is_asked() -> None:
    transport = InProcess()
    query = 'query($n: Int!) { customer(ref: {id: "1"}) { events(first: $n) } }'

    told = await answer(query, transport=transport, n="many")

    assert "data" not in told
    assert told["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
    assert transport.asked == []


# --- roles ------------------------------------------------------------------------------------

PRIVACY = Principal(Role.PRIVACY, "paul")
DENIED = "UNAUTHORIZED_FIELD_OR_TYPE"


async def test_a_field_a_role_may_not_read_is_null_and_an_error_and_the_rest_is_answered() -> None:
    transport = InProcess()
    query = '{ n: __typename customer(ref: {id: "1"}) { name } a: action(key: "x") }'

    told = await answer(query, PRIVACY, transport=transport)

    assert list(told["data"].items()) == [
        ("n", "Query"),
        ("customer", {"name": "Ann"}),
        ("a", None),
    ]
    [error] = told["errors"]
    assert error["path"] == ["a"]
    assert error["extensions"]["code"] == DENIED
    assert "'Query.action' is denied" in error["message"]
    assert transport.asked == ["profile"]


async def test_a_field_deep_inside_is_denied_like_one_of_the_root() -> None:
    transport = InProcess()

    told = await answer(
        '{ customer(ref: {id: "1"}) { id called: name } }', ANALYST, transport=transport
    )

    assert told["data"] == {"customer": None}, "a name may not be null"
    assert [error["path"] for error in told["errors"]] == [["customer", "called"]]
    assert told["errors"][0]["extensions"]["code"] == DENIED


@pytest.mark.parametrize(
    "query",
    [
        'query($k: ID!) { customer(ref: {id: "1"}) { name } action(key: $k) }',
        'query($k: ID!) { customer(ref: {id: "1"}) { name } ...F } '
        "fragment F on Query { ... { action(key: $k) } }",
        'query($k: ID!, $yes: Boolean = true) { customer(ref: {id: "1"}) { name } '
        "action(key: $k) @include(if: $yes) @skip(if: false) }",
    ],
)
async def test_however_it_is_written_a_denied_field_is_not_asked(query: str) -> None:
    transport = InProcess()

    told = await answer(query, PRIVACY, transport=transport, k="x")

    assert told["data"] == {"customer": {"name": "Ann"}, "action": None}
    assert transport.asked == ["profile"]


async def test_a_denied_field_that_is_left_out_is_no_error() -> None:
    query = '{ customer(ref: {id: "1"}) { name } action(key: "x") @skip(if: true) }'

    assert await answer(query, PRIVACY) == {"data": {"customer": {"name": "Ann"}}}


async def test_where_null_may_not_stand_it_takes_what_it_stands_in() -> None:
    told = await answer('{ customer(ref: {id: "1"}) { name } segments }', PRIVACY)

    assert told["data"] is None
    assert [error["path"] for error in told["errors"]] == [["segments"]]


async def test_callers_of_one_class_share_what_they_are_denied_and_others_do_not() -> None:
    front = graph(InProcess())
    query = '{ customer(ref: {id: "1"}) { id } action(key: "x") }'

    for caller, may in [(AGENT, True), (PRIVACY, False), (AGENT, True), (PRIVACY, False)]:
        asked = GraphQLRequest(query)
        told = await front.answer(front.prepare(asked, caller), asked, caller)
        assert (told["data"]["action"] is not None) is may


async def test_of_a_mutation_nothing_is_done_when_a_part_is_denied() -> None:
    transport = InProcess()
    query = (
        'mutation { track(input: {customer: {id: "1"}, event: "e"}) p: publishSegment(yaml: "") }'
    )

    told = await answer(query, transport=transport)

    assert told["data"] is None
    [error] = told["errors"]
    assert error["path"] == ["p"]
    assert error["extensions"]["code"] == DENIED
    assert "these may: marketer, admin" in error["extensions"]["hint"]
    assert transport.asked == []


async def test_a_denied_part_that_is_left_out_stops_no_mutation() -> None:
    transport = InProcess()
    query = """mutation($all: Boolean!) {
      track(input: {customer: {id: "1"}, event: "e"})
      publishSegment(yaml: "") @include(if: $all)
    }"""

    assert await answer(query, transport=transport, all=False) == {"data": {"track": "e"}}
    assert (await answer(query, all=True))["data"] is None
    assert "data" not in await answer(query, all="yes")


# --- registered documents ---------------------------------------------------------------------


async def registered_only(*texts: str, **admission: Any) -> RequestPipeline:
    registry = OperationRegistry()
    await registry.adopt(texts)
    return replace(graph(InProcess()), registry=registry, trusted_only=True, **admission)


async def test_where_only_registered_documents_are_answered_others_are_refused() -> None:
    front = await registered_only("{ segments }")

    assert front.prepare(GraphQLRequest("{ segments }"), AGENT)
    for text in ("{ segments segments }", "{ s: segments }", "{ this is no GraphQL", ""):
        with pytest.raises(OperationNotRegistered):
            front.prepare(GraphQLRequest(text), AGENT)


async def test_layout_and_type_names_make_no_other_document_and_it_is_answered_as_it_was_sent() -> (
    None
):
    front = await registered_only("query A {\n  customer(ref: {id: 1}) { id }\n}\n")
    request = GraphQLRequest(
        "query A { customer(ref: {id: 1}), { __typename, id } } # from the shop"
    )

    answer = await front.answer(front.prepare(request, AGENT), request, AGENT)

    assert answer == {"data": {"customer": {"__typename": "Customer", "id": "1"}}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("query A { segments catalogue }", "The operation 'A' is registered with another text"),
        ("query A { segments catalogue }", "after the line `segments` yours has `catalogue`."),
        ("query A { segments { key } }", "after the line `query A {` yours has `segments {`."),
        ("query A($n: Int) { segments }", "yours begins with `query A($n: Int) {`."),
        ("query A { segments } query D { a }", "after the line `}` yours has `query D {`."),
        ("query E { segments }", "after the line `}` yours ends."),
        ("query A {", "Syntax Error"),
        ("query C { segments }", "No operation 'C' is registered."),
        ("{ segments }", "It names no operation"),
        ("{ s%s }" % (" s" * 3_000), "has 3003 tokens"),
    ],
)
async def test_a_refusal_says_what_sets_a_document_apart_and_how_to_publish_it(
    text: str, words: str
) -> None:
    front = await registered_only(
        "query A { segments }",
        "query B { catalogue }",
        "query E { segments } query F { catalogue }",
    )

    with pytest.raises(OperationNotRegistered, match=re.escape(words)) as refusal:
        front.prepare(GraphQLRequest(text), AGENT)

    assert "raak operations publish" in refusal.value.hint


async def test_a_refusal_quotes_nothing_but_what_was_sent() -> None:
    front = await registered_only("query A { segments action(key: 1) }")

    with pytest.raises(OperationNotRegistered) as refusal:
        front.prepare(GraphQLRequest("query A { segments }"), AGENT)

    assert "action" not in str(refusal.value)


async def test_a_document_is_compared_once_until_others_are_registered() -> None:
    now = [0.0]
    admission = Admission(
        RateLimiter(RateLimits(rate_per_s=1, burst=30), lambda: now[0]),
        LoadShedder(),
        Priorities.read(),
    )
    front = await registered_only("query A { segments }", admission=admission)
    request = GraphQLRequest("query A { other }")

    for _ in range(15):
        with pytest.raises(OperationNotRegistered):
            front.prepare(request, AGENT)
    with pytest.raises(OperationNotRegistered):
        front.prepare(GraphQLRequest("query A { another }"), AGENT)
    with pytest.raises(RateLimited):
        front.prepare(request, AGENT)
    now[0] += 60
    await front.registry.adopt([request.query])
    with pytest.raises(OperationRefused):
        front.prepare(request, AGENT)


async def test_what_was_compared_holds_until_others_are_registered() -> None:
    front = await registered_only("query A { segments }")
    request = GraphQLRequest("query B { segments, }")

    with pytest.raises(OperationNotRegistered):
        front.prepare(request, AGENT)
    await front.registry.adopt(["query B { segments }"])
    assert front.prepare(request, AGENT)
    await front.registry.adopt([])
    with pytest.raises(OperationNotRegistered):
        front.prepare(request, AGENT)


async def test_registered_documents_are_read_ahead() -> None:
    registry = OperationRegistry()
    front = replace(graph(InProcess()), registry=registry, trusted_only=True)
    await registry.adopt(["query A { segments }"])

    await registry.plan_all(front.operations.get)

    assert front.operations.keys() == [("query A { segments }", "A")]
    assert front.prepare(GraphQLRequest("query A { segments }"), AGENT) is not None


# --- another schema ---------------------------------------------------------------------------


async def test_another_supergraph_makes_another_graph_that_remembers_nothing_of_the_first() -> None:
    first = graph(InProcess())
    known = first.operations.get("{ segments }", None)

    second = replace(first, supergraph=compose({"profile": SDLS["profile"]}))

    assert second.operations.get("{ segments }", None) is not known
    assert first.operations.get("{ segments }", None) is known
    with pytest.raises(OperationRefused):
        second.operations.get('{ action(key: "x") }', None)


# --- the caller's own customer ----------------------------------------------------------------


async def test_an_app_reaches_its_own_customer() -> None:
    query = "query($r: CustomerRef!) { customer(ref: $r) { name } }"

    assert (await answer(query, APP, r={"identity": ANN}))["data"]["customer"] == {"name": "Ann"}


async def test_a_visitor_may_be_asked_for_by_the_id_their_identity_gives() -> None:
    device = {"type": "device", "value": "d-1"}
    visitor = Principal(Role.VISITOR, "shop", tuple(sorted(device.items())))
    own = str(derive_customer_id("device", "d-1"))
    query = "query($id: ID!) { customer(ref: {id: $id}) { id } }"

    assert (await answer(query, visitor, id=own))["data"]["customer"] == {"id": "1"}
    with pytest.raises(Forbidden):
        await answer(query, visitor, id=str(derive_customer_id("device", "d-2")))


ANNS = 'identity: {type: "email", value: "ann@example.com"}'
BOBS = 'identity: {type: "email", value: "bob@example.com"}'


BY_EMAIL: list[tuple[str, dict[str, Any]]] = [
    (f"{{ customer(ref: {{{BOBS}}}) {{ name }} }}", {}),
    (f"{{ a: customer(ref: {{{ANNS}}}) {{ name }} b: customer(ref: {{{BOBS}}}) {{ id }} }}", {}),
    (f"{{ ...F }} fragment F on Query {{ customer(ref: {{{BOBS}}}) {{ name }} }}", {}),
    (f"{{ ... on Query {{ ... {{ nextBestActions(customer: {{{BOBS}}}) }} }} }}", {}),
    ("query($r: CustomerRef!) { customer(ref: $r) { name } }", {"r": {"identity": BOB}}),
    ("query($i: IdentityInput!) { customer(ref: {identity: $i}) { name } }", {"i": BOB}),
    (
        'query($v: String!) { customer(ref: {identity: {type: "email", value: $v}}) { id } }',
        {"v": "bob@example.com"},
    ),
    (f"query($r: CustomerRef! = {{{BOBS}}}) {{ customer(ref: $r) {{ name }} }}", {}),
    (
        "mutation($t: TrackInput!) { track(input: $t) }",
        {"t": {"customer": {"identity": BOB}, "event": "e"}},
    ),
    (f'mutation {{ track(input: {{customer: {{{BOBS}}}, event: "e"}}) }}', {}),
]


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        *BY_EMAIL,
        ('{ customer(ref: {id: "1"}) { name } }', {}),
        ("query($r: CustomerRef!) { customer(ref: $r) { name } }", {"r": {"id": 1}}),
    ],
)
async def test_an_app_reaches_no_other_customer_however_it_asks(
    query: str, variables: dict[str, Any]
) -> None:
    transport = InProcess()

    with pytest.raises(Forbidden, match="own customer only"):
        await answer(query, APP, transport=transport, **variables)

    assert transport.asked == []


BY_VARIABLE = "query($r: CustomerRef!) { customer(ref: $r) { name } }"
BY_INPUT = "mutation($t: TrackInput!) { track(input: $t) }"


@pytest.mark.parametrize("caller", [APP, AGENT])
@pytest.mark.parametrize(
    ("query", "variables", "place"),
    [
        (f'{{ customer(ref: {{id: "1", {ANNS}}}) {{ name }} }}', {}, "Query.customer(ref:)"),
        ("{ customer(ref: {}) { name } }", {}, "Query.customer(ref:)"),
        ("{ customer(ref: {id: null}) { name } }", {}, "Query.customer(ref:)"),
        (
            f"query($i: ID!) {{ customer(ref: {{id: $i, {ANNS}}}) {{ name }} }}",
            {"i": "1"},
            "Query.customer(ref:)",
        ),
        ('mutation { track(input: {customer: {}, event: "e"}) }', {}, "Mutation.track(input:)"),
        (BY_VARIABLE, {"r": {}}, "$r"),
        (BY_VARIABLE, {"r": {"id": "1", "identity": ANN}}, "$r"),
        (BY_VARIABLE, {"r": {"id": None}}, "$r"),
        (BY_INPUT, {"t": {"customer": {}, "event": "e"}}, "$t"),
    ],
)
async def test_a_customer_that_is_named_twice_or_not_at_all_is_refused_by_place_value_and_remedy(
    query: str, variables: dict[str, Any], place: str, caller: Principal
) -> None:
    transport = InProcess()

    with pytest.raises(InvalidCustomerRef) as refused:
        await answer(query, caller, transport=transport, **variables)

    assert refused.value.problem.startswith(f"{place} names a customer by ")
    assert "exactly one" in refused.value.hint
    assert transport.asked == []


async def test_a_reference_of_another_shape_is_left_to_execution_which_says_how() -> None:
    shapes: list[Any] = ["1", [], {"name": "Ann"}, {"identity": {"type": "email"}}]
    for wrong in shapes:
        refused = await answer(BY_VARIABLE, r=wrong)
        assert refused["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


async def test_a_default_that_is_overridden_by_the_own_customer_is_fine() -> None:
    query = f"query($r: CustomerRef! = {{{BOBS}}}) {{ customer(ref: $r) {{ name }} }}"

    assert (await answer(query, APP, r={"identity": ANN}))["data"]["customer"] == {"name": "Ann"}


# --- who is known by an address ---------------------------------------------------------------


@pytest.mark.parametrize(("query", "variables"), BY_EMAIL)
async def test_who_may_not_look_customers_up_names_none_by_an_address_however_it_asks(
    query: str, variables: dict[str, Any]
) -> None:
    transport = InProcess()

    with pytest.raises(Forbidden, match="'marketer' may not name a customer by email"):
        await answer(query, MARKETER, transport=transport, **variables)

    assert transport.asked == []


async def test_who_may_not_look_customers_up_names_them_by_id_or_browser() -> None:
    query = "query($r: CustomerRef!) { customer(ref: $r) { name } }"

    for named in ({"id": "1"}, {"identity": {"type": "device", "value": "d-1"}}):
        assert (await answer(query, MARKETER, r=named))["data"]["customer"] == {"name": "Ann"}
    assert (await answer(query, r={"identity": BOB}))["data"]["customer"]
