"""What can be told to profile. One mutation is one transaction."""

from collections.abc import Sequence
from typing import Any

import strawberry

from services.chassis.errors import RaakError
from services.chassis.graphql import masking_for
from services.chassis.principal import Forbidden
from services.profile.domain.calls import Call
from services.profile.domain.identities import Identity, given_identity, strongest_first
from services.profile.domain.spec import Subject
from services.profile.schema.context import Context
from services.profile.schema.inputs import ConsentInput, CustomerRef, IdentifyInput, TrackInput
from services.profile.schema.types import Customer, Info, Segment
from services.profile.service.publishing import publish_segments
from services.profile.service.queries import UnknownCustomer
from services.profile.service.recording import Taken, record

CONSENTS = "consents:write"


@strawberry.type(description="What became of an event.")
class TrackResult:
    customer: Customer
    duplicate: bool = strawberry.field(description="Its message id was recorded before.")


@strawberry.type
class Mutation:
    """The root fields."""

    @strawberry.federation.mutation(
        description="Say who a customer is; an unknown identity is a new one.",
        requires_scopes=[["customers:write"]],
    )
    async def identify(self, info: Info, input: IdentifyInput) -> Customer:
        """Traits and identities in one call."""
        further = [given_identity(one.type, one.value) for one in input.identities or ()]
        taken = await _take(info.context, "identify", input.customer, input.event(), further)
        return Customer(id=strawberry.ID(str(taken.customer)))

    @strawberry.federation.mutation(
        description="Record what a customer did; a message id counts once."
        " Consents in its context ask the scope `consents:write`, too.",
        requires_scopes=[["customers:write"]],
    )
    async def track(self, info: Info, input: TrackInput) -> TrackResult:
        """Answers when it is recorded."""
        taken = await _take(info.context, "track", input.customer, input.call())
        customer = Customer(id=strawberry.ID(str(taken.customer)))
        return TrackResult(customer=customer, duplicate=taken.duplicate)

    @strawberry.federation.mutation(
        description="Record a customer's word on one purpose; the latest counts.",
        requires_scopes=[[CONSENTS]],
    )
    async def set_consent(self, info: Info, input: ConsentInput) -> Customer:
        """Kept as an event too."""
        taken = await _take(info.context, "consent", input.customer, input.event())
        return Customer(id=strawberry.ID(str(taken.customer)))

    @strawberry.federation.mutation(
        description="Put a segment in force, or all under `segments:`; gives the first one."
        " Customers are recomputed in the background, at the latest when they do something.",
        requires_scopes=[["segments:write"]],
    )
    async def publish_segment(self, info: Info, yaml: str) -> Segment:
        """A definition that is the same keeps its version."""
        context = info.context
        async with context.database.transaction(computes=True) as connection:
            segments = await publish_segments(
                connection, context.rulebooks, yaml, context.clock(), masking_for(context)
            )
        context.forget_loaded()
        context.wake()
        return Segment.of(segments[0])


async def _take(
    context: Context,
    kind: str,
    ref: CustomerRef,
    event: dict[str, Any],
    further: Sequence[Identity] = (),
) -> Taken:
    """Record one call about the customer meant; raises what is wrong with any of it."""
    subject = await _subject(context, ref, further)
    now = context.clock()
    reading = context.reader.reading(context.principal.sender_class, now)
    call = context.reader.read(event, reading, "track" if kind == "consent" else kind, subject)
    if call.consents and CONSENTS not in context.principal.scopes:
        raise Forbidden(
            f"The context carries consents, and the caller has no scope {CONSENTS!r}.",
            hint=f"Leave context.consent out, or use a token or key with {CONSENTS}.",
        )
    await _check_own(context, call)
    async with context.database.transaction() as connection:
        [taken] = await record(
            connection,
            context.rulebooks,
            [call._replace(kind=kind)],
            now,
            context.reader.room,
        )
    if isinstance(taken, RaakError):
        raise taken
    context.forget_loaded()
    return taken


async def _subject(context: Context, given: CustomerRef, further: Sequence[Identity]) -> Subject:
    ref = given.read()
    found = await context.find(ref)
    if isinstance(ref, Identity):
        return Subject(strongest_first([ref, *further]))
    if found is None:
        raise UnknownCustomer(ref)
    return Subject(strongest_first(further), found.id)


async def _check_own(context: Context, call: Call) -> None:
    """Let nobody who speaks for one customer claim what names another, or may name one later.

    An e-mail address nobody has yet is not his because he says so: whoever claimed another's before
    that one registers would be taken for him from then on. The same holds for a browser's id.
    """
    if not context.principal.own_customer_only:
        return
    own, proved = await context.own_id(), context.own_ref()
    owners = await context.refs.load_many(call.identities)
    for given, owner in zip(call.identities, owners, strict=True):
        if given != proved and (owner is None or owner != own):
            raise Forbidden(
                "One of these identities is another customer's, or is not proved to be this one's.",
                hint="Have the customer log in with it, and let your server identify him.",
            )
