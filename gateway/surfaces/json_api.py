"""Endpoints for servers: JSON in, JSON out, for the API keys that have a scope."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.access.audit.audit_log import AuditEntry, AuditLog
from gateway.access.authentication.authenticator import Authenticator
from gateway.access.limits.load_shedding import Admission, WorkClass, Workload
from gateway.access.limits.rate_limits import caller_key
from services.chassis.bodies import BodyLimits, read_body, read_headers
from services.chassis.errors import RaakError
from services.chassis.graphql_http.response import refusal_headers
from services.chassis.principal import (
    SUBJECT_OF_KEYS,
    Forbidden,
    NotAuthenticated,
    Principal,
)
from services.chassis.strict_json import parse_strict_json

JSON = dict[str, Any]
KEY_HINT = "Send `X-API-Key: raak_…`; `raak keys create` makes a key."


@dataclass(slots=True)
class AuditedCall:
    """A call of a server, as the audit log describes it."""

    operation: str
    """The path that was called."""
    details: JSON = field(default_factory=dict)
    """What an endpoint adds while it works."""

    kind: ClassVar[str] = "call"
    changes: ClassVar[bool] = True

    @property
    def members(self) -> JSON:
        return {"kind": self.kind, "operation": self.operation, **self.details}


CallHandler = Callable[[Principal, Any, AuditedCall], Awaitable[JSON]]
"""Answers a caller's JSON with JSON, and adds to what the audit log says; raises RaakError."""


@dataclass(frozen=True, slots=True)
class JsonEndpoint:
    """One path, for POST by the API keys that have a scope. Each call counts for the caller's
    limits, and is recorded in the audit log as a change.
    """

    path: str
    scope: str
    handler: CallHandler
    authenticator: Authenticator
    audit: AuditLog
    admission: Admission
    limits: BodyLimits

    def route(self) -> Route:
        return Route(self.path, self._respond, methods=["POST"])

    async def _respond(self, request: Request) -> Response:
        try:
            answer = await self._answer(request)
        except RaakError as refusal:
            return format_refusal(refusal)
        headers = {"Cache-Control": "no-store"}
        return Response(orjson.dumps(answer), headers=headers, media_type="application/json")

    async def _answer(self, request: Request) -> JSON:
        headers = read_headers(request.scope)
        caller = await authenticate_key(self.authenticator, headers)
        who, call = caller_key(caller), AuditedCall(self.path)
        self.admission.arrive(who)
        entry = AuditEntry(self.audit, caller, call, ())
        try:
            check_scope(caller, self.scope)
            value = parse_strict_json(await read_body(request.receive, headers, self.limits))
            await entry.begin()
            with self.admission.enter(who, Workload(WorkClass.REPORTING, self.path)):
                answer = await self.handler(caller, value, call)
        except BaseException as error:  # even what was cancelled may have been done
            entry.record_failure(error)
            raise
        entry.record_answer({})
        return answer


async def authenticate_key(authenticator: Authenticator, headers: dict[str, str]) -> Principal:
    """The caller with an API key; raises NotAuthenticated or KeysUnknown."""
    caller = await authenticator.authenticate(headers)
    if caller is None:
        raise NotAuthenticated("The request carries no API key.", hint=KEY_HINT)
    if not caller.subject.startswith(SUBJECT_OF_KEYS):
        raise NotAuthenticated("A token is for the graph only.", hint=KEY_HINT)
    return caller


def check_scope(caller: Principal, scope: str) -> None:
    """Raise Forbidden for a caller that lacks a scope."""
    if scope not in caller.scopes:
        raise Forbidden(
            f"The API key lacks the scope {scope}.",
            hint=f"Make one that has it: `raak keys create NAME --role admin --scope {scope}`.",
        )


def format_refusal(refusal: RaakError) -> Response:
    """A refusal over plain HTTP."""
    headers = {name.decode(): value.decode() for name, value in refusal_headers(refusal)}
    # A sender that is cut off does not see the refusal, and sends the same again.
    headers.pop("connection", None)
    body = orjson.dumps({"success": False, "error": refusal.as_json()})
    return Response(body, refusal.status, headers, "application/json")
