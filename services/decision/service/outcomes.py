"""Outcomes: recorded once each, counted at once, and known to the very next decision."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from enum import IntFlag
from typing import Any
from uuid import UUID

import orjson
from xxhash import xxh3_128_digest

from services.chassis import outbox
from services.chassis.database import Connection
from services.chassis.ids import new_id
from services.chassis.principal import Principal
from services.contracts.decision import Money, OutcomeRecorded
from services.contracts.enums import OutcomeKind, SenderClass
from services.decision.domain.identifiers import (
    make_proposition_id,
    make_tracking_code,
    read_proposition_id,
    split_proposition_id,
)
from services.decision.domain.propensity import Arm, Tally
from services.decision.service.customers import is_same_customer, require_own
from services.decision.service.errors import (
    IdempotencyConflict,
    InvalidOutcome,
    OtherCustomer,
    UnknownProposition,
    UntrustedOutcome,
)
from services.decision.settings import DecisionSettings
from services.decision.store import catalogues, decisions, outcomes
from services.decision.store.customers import CustomerRef
from services.decision.store.decisions import DecisionRecord
from services.decision.store.outcomes import IdempotencyClaim, OutcomeRecord

POSITIVE = frozenset({OutcomeKind.ACCEPTED, OutcomeKind.CONVERTED})
"""The outcomes whose probability is the propensity."""
UNTRUSTED_HINT = "Have your server report it with an API key."
LONGEST_KEY = 200
LONGEST_REASON = 1_000


class Lesson(IntFlag):
    """What an outcome teaches of its arm. The numbers are stored: keep them."""

    PRESENTED = 1
    POSITIVE = 2


@dataclass(frozen=True, slots=True)
class OutcomeReport:
    proposition: str
    kind: OutcomeKind
    idempotency_key: str
    at: datetime | None = None
    value: tuple[int, str] | None = None
    """Cents, and the currency."""
    reason: str | None = None
    customer: CustomerRef | None = None
    """Who reacted, if the caller says so."""


@dataclass(frozen=True, slots=True)
class OutcomeReceipt:
    """A recorded outcome, and the tally of its arm if the report changed that."""

    outcome: OutcomeRecord
    tallies: dict[Arm, Tally]


async def record_outcome(
    connection: Connection,
    principal: Principal,
    report: OutcomeReport,
    now: datetime,
    settings: DecisionSettings,
) -> OutcomeReceipt:
    """Record an outcome in the caller's transaction. The same report again changes nothing.

    Raises:
        UnknownProposition, OtherCustomer, InvalidOutcome, UntrustedOutcome, IdempotencyConflict,
        Forbidden.
    """
    _check_texts(report)
    decision, rank = await _lock_decision(connection, report.proposition)
    owner = CustomerRef(decision.customer_id)
    await require_own(connection, principal, owner)
    if report.customer and not await is_same_customer(connection, report.customer, owner):
        raise OtherCustomer(report.proposition)
    new = IdempotencyClaim(new_id(), _compute_digest(report))
    claim = await outcomes.claim(connection, _build_key(principal, report, decision), new)
    if claim.digest != new.digest:
        raise IdempotencyConflict(
            f"The idempotencyKey {report.idempotency_key!r} was used before for another outcome.",
            hint="Use a new key for each outcome, and the same one only to send it again.",
        )
    earlier = await _load_outcomes(connection, decision.decision_id, rank)
    if claim.outcome_id != new.outcome_id:
        return OutcomeReceipt(next(o for o in earlier if o.outcome_id == claim.outcome_id), {})
    sender = principal.sender_class
    _check_report(report, decision, now, timedelta(seconds=settings.clock_tolerance_s))
    _check_trust(report, sender, decision.propositions[rank - 1], settings)
    outcome = _build_outcome(report, decision, rank, new.outcome_id, now, sender, first=not earlier)
    lessons = await _claim_lessons(connection, outcome, earlier)
    outcome = replace(outcome, lessons=lessons.value)
    await outcomes.insert(connection, outcome)
    await outbox.publish(connection, [build_event(outcome)])
    return OutcomeReceipt(outcome, await _count(connection, outcome, lessons))


def _build_key(principal: Principal, report: OutcomeReport, decision: DecisionRecord) -> str:
    """The idempotency key; a caller that acts for one customer has keys of its own per decision."""
    if not principal.own_customer_only:
        return report.idempotency_key
    return f"{decision.decision_id}/{report.idempotency_key}"


def _check_texts(report: OutcomeReport) -> None:
    for name, text, longest in (
        ("idempotencyKey", report.idempotency_key, LONGEST_KEY),
        ("reason", report.reason or "-", LONGEST_REASON),
    ):
        if not 0 < len(text) <= longest or "\0" in text:
            raise InvalidOutcome(
                f"{name} has {len(text)} characters, or a NUL character.",
                hint=f"It has 1 to {longest}.",
            )


async def _lock_decision(connection: Connection, id: str) -> tuple[DecisionRecord, int]:
    """Lock the decision of a proposition; returns it with the rank; raises UnknownProposition."""
    try:
        decision_id, rank = split_proposition_id(read_proposition_id(id))
    except ValueError:
        raise UnknownProposition(id) from None
    decision = await decisions.lock(connection, decision_id)
    if decision is None or not 1 <= rank <= len(decision.propositions):
        raise UnknownProposition(id)
    return decision, rank


def _compute_digest(report: OutcomeReport) -> bytes:
    """Of what must be the same in all reports with the same key."""
    at = report.at and report.at.timestamp()
    content = [
        str(read_proposition_id(report.proposition)),
        report.kind,
        at,
        report.value,
        report.reason,
    ]
    return xxh3_128_digest(orjson.dumps(content))


async def _load_outcomes(connection: Connection, decision: UUID, rank: int) -> list[OutcomeRecord]:
    by_decision = await outcomes.load_by_decision(connection, [decision])
    return [outcome for outcome in by_decision.get(decision, []) if outcome.rank == rank]


def _check_report(
    report: OutcomeReport, decision: DecisionRecord, now: datetime, tolerance: timedelta
) -> None:
    if report.at is not None and report.at > now + tolerance:
        raise InvalidOutcome(
            f"at is {report.at.isoformat()}, in the future.",
            hint="Leave `at` out for what happened now, and mend the caller's clock.",
        )
    if report.at is not None and report.at < decision.decided_at - tolerance:
        raise InvalidOutcome(
            f"at is {report.at.isoformat()}, before the decision itself"
            f" ({decision.decided_at.isoformat()}).",
            hint="Check the id of the proposition, and the caller's clock.",
        )
    if report.value is None:
        return
    cents, currency = report.value
    currencies = {proposition["currency"] for proposition in decision.propositions}
    if cents < 0 or currency not in currencies:
        raise InvalidOutcome(
            f"The value is {cents} {currency!r}.",
            hint=f"It is 0 or more, in the currency of the catalogue ({', '.join(currencies)}).",
        )


def _check_trust(
    report: OutcomeReport,
    sender: SenderClass,
    proposition: Mapping[str, Any],
    settings: DecisionSettings,
) -> None:
    if not sender.is_trusted and report.kind.value in settings.server_outcomes:
        raise UntrustedOutcome(
            f"An outcome {report.kind.value} is accepted from servers only.", hint=UNTRUSTED_HINT
        )
    cents, currency = report.value or (0, "")
    most = settings.largest_outcome_cents
    if cents > most:
        raise InvalidOutcome(
            f"The value is {cents} {currency!r}, and no outcome is worth more than {most}.",
            hint="State it in minor units; RAAK_DECISION_LARGEST_OUTCOME_CENTS sets the limit.",
        )
    worth = int(proposition["value_cents"] * settings.untrusted_value_factor)
    if not sender.is_trusted and cents > worth:
        raise UntrustedOutcome(
            f"The value is {cents} {currency!r}, and the action was worth {worth}.",
            hint=f"Leave the value out. {UNTRUSTED_HINT}",
        )


def _build_outcome(
    report: OutcomeReport,
    decision: DecisionRecord,
    rank: int,
    id: UUID,
    now: datetime,
    sender: SenderClass,
    *,
    first: bool,
) -> OutcomeRecord:
    proposition = decision.propositions[rank - 1]
    cents, currency = report.value or (None, None)
    return OutcomeRecord(
        outcome_id=id,
        customer_id=decision.customer_id,
        decision_id=decision.decision_id,
        rank=rank,
        action=proposition["action"],
        treatment=proposition["treatment"],
        channel=decision.channel,
        placement=decision.placement,
        kind=report.kind.value,
        first=first,
        happened_at=min(report.at or now, now),
        recorded_at=now,
        value_cents=cents,
        currency=currency,
        reason=report.reason,
        sender=sender.value,
    )


async def _claim_lessons(
    connection: Connection, outcome: OutcomeRecord, earlier: list[OutcomeRecord]
) -> Lesson:
    """What an outcome teaches: once per proposition that it was presented, once that it worked.

    What browsers and apps report teaches once per customer, action and UTC day, however many
    propositions it is about: they can request as many as they like.
    """
    learned = Lesson(0)
    for one in earlier:
        learned |= _read_lessons(one)
    lessons = _derive_lessons(outcome) & ~learned
    if SenderClass(outcome.sender).is_trusted or not lessons:
        return lessons
    day = outcome.recorded_at.date()
    fresh = await outcomes.claim_lessons(
        connection, outcome.customer_id, outcome.action, [one.value for one in lessons], day
    )
    return Lesson(sum(fresh))


def _derive_lessons(outcome: OutcomeRecord) -> Lesson:
    """What an outcome could teach: any reaction means that it was presented."""
    positive = OutcomeKind(outcome.kind) in POSITIVE
    return Lesson.PRESENTED | Lesson.POSITIVE if positive else Lesson.PRESENTED


def _read_lessons(outcome: OutcomeRecord) -> Lesson:
    """What an outcome taught; all it could, by a release that did not store it."""
    return _derive_lessons(outcome) if outcome.lessons is None else Lesson(outcome.lessons)


async def _count(
    connection: Connection, outcome: OutcomeRecord, lessons: Lesson
) -> dict[Arm, Tally]:
    if not lessons:
        return {}
    arm = Arm(outcome.action, outcome.channel, outcome.treatment)
    more = Tally(int(Lesson.PRESENTED in lessons), int(Lesson.POSITIVE in lessons))
    return {arm: await catalogues.count(connection, arm, more)}


def build_event(outcome: OutcomeRecord) -> OutcomeRecorded:
    """The event of an outcome, always with the same id."""
    proposition_id = make_proposition_id(outcome.decision_id, outcome.rank)
    value = None
    if outcome.value_cents is not None and outcome.currency is not None:
        value = Money(cents=outcome.value_cents, currency=outcome.currency)
    return OutcomeRecorded(
        event_id=outcome.outcome_id,
        occurred_at=outcome.happened_at,
        proposition_id=proposition_id,
        tracking_code=make_tracking_code(proposition_id),
        value=value,
        **asdict(outcome),  # what the event has no field for is left out
    )
