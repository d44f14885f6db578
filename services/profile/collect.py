"""The collect endpoint: Segment's HTTP calls from the gateway, answered after the commit."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from operator import attrgetter
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from services.chassis.bodies import BodyTooLarge, json_in, parse_json
from services.chassis.clock import Clock
from services.chassis.database import Database
from services.chassis.errors import RaakError
from services.chassis.principal import Forbidden, Principal, ServiceTokenVerifier
from services.contracts.enums import Role, SenderClass
from services.profile.domain.calls import Call, InvalidEvent
from services.profile.domain.event_fields import read_sent_at
from services.profile.domain.spec import CALLS, OWN_MESSAGE_ID
from services.profile.service.call_reader import CallReader, Rejected
from services.profile.service.recording import RecordedCall, record_apart
from services.profile.service.segment_cache import SegmentCache

_position = attrgetter("position")

SENDERS = frozenset({Role.ADMIN, Role.APP})


class CollectBodyTooLarge(BodyTooLarge, code="PROFILE_BODY_TOO_LARGE"):
    """A request to the collect endpoint is larger than it may be."""


class InvalidBody(RaakError, code="PROFILE_INVALID_BODY"):
    """A body that is not JSON, or not the JSON of this call."""


class UnknownCall(RaakError, code="PROFILE_UNKNOWN_CALL", status=404):
    """There is no such call in the spec."""


@dataclass(frozen=True, slots=True)
class Collector:
    database: Database
    cache: SegmentCache
    reader: CallReader
    verifier: ServiceTokenVerifier
    clock: Clock
    largest_body_bytes: int

    def router(self) -> APIRouter:
        router = APIRouter()
        router.add_api_route("/collect/v1/{call}", self.answer, methods=["POST"])
        return router

    async def answer(self, call: str, request: Request) -> Response:
        """Answer one request; raises RaakError if nothing of it can be read."""
        principal = self.verifier.principal(request.headers.get("authorization"))
        _check_sender(principal)
        if call not in CALLS and call != "batch":
            raise UnknownCall(
                f"There is no call {call!r}.", hint=f"Use one of {', '.join(CALLS)}, batch."
            )
        body = await self._read_body(request)
        value = read_json(json_in(body, request.headers.get("content-type", "")))
        status, answer = await self.record(principal.sender_class, call, value, self.clock())
        return Response(orjson.dumps(answer), status, media_type="application/json")

    async def record(
        self, sender: SenderClass, call: str, value: object, now: datetime
    ) -> tuple[int, dict[str, Any]]:
        """Record the calls of a request; gives the status and the body of the answer."""
        calls, rejected = (
            self._read_batch(sender, value, now)
            if call == "batch"
            else self._read_one(sender, call, value, now)
        )
        async with self.database.transaction() as connection:
            results = await record_apart(
                connection, self.cache, calls, now, self.reader.customer_limits
            )
        recorded = [result for result in results if isinstance(result, RecordedCall)]
        ignored = _find_errors(calls, [getattr(one, "ignored", None) for one in results], rejected)
        rejected = sorted([*rejected, *_find_errors(calls, results, rejected)], key=_position)
        duplicates = sum(one.is_duplicate for one in recorded)
        answer = {
            "success": bool(recorded) or not rejected,
            "accepted": len(recorded) - duplicates,
            "duplicates": duplicates,
            "rejected": [one.as_json() for one in rejected],
        }
        if ignored:
            answer["ignored"] = [one.as_json() for one in ignored]
        status = rejected[0].error.status if rejected and call != "batch" else 200
        return status, answer

    def _read_one(
        self, sender: SenderClass, call: str, value: object, now: datetime
    ) -> tuple[list[Call], list[Rejected]]:
        try:
            return [self.reader.read(value, self.reader.open_batch(sender, now), call)], []
        except InvalidEvent as error:
            return [], [Rejected(0, None, error)]

    def _read_batch(
        self, sender: SenderClass, value: object, now: datetime
    ) -> tuple[list[Call], list[Rejected]]:
        events = value.get("batch") if isinstance(value, dict) else None
        if not isinstance(value, dict) or not isinstance(events, list):
            raise InvalidBody(
                "A batch is an object with a list of events under `batch`.",
                hint='Send {"batch": [{"type": "track", …}, …], "sentAt": "…"}.',
            )
        batch = self.reader.open_batch(
            sender,
            now,
            sent_at=read_sent_at(value.get("sentAt")),
            context=value.get("context"),
        )
        return self.reader.read_all(events, batch)

    async def _read_body(self, request: Request) -> bytes:
        announced = request.headers.get("content-length", "")
        if announced.isdigit() and int(announced) > self.largest_body_bytes:
            raise self._too_large(f"{announced} bytes")
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self.largest_body_bytes:
                raise self._too_large(f"more than {self.largest_body_bytes} bytes")
        return bytes(body)

    def _too_large(self, size: str) -> CollectBodyTooLarge:
        return CollectBodyTooLarge(
            f"The body has {size}, over the limit of {self.largest_body_bytes}.",
            hint="Send the events in smaller batches.",
        )


def _find_errors(
    calls: Sequence[Call], results: Sequence[object], unread: Sequence[Rejected]
) -> list[Rejected]:
    """The calls whose result is an error, by their positions among all events."""
    gaps = {one.position for one in unread}
    positions = (position for position in count() if position not in gaps)
    return [
        Rejected(position, _sent_message_id(call), result)
        for position, call, result in zip(positions, calls, results, strict=False)
        if isinstance(result, RaakError)
    ]


def _sent_message_id(call: Call) -> str | None:
    return None if call.message_id.startswith(OWN_MESSAGE_ID) else call.message_id[:100]


def _check_sender(principal: Principal) -> None:
    if principal.role not in SENDERS:
        raise Forbidden(
            f"The role {principal.role.value!r} may not send events in bulk.",
            hint="Use a write key at the gateway, or the mutations of the graph.",
        )


def read_json(text: bytes) -> Any:
    """A JSON value; raises InvalidBody with the position of what is wrong."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise InvalidBody(
            f"The body is not UTF-8: byte {error.start} is {text[error.start]:#04x}.",
            hint="Encode it as UTF-8.",
        ) from None
    try:
        return parse_json(text)
    except orjson.JSONDecodeError as error:
        raise InvalidBody(
            f"The body is not JSON: {error.msg} (line {error.lineno}, column {error.colno},"
            f" character {error.pos}).",
            hint="Send one JSON document.",
        ) from None
