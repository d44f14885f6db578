"""Reading JSON into calls, one event at a time: first the limits, then the Segment spec."""

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
from services.profile.domain.calls import (
    BatchContext,
    Call,
    EventTooLarge,
    InvalidEvent,
    ServerOnlyEvent,
)
from services.profile.domain.customer import DEFAULT_LIMITS, CustomerLimits
from services.profile.domain.spec import Subject, read_call
from services.profile.service.signed_claims import ClaimVerifier
from services.profile.settings import ProfileSettings

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class Rejected(NamedTuple):
    """An event of a list that was not recorded, and why."""

    position: int
    message_id: str | None
    error: RaakError

    def as_json(self) -> dict[str, Json]:
        return {"index": self.position, "messageId": self.message_id, **self.error.as_json()}


@dataclass(frozen=True, slots=True)
class CallReader:
    """Reads events within this installation's limits."""

    largest_event_bytes: int
    future_tolerance: timedelta
    server_events: ServerEvents = field(default_factory=ServerEvents)
    claims: ClaimVerifier = field(default_factory=ClaimVerifier)
    trust_write_keys: bool = False
    customer_limits: CustomerLimits = DEFAULT_LIMITS

    @classmethod
    def from_settings(cls, settings: ProfileSettings) -> "CallReader":
        return cls(
            settings.largest_event_bytes,
            timedelta(seconds=settings.future_tolerance_s),
            ServerEvents(settings.server_events),
            ClaimVerifier(settings.claim_secrets, timedelta(seconds=settings.longest_claim_s)),
            settings.trust_write_keys,
            settings.customer_limits,
        )

    def open_batch(
        self,
        sender: SenderClass,
        received_at: datetime,
        sent_at: datetime | None = None,
        context: Json = None,
    ) -> BatchContext:
        """What the events of one request share; the last two are fields of the request's body.

        What is wrong with its context is wrong with each of its events.
        """
        batch = BatchContext(
            received_at,
            self.future_tolerance,
            new_id,
            sender,
            sent_at,
            verify=self.claims.verify,
            trust_write_keys=self.trust_write_keys,
        )
        if context is None or context == []:
            return batch
        try:
            if not isinstance(context, dict):
                raise InvalidEvent(
                    f"The batch's context is {context!r:.60}, not an object.",
                    hint="Send it as a JSON object.",
                )
            size = self._check(context, "batch's context", DEEPEST_JSON)
        except InvalidEvent as flaw:
            return batch._replace(flaw=flaw)
        return batch._replace(context=context, context_bytes=size)

    def read(
        self,
        event: object,
        batch: BatchContext,
        kind: str | None = None,
        subject: Subject | None = None,
    ) -> Call:
        if flaw := batch.flaw:
            raise type(flaw)(flaw.problem, hint=flaw.hint)
        self._check(event, "event", DEEPEST_JSON + 1, batch.context_bytes)
        call = read_call(event, batch, kind, subject)
        if not self.server_events.may_send(call.sender, call.name):
            raise _server_only(call)
        return call

    def _check(self, value: object, what: str, levels: int, extra_bytes: int = 0) -> int:
        """Refuse what is too large or deep, and what PostgreSQL cannot store; gives the bytes.

        `extra_bytes` count towards the limit, too.
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
        size = len(text) + extra_bytes
        if size > self.largest_event_bytes:
            raise EventTooLarge(
                f"The {what} has {size} bytes as JSON, over the limit of"
                f" {self.largest_event_bytes}.",
                hint="Send less with it; large things belong in a store, and their address here.",
            )
        if text.count(b"{") + text.count(b"[") > levels and is_deeper(value, levels):
            raise _too_deep(what)
        if b"\\u0000" in text and _NUL.search(text):
            raise InvalidEvent(f"The {what} holds a NUL character.", hint="Leave it out.")
        return len(text)

    def read_all(
        self, events: Iterable[object], batch: BatchContext
    ) -> tuple[list[Call], list[Rejected]]:
        """Read a list; an invalid event costs itself and no other."""
        calls: list[Call] = []
        rejected: list[Rejected] = []
        for index, event in enumerate(events):
            try:
                calls.append(self.read(event, batch))
            except InvalidEvent as error:
                rejected.append(Rejected(index, _message_id(event), error))
        return calls, rejected


def _server_only(call: Call) -> ServerOnlyEvent:
    if call.name.startswith(RESERVED):
        return ServerOnlyEvent(
            f"The event {call.name[:60]!r} is recorded by recordOutcome only.",
            hint=f"Report the outcome, or give your event a name without {RESERVED!r}.",
        )
    return ServerOnlyEvent(
        f"The event {call.name[:60]!r} is believed from servers only.",
        hint="Send it from your server with an API key; RAAK_SERVER_EVENTS says which these are.",
    )


def _too_deep(what: str) -> InvalidEvent:
    return InvalidEvent(
        f"The {what} nests deeper than {DEEPEST_JSON} levels of lists and objects.",
        hint="Send it flatter.",
    )


def _message_id(event: object) -> str | None:
    message_id = event.get("messageId") if isinstance(event, dict) else None
    return (
        message_id[:100].encode(errors="replace").decode() if isinstance(message_id, str) else None
    )
