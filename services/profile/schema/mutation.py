"""Profile's mutations. Each is one transaction."""

from collections.abc import Sequence
from typing import Any

import strawberry

from services.chassis.errors import RaakError
from services.chassis.graphql import masking_for
from services.chassis.principal import Forbidden
from services.chassis.schema import CustomerRef
from services.profile.domain.calls import Call
from services.profile.domain.identities import Identity, parse_identity, sort_by_strength
from services.profile.domain.spec import Subject
from services.profile.schema.context import Context
from services.profile.schema.inputs import (
    ConsentInput,
    IdentifyInput,
    TrackInput,
    parse_customer,
)
from services.profile.schema.types import Customer, Info, Segment
from services.profile.service.publishing import publish_segments
from services.profile.service.queries import UnknownCustomerId
from services.profile.service.recording import RecordedCall, record

CONSENTS = "consents:write"


@strawberry.type
class TrackResult:
    """What became of an event that was tracked."""

    customer: Customer
    """Whose event it is; another customer than before if it showed that two are one."""
    duplicate: bool
    """Whether its message id was recorded before; then nothing was changed."""


@strawberry.type
class Mutation:
    @strawberry.federation.mutation(requires_scopes=[["customers:write"]])
    async def identify(self, info: Info, input: IdentifyInput) -> Customer:
        """Say who a customer is; an unknown identity makes a new customer. Answers with the
        customer, who may be merged from two.

        Args:
            input: Who it is about, and what is to be known of them.
        """
        further = [parse_identity(one.type, one.value) for one in input.identities or ()]
        fields = input.event_fields()
        recorded = await _record(info.context, "identify", input.customer, fields, further)
        return Customer.from_id(recorded.customer)

    @strawberry.federation.mutation(requires_scopes=[["customers:write"]])
    async def track(self, info: Info, input: TrackInput) -> TrackResult:
        """Record what a customer did; a message id counts once. Consents in its context need the
        scope `consents:write`, too.

        Args:
            input: Who did what, and when.
        """
        recorded = await _record(info.context, "track", input.customer, input.event_fields())
        return TrackResult(
            customer=Customer.from_id(recorded.customer), duplicate=recorded.is_duplicate
        )

    @strawberry.federation.mutation(requires_scopes=[[CONSENTS]])
    async def set_consent(self, info: Info, input: ConsentInput) -> Customer:
        """Record a customer's choice on one purpose; the latest counts.

        Args:
            input: Who chose what, and on which purpose.
        """
        recorded = await _record(info.context, "consent", input.customer, input.event_fields())
        return Customer.from_id(recorded.customer)

    @strawberry.federation.mutation(requires_scopes=[["segments:write"]])
    async def publish_segment(self, info: Info, yaml: str) -> Segment:
        """Put a segment in force, or all under `segments:`; returns the first one. Customers are
        recomputed in the background, at the latest when they do something.

        Args:
            yaml: One definition (key, name, description, condition), or a list of them. What is
                wrong is reported line by line (`INVALID_DEFINITION`), and nothing is published.
        """
        context = info.context
        async with context.database.transaction(computes=True) as connection:
            segments = await publish_segments(
                connection, context.segment_cache, yaml, context.clock(), masking_for(context)
            )
        context.clear_loaders()
        context.wake()
        return Segment.from_domain(segments[0])


async def _record(
    context: Context,
    kind: str,
    ref: CustomerRef,
    event: dict[str, Any],
    further: Sequence[Identity] = (),
) -> RecordedCall:
    """Record one call about the customer named; raises what is wrong with any of it."""
    subject = await _find_subject(context, ref, further)
    now = context.clock()
    batch = context.reader.open_batch(context.principal.sender_class, now)
    call = context.reader.read(event, batch, "track" if kind == "consent" else kind, subject)
    if call.consents and CONSENTS not in context.principal.scopes:
        raise Forbidden(
            f"The context carries consents, and the caller has no scope {CONSENTS!r}.",
            hint=f"Leave context.consent out, or use a token or key with {CONSENTS}.",
        )
    await _check_own(context, call)
    calls = [call._replace(kind=kind)]
    async with context.database.transaction() as connection:
        [result] = await record(
            connection, context.segment_cache, calls, now, context.reader.customer_limits
        )
    if isinstance(result, RaakError):
        raise result
    context.clear_loaders()
    return result


async def _find_subject(
    context: Context, input: CustomerRef, further: Sequence[Identity]
) -> Subject:
    ref = parse_customer(input)
    customer = await context.find(ref)
    if isinstance(ref, Identity):
        return Subject(sort_by_strength([ref, *further]))
    if customer is None:
        raise UnknownCustomerId(ref)
    return Subject(sort_by_strength(further), customer.id)


async def _check_own(context: Context, call: Call) -> None:
    """Let a caller that speaks for one customer name no identity but theirs.

    That nobody has an e-mail address or a browser's id yet does not make it theirs: a caller that
    claimed another person's address before they register would be taken for them from then on.
    """
    if not context.principal.own_customer_only:
        return
    own_id, own_ref = await context.own_id(), context.own_ref()
    owners = await context.refs.load_many(call.identities)
    for identity, owner in zip(call.identities, owners, strict=True):
        if identity != own_ref and (owner is None or owner != own_id):
            raise Forbidden(
                "One of these identities is another customer's, or is not proved to be this one's.",
                hint="Have the customer log in with it, and let your server identify them.",
            )
