"""Measurement's subgraph: results per action, and each customer's touchpoints."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Annotated, Any, NewType, Self
from uuid import UUID

import strawberry
from asyncpg import Record
from strawberry.dataloader import DataLoader
from strawberry.schema.config import StrawberryConfig
from strawberry.types.scalar import ScalarDefinition

from services.chassis.authorization import STAFF, customer_field, staff_field
from services.chassis.database import Database
from services.chassis.graphql import Schema
from services.chassis.masking import USUAL, Hide, Masking, leave_unmasked
from services.chassis.pagination import (
    After,
    First,
    PageInfo,
    decode_cursor,
    encode_cursor,
    page_size,
)
from services.chassis.principal import Principal
from services.chassis.resolvers import copy_fields, make_loader, not_own_customer
from services.chassis.schema import Channel, Money, OutcomeKind
from services.measurement import service
from services.measurement.domain import intervals, results
from services.measurement.domain.campaigns import CAMPAIGN_FIELDS, CLICK_IDS
from services.measurement.domain.touchpoints import TouchpointKind


@dataclass
class Context:
    """One request: its caller, the database, and a loader that batches pages of touchpoints."""

    principal: Principal
    database: Database
    masking: Masking = USUAL
    pages: DataLoader[service.PageRequest, list[Record]] = field(init=False)

    def __post_init__(self) -> None:
        self.pages = make_loader(self.database, service.load_touchpoint_pages, [])


Info = strawberry.Info[Context, None]

JOURNEYS = [["journeys:read"]]

BigInt = NewType("BigInt", int)
SCALARS: dict[object, ScalarDefinition] = {
    BigInt: strawberry.scalar(
        name="BigInt",
        description="A whole number that may exceed 32 bits: sums do. Sent as a JSON number.",
        serialize=int,
        parse_value=int,
    )
}

strawberry.enum(TouchpointKind)
strawberry.enum(results.Dimension, name="ResultDimension")
BY_ACTION_AND_CHANNEL = [results.Dimension.ACTION, results.Dimension.CHANNEL]


@strawberry.type
class MoneySum:
    """A sum of amounts in one currency."""

    cents: BigInt
    """In minor units: 1250 is 12.50 of a currency with two decimals."""
    currency: str
    """ISO 4217, as in `EUR`."""


@strawberry.type
class Rate:
    """A share of trials, with the Wilson score interval that holds the true rate with 95%
    confidence. Estimate and bounds are null when there were no trials.
    """

    successes: int
    """Propositions of which it is true."""
    trials: int
    """Propositions of which it could have been true; 0 makes no rate."""
    estimate: float | None
    """Successes of trials, 0 to 1."""
    low: float | None
    """The lower bound of the interval, 0 to 1. Compare actions by bounds: few trials make them
    wide.
    """
    high: float | None
    """The upper bound of the interval, 0 to 1."""

    @classmethod
    def from_counts(cls, successes: int, trials: int) -> Self:
        return copy_fields(cls, intervals.wilson_rate(successes, trials))


def rate_field(successes: str, trials: str) -> Any:
    """A field with the rate of two counts of a result."""

    def rate(root: "ActionResult") -> Rate:
        return Rate.from_counts(getattr(root, successes), getattr(root, trials))

    return strawberry.field(resolver=rate)


@strawberry.type
class ActionResult:
    """What became of the propositions (ranked actions) decided on in a period. Each counts once per
    thing that happened to it, whenever that was and however often it was reported; any reaction
    means that it was presented. So a later reaction adds to the day of its decision, and rates of
    recent days still grow. A dimension that is not in `by` is null.
    """

    action: strawberry.ID | None
    """The key of the action; null if not grouped by ACTION."""
    treatment: strawberry.ID | None
    """The key of the treatment, unique within its action; null if not grouped by TREATMENT."""
    channel: Channel | None
    """Where it was proposed; null if not grouped by CHANNEL."""
    placement: str | None
    """The key of the spot on the channel; null if not grouped by PLACEMENT."""
    day: date | None
    """The UTC day of the decisions; null if not grouped by DAY."""
    decided: int
    """Propositions ranked in answers."""
    presented: int
    """Of these, shown, or reacted to in any way."""
    clicked: int
    """Of the presented, clicked on."""
    accepted: int
    """Of the presented, accepted."""
    rejected: int
    """Of the presented, refused."""
    converted: int
    """Of the presented, that led to a conversion."""
    dismissed: int
    """Of the presented, waved away."""
    accepted_value: list[MoneySum]
    """Values reported with ACCEPTED outcomes, summed per currency."""
    converted_value: list[MoneySum]
    """Values reported with CONVERTED outcomes, summed per currency. Every reported conversion adds
    its value, also where one proposition led to several.
    """

    presentation_rate: Rate = rate_field("presented", "decided")
    """Presented of decided."""
    click_rate: Rate = rate_field("clicked", "presented")
    """Clicked of presented."""
    acceptance_rate: Rate = rate_field("accepted", "presented")
    """Accepted of presented."""
    rejection_rate: Rate = rate_field("rejected", "presented")
    """Rejected of presented."""
    conversion_rate: Rate = rate_field("converted", "presented")
    """Converted of presented."""

    @classmethod
    def from_domain(cls, result: results.Result) -> Self:
        key = {dimension.value: result.key.get(dimension) for dimension in results.Dimension}
        return copy_fields(
            cls,
            result.counts,
            **key | {"channel": parse_channel(key["channel"])},
            accepted_value=sum_values(result, OutcomeKind.ACCEPTED),
            converted_value=sum_values(result, OutcomeKind.CONVERTED),
        )


def sum_values(result: results.Result, wanted: OutcomeKind) -> list[MoneySum]:
    """The money reported with one kind of outcome, one sum per currency."""
    return [
        MoneySum(cents=BigInt(cents), currency=currency)
        for (kind, currency), cents in result.values.items()
        if kind == wanted
    ]


def parse_channel(name: str | None) -> Channel | None:
    """The channel of that name; None for one of a newer release."""
    return Channel(name) if name and name in Channel.__members__ else None


@strawberry.federation.type(policy=STAFF)
class CampaignVisit:
    """The campaign that brought a visit: UTM names and the ids of advertisers. What the address
    does not have is null.
    """

    name: str | None
    """What the advertiser calls the campaign (utm_campaign)."""
    source: str | None
    """Who sent the visitor, such as a newsletter or search engine (utm_source)."""
    medium: str | None
    """By which means, such as email or cpc (utm_medium)."""
    term: str | None
    """The keyword that was paid for (utm_term)."""
    content: str | None
    """Which of several links or advertisements it was (utm_content)."""
    click_ids: list[str]
    """The names of click ids in the address (gclid, fbclid, …), not their values."""

    @classmethod
    def from_names(cls, found: Mapping[str, str]) -> Self:
        names = {name: found.get(name) for name in CAMPAIGN_FIELDS}
        return cls(**names, click_ids=[name for name in CLICK_IDS if name in found])


@strawberry.type
class Touchpoint:
    """One contact of a customer with us: a decision, an outcome, a message, a campaign visit or a
    conversion. Fields that a kind does not have are null.
    """

    id: strawberry.ID
    """The kind and the id of the decision, outcome, message or event, as in `OUTCOME:0194…`."""
    kind: TouchpointKind
    """Which of the five it is; it says which fields are filled."""
    at: datetime
    """When it happened; touchpoints are listed by it."""
    channel: Channel | None
    """Where it happened; null where the event did not say."""
    placement: str | None
    """The key of the spot on the channel, of a decision or outcome."""
    decision_id: strawberry.ID | None
    """Of a decision or outcome: the `id` of the decision."""
    proposition_id: strawberry.ID | None
    """Of an outcome: the `id` of the proposition."""
    actions: list[strawberry.ID] | None
    """Keys of actions: of a decision, best first; of an outcome, the one reacted to."""
    outcome: OutcomeKind | None
    """Of an outcome: how they reacted."""
    control_group: str | None = strawberry.federation.field(requires_scopes=[["decisions:explain"]])
    """The key of the control group that something was withheld for, if any."""
    journey: strawberry.ID | None = staff_field(JOURNEYS)
    """Of a message: the key of the journey."""
    step: str | None = staff_field(JOURNEYS)
    """Of a message: the key of the step that sent it."""
    template: str | None = staff_field(JOURNEYS)
    """Of a message: the text or layout it was sent with."""
    event: str | None
    """Of a campaign visit or conversion: the name of the event."""
    campaign: CampaignVisit | None
    """Of a campaign visit: what brought them."""
    value: Money | None
    """Of an outcome or conversion: what it was worth. Null if nobody trusted said so."""
    recorded_for: strawberry.ID | None = staff_field()
    """The id of the customer it was recorded for; another one, if a merge moved it here."""

    @classmethod
    def from_row(cls, row: Record) -> Self:
        detail = row["detail"]
        campaign = detail.get("campaign")
        return cls(
            id=strawberry.ID(f"{row['kind']}:{row['touchpoint_id']}"),
            kind=TouchpointKind(row["kind"]),
            at=row["touched_at"],
            channel=parse_channel(row["channel"]),
            decision_id=detail.get("decision"),
            proposition_id=detail.get("proposition"),
            outcome=OutcomeKind(detail["outcome"]) if "outcome" in detail else None,
            campaign=CampaignVisit.from_names(campaign) if campaign else None,
            value=read_money(row),
            recorded_for=strawberry.ID(str(row["recorded_for"])),
            **{name: detail.get(name) for name in DETAILS},
        )


DETAILS = ("placement", "actions", "control_group", "journey", "step", "template", "event")
"""Fields of a touchpoint that are its `detail` of the same name."""


def read_money(row: Record) -> Money | None:
    if row["value_cents"] is None:
        return None
    return Money(cents=row["value_cents"], currency=row["currency"])


@strawberry.type
class TouchpointEdge:
    """A touchpoint and where it stands in the list."""

    cursor: str
    """Opaque; as `after` it asks for the touchpoints before this one in time."""
    node: Touchpoint
    """The contact itself."""


@strawberry.type
class TouchpointConnection:
    """A page of a customer's touchpoints, newest first. It stays as it is while new ones arrive."""

    edges: list[TouchpointEdge]
    """At most as many as `first`; empty if there was no contact (before)."""
    page_info: PageInfo
    """Whether older touchpoints follow, and from where."""

    @classmethod
    def from_rows(cls, rows: list[Record], size: int) -> Self:
        """The page of `size` rows; one row more means that another page follows."""
        edges = [
            TouchpointEdge(
                cursor=encode_cursor(row["touched_at"], str(row["touchpoint_id"]), row["kind"]),
                node=Touchpoint.from_row(row),
            )
            for row in rows[:size]
        ]
        return cls(edges=edges, page_info=PageInfo.from_edges(edges, len(rows) > size))


