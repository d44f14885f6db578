"""Outcomes: recorded once each, counted at once, and felt by the very next decision."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import orjson
from xxhash import xxh3_128_digest

from services.chassis import outbox
from services.chassis.database import Connection
from services.chassis.ids import new_id
from services.chassis.principal import Principal
from services.contracts.decision import Money, OutcomeRecorded
from services.contracts.words import OutcomeKind
from services.decision.domain.identifiers import proposition_id, split, tracking_code
from services.decision.domain.propensity import Arm, Tally
from services.decision.service.customers import require_own
from services.decision.service.errors import (
    IdempotencyConflict,
    InvalidOutcome,
    UnknownProposition,
)
from services.decision.store import catalogues, decisions, outcomes
from services.decision.store.customers import Asked
from services.decision.store.decisions import Decision
from services.decision.store.outcomes import Claim, Outcome

POSITIVE = frozenset({OutcomeKind.ACCEPTED, OutcomeKind.CONVERTED})
"""What the propensity of an action is the chance of."""
LONGEST_KEY = 200
LONGEST_REASON = 1_000


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
    clock_tolerance: timedelta,
) -> Recorded:
    """Record an outcome in the caller's transaction. The same report again changes nothing.

    Raises:
        UnknownProposition, InvalidOutcome, IdempotencyConflict, Forbidden.
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
    _check(report, decision, now, clock_tolerance)
    outcome = _outcome(report, decision, rank, mine.outcome_id, now, first=not earlier)
    await outcomes.insert(connection, outcome)
    await outbox.publish(connection, [_event(outcome)])
    return Recorded(outcome, await _count(connection, outcome, earlier))


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


def _outcome(
    report: Report, decision: Decision, rank: int, id: UUID, now: datetime, *, first: bool
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
    )


async def _count(
    connection: Connection, outcome: Outcome, earlier: list[Outcome]
) -> dict[Arm, Tally]:
    """Count a proposition once as presented, and once as a success."""
    succeeded = any(OutcomeKind(one.kind) in POSITIVE for one in earlier)
    success = OutcomeKind(outcome.kind) in POSITIVE and not succeeded
    if not (outcome.first or success):
        return {}
    arm = Arm(outcome.action, outcome.channel, outcome.treatment)
    return {arm: await catalogues.count(connection, arm, Tally(int(outcome.first), int(success)))}


def _event(outcome: Outcome) -> OutcomeRecorded:
    proposition = proposition_id(outcome.decision_id, outcome.rank)
    value = None
    if outcome.value_cents is not None and outcome.currency is not None:
        value = Money(cents=outcome.value_cents, currency=outcome.currency)
    return OutcomeRecorded(
        event_id=new_id(),
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
    )
