"""Outcomes: recorded once each, counted at once, and felt by the very next decision."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
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
from services.contracts.words import OutcomeKind, SenderClass
from services.decision.domain.identifiers import proposition_id, split, tracking_code
from services.decision.domain.propensity import Arm, Tally
from services.decision.service.customers import require_own
from services.decision.service.errors import (
    IdempotencyConflict,
    InvalidOutcome,
    ServerOutcome,
    UnknownProposition,
)
from services.decision.settings import DecisionSettings
from services.decision.store import catalogues, decisions, outcomes
from services.decision.store.customers import Asked
from services.decision.store.decisions import Decision
from services.decision.store.outcomes import Claim, Outcome

POSITIVE = frozenset({OutcomeKind.ACCEPTED, OutcomeKind.CONVERTED})
"""What the propensity of an action is the chance of."""
UNTRUSTED_HINT = "Have your server report it with an API key."
LONGEST_KEY = 200
LONGEST_REASON = 1_000


class Lesson(IntFlag):
    """What an outcome teaches of its arm. The numbers are stored: keep them."""

    PRESENTED = 1
    POSITIVE = 2


@dataclass(frozen=True, slots=True)
class Report:
    """What a caller says became of a proposition."""

    proposition: str
    kind: OutcomeKind
    idempotency_key: str
    at: datetime | None = None
    value: tuple[int, str] | None = None
    """Cents, and the currency."""
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """An outcome on record, and how its arm was counted if this report changed that."""

    outcome: Outcome
    counted: dict[Arm, Tally]


async def record(
    connection: Connection,
    principal: Principal,
    report: Report,
    now: datetime,
    settings: DecisionSettings,
) -> Recorded:
    """Record an outcome in the caller's transaction. The same report again changes nothing.

    Raises:
        UnknownProposition, InvalidOutcome, ServerOutcome, IdempotencyConflict, Forbidden.
    """
    _check_texts(report)
    decision, rank = await _proposition(connection, report.proposition)
    await require_own(connection, principal, Asked(decision.customer_id))
    mine = Claim(new_id(), _digest(report))
    claimed = await outcomes.claim(connection, _key(principal, report, decision), mine)
    if claimed.digest != mine.digest:
        raise IdempotencyConflict(report.idempotency_key)
    earlier = await _of_proposition(connection, decision.decision_id, rank)
    if claimed.outcome_id != mine.outcome_id:
        return Recorded(next(o for o in earlier if o.outcome_id == claimed.outcome_id), {})
    sender = principal.sender_class
    _check(report, decision, now, timedelta(seconds=settings.clock_tolerance_s))
    _check_belief(report, sender, decision.propositions[rank - 1], settings)
    outcome = _outcome(report, decision, rank, mine.outcome_id, now, sender, first=not earlier)
    lessons = await _lessons(connection, outcome, earlier)
    outcome = replace(outcome, lessons=lessons.value)
    await outcomes.insert(connection, outcome)
    await outbox.publish(connection, [event_of(outcome)])
    return Recorded(outcome, await _count(connection, outcome, lessons))


def _key(principal: Principal, report: Report, decision: Decision) -> str:
    """The idempotency key, which a caller who speaks for one customer can take from no other."""
    if not principal.own_customer_only:
        return report.idempotency_key
    return f"{decision.decision_id}/{report.idempotency_key}"


def _check_texts(report: Report) -> None:
    for name, text, longest in (
        ("idempotencyKey", report.idempotency_key, LONGEST_KEY),
        ("reason", report.reason or "-", LONGEST_REASON),
    ):
        if not 0 < len(text) <= longest or "\0" in text:
            raise InvalidOutcome(
                f"{name} has {len(text)} characters, or one that is no text.",
                hint=f"It has 1 to {longest}.",
            )


async def _proposition(connection: Connection, id: str) -> tuple[Decision, int]:
    """The decision of a proposition, locked, and the rank; raises UnknownProposition."""
    try:
        decision_id, rank = split(UUID(id))
    except ValueError:
        raise UnknownProposition(id) from None
    decision = await decisions.locked(connection, decision_id)
    if decision is None or not 1 <= rank <= len(decision.propositions):
        raise UnknownProposition(id)
    return decision, rank


def _digest(report: Report) -> bytes:
    """What was reported, as far as it must be the same under the same key."""
    at = report.at and report.at.timestamp()
    said = [str(UUID(report.proposition)), report.kind, at, report.value, report.reason]
    return xxh3_128_digest(orjson.dumps(said))


async def _of_proposition(connection: Connection, decision: UUID, rank: int) -> list[Outcome]:
    found = await outcomes.by_decision(connection, [decision])
    return [outcome for outcome in found.get(decision, []) if outcome.rank == rank]


def _check(report: Report, decision: Decision, now: datetime, tolerance: timedelta) -> None:
    if report.at is not None and report.at > now + tolerance:
        raise InvalidOutcome(
            f"at is {report.at.isoformat()}, in the future.",
            hint="Leave `at` out for what happened now, and mend the caller's clock.",
        )
    if report.at is not None and report.at < decision.decided_at - tolerance:
        raise InvalidOutcome(
            f"at is {report.at.isoformat()}, before the decision itself"
            f" ({decision.decided_at.isoformat()}).",
            hint="Check which proposition is meant, and the caller's clock.",
        )
    if report.value is None:
        return
    cents, currency = report.value
    kept = {proposition["currency"] for proposition in decision.propositions}
    if cents < 0 or currency not in kept:
        raise InvalidOutcome(
            f"The value is {cents} {currency!r}.",
            hint=f"It is 0 or more, in the currency of the catalogue ({', '.join(kept)}).",
        )


def _check_belief(
    report: Report, sender: SenderClass, proposition: Mapping[str, Any], settings: DecisionSettings
) -> None:
    """Raise ServerOutcome for what the sender's word is not enough for."""
    if not sender.is_trusted and report.kind.value in settings.server_outcomes:
        raise ServerOutcome(
            f"An outcome {report.kind.value} is believed from servers only.", hint=UNTRUSTED_HINT
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
        raise ServerOutcome(
            f"The value is {cents} {currency!r}, and the action was worth {worth}.",
            hint=f"Leave the value out. {UNTRUSTED_HINT}",
        )


def _outcome(
    report: Report,
    decision: Decision,
    rank: int,
    id: UUID,
    now: datetime,
    sender: SenderClass,
    *,
    first: bool,
) -> Outcome:
    proposition = decision.propositions[rank - 1]
    cents, currency = report.value or (None, None)
    return Outcome(
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


async def _lessons(connection: Connection, outcome: Outcome, earlier: list[Outcome]) -> Lesson:
    """What an outcome teaches: of its proposition once that it was presented, once that it worked.

    What browsers and apps report teaches once per customer, action and day of ours, however many
    propositions it is about: they can make as many as they like.
    """
    known = Lesson(0)
    for one in earlier:
        known |= _lessons_given(one)
    lessons = _lessons_of(outcome) & ~known
    if SenderClass(outcome.sender).is_trusted or not lessons:
        return lessons
    day = outcome.recorded_at.date()
    fresh = await outcomes.claim_lessons(
        connection, outcome.customer_id, outcome.action, [one.value for one in lessons], day
    )
    return Lesson(sum(fresh))


def _lessons_of(outcome: Outcome) -> Lesson:
    """What an outcome says: nobody reacts to what was not presented."""
    positive = OutcomeKind(outcome.kind) in POSITIVE
    return Lesson.PRESENTED | Lesson.POSITIVE if positive else Lesson.PRESENTED


def _lessons_given(outcome: Outcome) -> Lesson:
    """What an outcome taught; all it meant when that was not noted yet."""
    return _lessons_of(outcome) if outcome.lessons is None else Lesson(outcome.lessons)


async def _count(connection: Connection, outcome: Outcome, lessons: Lesson) -> dict[Arm, Tally]:
    """Count what an outcome taught."""
    if not lessons:
        return {}
    arm = Arm(outcome.action, outcome.channel, outcome.treatment)
    more = Tally(int(Lesson.PRESENTED in lessons), int(Lesson.POSITIVE in lessons))
    return {arm: await catalogues.count(connection, arm, more)}


def event_of(outcome: Outcome) -> OutcomeRecorded:
    """An outcome as it is told, always under the same id."""
    proposition = proposition_id(outcome.decision_id, outcome.rank)
    value = None
    if outcome.value_cents is not None and outcome.currency is not None:
        value = Money(cents=outcome.value_cents, currency=outcome.currency)
    return OutcomeRecorded(
        event_id=outcome.outcome_id,
        customer_id=outcome.customer_id,
        occurred_at=outcome.happened_at,
        outcome_id=outcome.outcome_id,
        decision_id=outcome.decision_id,
        proposition_id=proposition,
        action=outcome.action,
        treatment=outcome.treatment,
        channel=outcome.channel,
        placement=outcome.placement,
        tracking_code=tracking_code(proposition),
        kind=outcome.kind,
        value=value,
        reason=outcome.reason,
        recorded_at=outcome.recorded_at,
        sender=outcome.sender,
    )
