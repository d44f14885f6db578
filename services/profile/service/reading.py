"""JSON of any door, read into calls: limits, then the spec, one event at a time."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

import orjson

from services.chassis.errors import RaakError
from services.chassis.ids import new_id
from services.contracts.base import Json
from services.contracts.trust import RESERVED, ServerEvents
from services.contracts.words import SenderClass
from services.profile.domain.calls import Call, EventTooLarge, InvalidEvent, ServerEvent
from services.profile.domain.customer import DEFAULT_ROOM, Room
from services.profile.domain.spec import Reading, Subject, read_call
from services.profile.service.claims import ClaimVerifier
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

    def reading(self, sender: SenderClass, received_at: datetime, **shared: Json) -> Reading:
        """How events that somebody sent are read; `shared` is what their list says of all."""
        return Reading(
            received_at,
            self.future_tolerance,
            new_id,
            sender,
            verify=self.claims.verify,
            trust_write_keys=self.trust_write_keys,
            **shared,
        )

    def read(
        self,
        event: object,
        reading: Reading,
        kind: str | None = None,
        subject: Subject | None = None,
    ) -> Call:
        """Read one event; raises InvalidEvent or one of its kinds."""
        self._check(event)
        call = read_call(event, reading, kind, subject)
        if not self.server_events.may_send(call.sender, call.name):
            raise _not_believed(call)
        return call

    def _check(self, event: object) -> None:
        """Refuse what is too large, and what PostgreSQL could not hold."""
        try:
            text = orjson.dumps(event)
        except orjson.JSONEncodeError as error:
            raise InvalidEvent(
                f"The event cannot be written as JSON: {error}.",
                hint="Send text in valid Unicode, and whole numbers of at most 64 bits.",
            ) from None
        if len(text) > self.largest_event_bytes:
            raise EventTooLarge(
                f"The event has {len(text)} bytes as JSON, over the limit of"
                f" {self.largest_event_bytes}.",
                hint="Send less with it; large things belong in a store, and their address here.",
            )
        if b"\\u0000" in text and _NUL.search(text):
            raise InvalidEvent("The event holds a NUL character.", hint="Leave it out.")

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


def _message_id(event: object) -> str | None:
    """The id the sender will look for, if he gave one."""
    given = event.get("messageId") if isinstance(event, dict) else None
    return given[:100] if isinstance(given, str) else None
