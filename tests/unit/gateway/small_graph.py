"""Two small services for the gateway to stand before: what they know, and whom they answered."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import orjson
import strawberry
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.access.authentication.api_keys import ApiKeyCache
from gateway.access.authentication.authenticator import Authenticator
from gateway.access.authentication.caller_tokens import CallerTokens, issue_token
from gateway.access.authentication.service_tokens import ServiceTokens
from gateway.access.authentication.verification_keys import VerificationKey, VerificationKeys
from gateway.access.authorization.roles import Roles
from gateway.access.limits.operation_limits import OperationLimits
from gateway.access.limits.registered_operations import OperationRegistry
from gateway.graphql_http.endpoint import GraphQLOverHttp
from gateway.graphql_http.persisted_operations import PersistedOperations
from gateway.graphql_http.settings import EndpointSettings
from gateway.pipeline.pipeline import RequestPipeline
from gateway.supergraph import SubgraphResponse, SubgraphUnavailable, compose
from services.chassis.bodies import BodyLimits
from services.chassis.graphql import Schema
from services.contracts.enums import Role

KEY = Ed25519PrivateKey.generate()
ANN = {"type": "email", "value": "ann@example.com"}


@strawberry.input
class IdentityInput:
    type: str
    value: str


@strawberry.input(one_of=True)
class CustomerRef:
    id: strawberry.ID | None = strawberry.UNSET
    identity: IdentityInput | None = strawberry.UNSET


@strawberry.input
class TrackInput:
    customer: CustomerRef
    event: str


@strawberry.federation.type(keys=["id"], name="Customer")
class ProfilesCustomer:
    id: strawberry.ID
    name: str = "Ann"

    @strawberry.field
    def events(self, first: int = 20) -> list[str]:
        return ["looked"][:first]


@strawberry.type(name="Query")
class ProfilesQuery:
    @strawberry.field
    def customer(self, ref: CustomerRef) -> ProfilesCustomer | None:
        return ProfilesCustomer(id=strawberry.ID("1"))

    @strawberry.field
    def segments(self) -> list[str]:
        return ["loyal"]

    catalogue: list[str] | None = strawberry.federation.field(
        resolver=lambda: ["jazz"], tags=["cacheable"], graphql_type=list[str] | None
    )


@strawberry.type(name="Mutation")
class ProfilesMutation:
    @strawberry.mutation
    def track(self, input: TrackInput) -> str:
        return input.event

    @strawberry.mutation
    def publish_segment(self, yaml: str) -> str:
        return yaml


@strawberry.federation.type(keys=["id"], name="Customer")
class DecisionsCustomer:
    id: strawberry.ID

    @classmethod
    def resolve_reference(cls, id: str) -> "DecisionsCustomer":
        return cls(id=strawberry.ID(id))

    @strawberry.field
    def next_best_actions(self) -> list[str] | None:
        return ["jazz weeks"]


@strawberry.type(name="Query")
class DecisionsQuery:
    @strawberry.federation.field(tags=["not-idempotent"])  # type: ignore[untyped-decorator]
    def next_best_actions(self, customer: CustomerRef, limit: int = 3) -> list[str]:
        return ["jazz weeks"]

    @strawberry.field
    def action(self, key: strawberry.ID, where: str | None = None) -> str | None:
        return str(key)


SCHEMAS = {
    "profile": Schema(query=ProfilesQuery, mutation=ProfilesMutation, types=[ProfilesCustomer]),
    "decision": Schema(query=DecisionsQuery, types=[DecisionsCustomer]),
}
SDLS = {name: schema.as_str() for name, schema in SCHEMAS.items()}
ROLES_YAML = """
roles:
  visitor: {scopes: [], policies: []}
  app: {scopes: [], policies: []}
  agent: {scopes: [], policies: [staff, lookup]}
  marketer: {scopes: [], policies: [staff]}
  analyst: {scopes: [], policies: [staff]}
  privacy: {scopes: [], policies: [staff, lookup]}
  admin: {scopes: [], policies: [staff, lookup]}
readers:
  all: [visitor, app, agent, marketer, analyst, privacy, admin]
  business: [agent, marketer, analyst, admin]
fields:
  Query:
    customer: all
    segments: business
    catalogue: business
    nextBestActions: [visitor, app, agent, marketer, admin]
    action: business
  Mutation:
    track: [visitor, app, agent, admin]
    publishSegment: [marketer, admin]
  Customer:
    id: all
    name: [app, agent, marketer, privacy, admin]
    events: all
    nextBestActions: all
"""
ROLES = Roles.parse(ROLES_YAML)


@dataclass
class InProcess:
    """A transport that asks the schemas where they are; services in `down` don't answer."""

    asked: list[str] = field(default_factory=list)
    """The services asked, in order."""
    down: set[str] = field(default_factory=set)

    async def fetch(
        self, subgraph: str, body: bytes, headers: Any, *, is_idempotent: bool
    ) -> SubgraphResponse:
        self.asked.append(subgraph)
        if subgraph in self.down:
            raise SubgraphUnavailable(subgraph)
        request = orjson.loads(body)
        answer = await SCHEMAS[subgraph].answer(request["query"], request.get("variables"))
        assert "errors" not in answer, answer["errors"]
        return SubgraphResponse(200, orjson.dumps(answer))

    def stream(self, subgraph: str, body: bytes, headers: Any) -> Any:
        raise AssertionError("these services have no subscriptions")


def graph(
    transport: InProcess, *, is_open: bool = False, limits: OperationLimits | None = None
) -> RequestPipeline:
    supergraph = compose(SDLS)
    return RequestPipeline(
        supergraph=supergraph,
        transport=transport,
        service_tokens=ServiceTokens(KEY),
        roles=ROLES,
        limits=limits or OperationLimits(),
        registry=OperationRegistry(),
        is_open=is_open,
    )


def endpoint(
    transport: InProcess,
    *,
    is_open: bool = False,
    operations: PersistedOperations | None = None,
    served: Callable[[], RequestPipeline] | None = None,
    **settings: Any,
) -> GraphQLOverHttp:
    granted = ROLES.resolve_grant
    keys = VerificationKeys(VerificationKey.of(KEY.public_key()))
    callers = Authenticator(CallerTokens(keys, granted), ApiKeyCache("", granted))
    answering = graph(transport, is_open=is_open)
    body = BodyLimits(64 * 1024, "max_body_bytes", within_s=30)
    return GraphQLOverHttp(
        served or (lambda: answering),
        callers,
        operations or PersistedOperations(OperationRegistry()),
        replace(EndpointSettings(body, shows_explorer=is_open), **settings),
    )


def asking(app: Any) -> httpx.AsyncClient:
    """A client of an application in this process, with the token of an agent."""
    transport = httpx.ASGITransport(app=app)
    return httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=AGENT)


def the_error(response: httpx.Response) -> dict[str, Any]:
    """The only error of an answer that has no data."""
    answer = response.json()
    assert set(answer) == {"errors"}
    [error] = answer["errors"]
    assert error["extensions"]["hint"]
    return {"message": error["message"], "code": error["extensions"]["code"]}


def bearer(role: Role, customer: dict[str, str] | None = None) -> dict[str, str]:
    """The header of a caller."""
    return {"Authorization": f"Bearer {issue_token(KEY, role, 'tester', customer=customer)}"}


AGENT = bearer(Role.AGENT)
