"""The bulk door: Segment's HTTP spec, as the gateway hands it on. It answers after the commit."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from operator import attrgetter
from typing import Any, ClassVar

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from services.chassis.bodies import json_in, parse_json
from services.chassis.clock import Clock
from services.chassis.database import Database
from services.chassis.errors import RaakError
from services.chassis.principal import Forbidden, Principal, Verifier
from services.contracts.enums import Role, SenderClass
from services.profile.domain.calls import Call, InvalidEvent
from services.profile.domain.spec import CALLS, OWN_MESSAGE_ID, read_sent_at
from services.profile.service.call_reader import Reader, Rejected
from services.profile.service.recording import Taken, record_apart
from services.profile.service.segment_cache import Rulebooks

_position = attrgetter("position")

SENDERS = frozenset({Role.ADMIN, Role.APP})


class BodyTooLarge(RaakError):
    """A request carries more than one may."""

    code: ClassVar[str] = "PROFILE_BODY_TOO_LARGE"
    status = 413


class InvalidBody(RaakError):
    """A body that holds no JSON, or not the JSON of this call."""

    code: ClassVar[str] = "PROFILE_INVALID_BODY"


class UnknownCall(RaakError):
    """There is no such call in the spec."""

    code: ClassVar[str] = "PROFILE_UNKNOWN_CALL"
    status = 404


@dataclass(frozen=True, slots=True)
class Collector:
    """Takes in the calls of one process."""

    database: Database
    rulebooks: Rulebooks
    reader: Reader
    verifier: Verifier
    clock: Clock
    largest_body_bytes: int

    def router(self) -> APIRouter:
        """`POST /collect/v1/{call}`."""
        router = APIRouter()
        router.add_api_route("/collect/v1/{call}", self.answer, methods=["POST"])
        return router

    async def answer(self, call: str, request: Request) -> Response:
        """Take one request in; raises RaakError for one that cannot be taken at all."""
        principal = self.verifier.principal(request.headers.get("authorization"))
        _check_sender(principal)
        if call not in CALLS and call != "batch":
            raise UnknownCall(
                f"There is no call {call!r}.", hint=f"Use one of {', '.join(CALLS)}, batch."
            )
        body = await self._body(request)
        value = read_json(json_in(body, request.headers.get("content-type", "")))
        status, answer = await self.take(principal.sender_class, call, value, self.clock())
        return Response(orjson.dumps(answer), status, media_type="application/json")

    async def take(
        self, sender: SenderClass, call: str, value: object, now: datetime
    ) -> tuple[int, dict[str, Any]]:
        """Record what a request holds, and say what became of it."""
        calls, rejected = (
            self._batch(sender, value, now)
            if call == "batch"
            else self._one(sender, call, value, now)
        )
        async with self.database.transaction() as connection:
            recorded = await record_apart(connection, self.rulebooks, calls, now, self.reader.room)
        taken = [one for one in recorded if isinstance(one, Taken)]
        ignored = _refused(calls, [getattr(one, "ignored", None) for one in recorded], rejected)
        rejected = sorted([*rejected, *_refused(calls, recorded, rejected)], key=_position)
        duplicates = sum(one.duplicate for one in taken)
        answer = {
            "success": bool(taken) or not rejected,
            "accepted": len(taken) - duplicates,
            "duplicates": duplicates,
            "rejected": [one.as_json() for one in rejected],
        }
        if ignored:
            answer["ignored"] = [one.as_json() for one in ignored]
        status = rejected[0].error.status if rejected and call != "batch" else 200
        return status, answer

    def _one(
        self, sender: SenderClass, call: str, value: object, now: datetime
    ) -> tuple[list[Call], list[Rejected]]:
        try:
            return [self.reader.read(value, self.reader.reading(sender, now), call)], []
        except InvalidEvent as error:
            return [], [Rejected(0, None, error)]

    def _batch(
        self, sender: SenderClass, value: object, now: datetime
    ) -> tuple[list[Call], list[Rejected]]:
        events = value.get("batch") if isinstance(value, dict) else None
        if not isinstance(value, dict) or not isinstance(events, list):
            raise InvalidBody(
                "A batch is an object with a list of events under `batch`.",
                hint='Send {"batch": [{"type": "track", …}, …], "sentAt": "…"}.',
            )
        reading = self.reader.reading(
            sender,
            now,
            sent_at=read_sent_at(value.get("sentAt")),
            context=value.get("context"),
        )
        return self.reader.read_all(events, reading)

    async def _body(self, request: Request) -> bytes:
        """The body, read no further than the limit."""
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self.largest_body_bytes:
            raise self._too_large(f"{declared} bytes")
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self.largest_body_bytes:
                raise self._too_large(f"more than {self.largest_body_bytes} bytes")
        return bytes(body)

    def _too_large(self, size: str) -> BodyTooLarge:
        return BodyTooLarge(
            f"The body has {size}, over the limit of {self.largest_body_bytes}.",
            hint="Send the events in smaller batches.",
        )


def _refused(
    calls: Sequence[Call], recorded: Sequence[object], unread: Sequence[Rejected]
) -> list[Rejected]:
    """The calls with an error in their place, by their places among all events."""
    gaps = {one.position for one in unread}
    places = (place for place in count() if place not in gaps)
    return [
        Rejected(place, _message_id_of(call), one)
        for place, call, one in zip(places, calls, recorded, strict=False)
        if isinstance(one, RaakError)
    ]


def _message_id_of(call: Call) -> str | None:
    """The id the sender will look for, if it gave one."""
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