@strawberry.federation.type(keys=["id"])
class Customer:
    id: strawberry.ID

    @classmethod
    def resolve_reference(cls, id: strawberry.ID) -> Self:
        return cls(id=strawberry.ID(str(UUID(id))))

    @customer_field()
    async def touchpoints(
        self, info: Info, first: First = 50, after: After = None
    ) -> TouchpointConnection | None:
        """Every contact with this customer, newest first."""
        await require_own(info.context, UUID(self.id))
        size = page_size(first)
        position = decode_cursor(after, datetime.fromisoformat, UUID, TouchpointKind)
        rows = await info.context.pages.load((UUID(self.id), position, size + 1))
        return TouchpointConnection.from_rows(rows, size)


async def require_own(context: Context, customer: UUID) -> None:
    """Let a caller who speaks for one customer see no other; raises Forbidden."""
    principal = context.principal
    if not principal.own_customer_only:
        return
    async with context.database.connection() as connection:
        own = await service.is_same_customer(connection, principal.customer_ref, customer)
    if not own:
        raise not_own_customer()


@strawberry.type
class Query:
    @strawberry.federation.field(requires_scopes=[["results:read"]])
    async def action_results(
        self,
        info: Info,
        start: Annotated[datetime | None, strawberry.argument(name="from")] = None,
        end: Annotated[datetime | None, strawberry.argument(name="to")] = None,
        action: strawberry.ID | None = None,
        channel: Channel | None = None,
        by: list[results.Dimension] = BY_ACTION_AND_CHANNEL,
    ) -> list[ActionResult] | None:
        """Results of what was decided from `from` up to `to`, per combination of the dimensions in
        `by`. Counted by whole UTC days: a day the period touches counts whole. More than 10,000
        rows are `MEASUREMENT_TOO_MANY_RESULTS`.

        Args:
            start: The first moment of a decision that counts, widened to its whole UTC day; null
                asks for all there were. Without an offset it is `MEASUREMENT_INVALID_PERIOD`.
            end: The moment up to which decisions count, widened likewise; null asks for all until
                now. It needs an offset, and has to be after `from`.
            action: Only results of the action of this key.
            channel: Only what was decided for this channel.
            by: What to have a row for each combination of; empty gives one row of totals.
                Repetitions count once.
        """
        async with info.context.database.connection() as connection:
            rows = await service.load_action_results(connection, by, (start, end), action, channel)
        return [ActionResult.from_domain(row) for row in rows]


HIDES: Mapping[str, Hide] = {
    "ActionResult": leave_unmasked,
    "Money": leave_unmasked,
    "MoneySum": leave_unmasked,
    "PageInfo": leave_unmasked,
}
"""Types without words of a customer; the others are masked as `services.chassis.masking` does."""

schema = Schema(
    query=Query, types=[Customer], hides=HIDES, config=StrawberryConfig(scalar_map=SCALARS)
)
