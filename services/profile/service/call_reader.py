"""JSON of any door, read into calls: limits, then the spec, one event at a time."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

import orjson

from services.chassis.errors import RaakError
from services.chassis.ids import new_id
from services.contracts.base import DEEPEST_JSON, Json, is_deeper
from services.contracts.enums import SenderClass
from services.contracts.trust import RESERVED, ServerEvents
from services.profile.domain.calls import Call, EventTooLarge, InvalidEvent, ServerEvent
from services.profile.domain.customer import DEFAULT_ROOM, Room
from services.profile.domain.spec import Reading, Subject, read_call
from services.profile.service.signed_claims import ClaimVerifier
from services.profile.settings import ProfileSettings

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class Rejected(NamedTuple):
    """An event of a list that was not taken, and why."""

    position: int
    message_id: str | None
    error: RaakError

    def as_json(self) -> dict[str, Json]:
        """As the collect endpoint lists it."""
        return {"index": self.position, "messageId": self.message_id, **self.error.as_json()}


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads events within this installation's limits."""

    largest_event_bytes: int
    future_tolerance: timedelta
    server_events: ServerEvents = field(default_factory=ServerEvents)
    claims: ClaimVerifier = field(default_factory=ClaimVerifier)
    trust_write_keys: bool = False
    room: Room = DEFAULT_ROOM
    """How much may be known of one customer."""

    @classmethod
    def within(cls, settings: ProfileSettings) -> "Reader":
        """The reader the settings ask for."""
        return cls(
            settings.largest_event_bytes,
            timedelta(seconds=settings.future_tolerance_s),
            ServerEvents(settings.server_events),
            ClaimVerifier(settings.claim_secrets, timedelta(seconds=settings.longest_claim_s)),
            settings.trust_write_keys,
            settings.room,
        )

    def reading(
        self,
        sender: SenderClass,
        received_at: datetime,
        sent_at: datetime | None = None,
        context: Json = None,
    ) -> Reading:
        """How events that somebody sent are read; the last two are what their list says of all.

        A flaw of that context is one of each of its events.
        """
        reading = Reading(
            received_at,
            self.future_tolerance,
            new_id,
            sender,
            sent_at,
            verify=self.claims.verify,
            trust_write_keys=self.trust_write_keys,
        )
        if context is None or context == []:
            return reading
        try:
            if not isinstance(context, dict):
                raise InvalidEvent(
                    f"The batch's context is {context!r:.60}, not an object.",
                    hint="Send it as a JSON object.",
                )
            size = self._check(context, "batch's context", DEEPEST_JSON)
        except InvalidEvent as flaw:
            return reading._replace(flaw=flaw)
        return reading._replace(context=context, context_bytes=size)

    def read(
        self,
        event: object,
        reading: Reading,
        kind: str | None = None,
        subject: Subject | None = None,
    ) -> Call:
        """Read one event; raises InvalidEvent or one of its kinds."""
        if flaw := reading.flaw:
            raise type(flaw)(flaw.problem, hint=flaw.hint)
        self._check(event, "event", DEEPEST_JSON + 1, reading.context_bytes)
        call = read_call(event, reading, kind, subject)
        if not self.server_events.may_send(call.sender, call.name):
            raise _not_believed(call)
        return call

    def _check(self, value: object, what: str, levels: int, besides: int = 0) -> int:
        """Refuse what is too large or deep, and what PostgreSQL could not hold; gives the bytes.

        `besides` are bytes that count, too.
        """
        try:
            text = orjson.dumps(value)
        except orjson.JSONEncodeError as error:
            if is_deeper(value, levels):
                raise _too_deep(what) from None
            raise InvalidEvent(
                f"The {what} cannot be written as JSON: {error}.",
                hint="Send text in valid Unicode, and numbers of at most 64 bits.",
            ) from None
        if len(text) + besides > self.largest_event_bytes:
            raise EventTooLarge(
                f"The {what} has {len(text) + besides} bytes as JSON, over the limit of"
                f" {self.largest_event_bytes}.",
                hint="Send less with it; large things belong in a store, and their address here.",
            )
        if text.count(b"{") + text.count(b"[") > levels and is_deeper(value, levels):
            raise _too_deep(what)
        if b"\\u0000" in text and _NUL.search(text):
            raise InvalidEvent(f"The {what} holds a NUL character.", hint="Leave it out.")
        return len(text)

    def read_all(
        self, events: Iterable[object], reading: Reading
    ) -> tuple[list[Call], list[Rejected]]:
        """Read a list; one bad event costs itself and no other."""
        calls: list[Call] = []
        rejected: list[Rejected] = []
        for index, event in enumerate(events):
            try:
                calls.append(self.read(event, reading))
            except InvalidEvent as error:
                rejected.append(Rejected(index, _message_id(event), error))
        return calls, rejected


def _not_believed(call: Call) -> ServerEvent:
    if call.name.startswith(RESERVED):
        return ServerEvent(
            f"The event {call.name[:60]!r} is recorded by recordOutcome only.",
            hint=f"Report the outcome, or give your own event a name without {RESERVED!r}.",
        )
    return ServerEvent(
        f"The event {call.name[:60]!r} is believed from servers only.",
        hint="Send it from your server with an API key; RAAK_SERVER_EVENTS says which these are.",
    )


def _too_deep(what: str) -> InvalidEvent:
    return InvalidEvent(
        f"The {what} nests deeper than {DEEPEST_JSON} levels of lists and objects.",
        hint="Send it flatter.",
    )


def _message_id(event: object) -> str | None:
    """The id the sender will look for, if he gave one."""
    given = event.get("messageId") if isinstance(event, dict) else None
    return given[:100].encode(errors="replace").decode() if isinstance(given, str) else None
