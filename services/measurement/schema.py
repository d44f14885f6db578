"""The subgraph of measurement: results per action, and each customer's touchpoints."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, NewType, Self
from uuid import UUID

import strawberry
from asyncpg import Record
from strawberry.dataloader import DataLoader
from strawberry.schema.config import StrawberryConfig
from strawberry.types.scalar import ScalarDefinition

from services.chassis.authorization import STAFF, for_staff, of_customer
from services.chassis.database import Database
from services.chassis.graphql import Schema
from services.chassis.masking import USUAL, Hide, Masking, as_written
from services.chassis.pagination import (
    InvalidPage,
    PageInfo,
    decode_cursor,
    encode_cursor,
    page_size,
)
from services.chassis.principal import Forbidden, Principal
from services.contracts.words import Channel, OutcomeKind
from services.measurement import service
from services.measurement.domain import intervals, results
from services.measurement.domain.campaigns import CAMPAIGN_FIELDS, CLICK_IDS
from services.measurement.domain.touchpoints import TouchpointKind
from services.measurement.store import Place

Page = tuple[UUID, Place | None, int]
"""Customer, where the page before ended, and how many rows to fetch."""


@dataclass(frozen=True)
class Context:
    """What resolvers may use; made anew for each request."""

    principal: Principal
    database: Database
    pages: DataLoader[Page, list[Record]]
    masking: Masking = USUAL

    @classmethod
    def over(cls, database: Database, principal: Principal, masking: Masking = USUAL) -> Self:
        """A fresh context: pages of touchpoints asked for together are fetched together."""

        async def load(pages: list[Page]) -> list[list[Record]]:
            async with database.connection() as connection:
                return await service.touchpoint_pages(connection, pages)

        return cls(principal, database, DataLoader(load_fn=load), masking)


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

strawberry.enum(Channel)
strawberry.enum(OutcomeKind)
strawberry.enum(TouchpointKind)


strawberry.enum(
    results.Dimension,
    name="ResultDimension",
    description="What results can be told apart by. DAY is the UTC day of the decision.",
)
BY_ACTION_AND_CHANNEL = [results.Dimension.ACTION, results.Dimension.CHANNEL]


@strawberry.federation.type(shareable=True, description="An amount in minor units of a currency.")
class Money:
    """Shared with the other subgraphs."""

    cents: int
    currency: str


@strawberry.type(description="A sum of amounts in minor units of a currency.")
class MoneySum:
    """A sum outgrows GraphQL's Int at 21 million."""

    cents: BigInt
    currency: str


@strawberry.type(
    description="A share of trials, with the Wilson score interval that holds the true rate with "
    "95% confidence. Estimate and bounds are null when there were no trials."
)
class Rate:
    """How often something happened of how often it could have."""

    successes: int
    trials: int
    estimate: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, successes: int, trials: int) -> Self:
        """The rate of successes among trials."""
        rate = intervals.rate(successes, trials)
        return cls(
            successes=rate.successes,
            trials=rate.trials,
            estimate=rate.estimate,
            low=rate.low,
            high=rate.high,
        )


@strawberry.type(
    description="What became of the propositions (ranked actions) decided on in a period. Each "
    "counts once per thing that happened to it, whenever that was and however often it was "
    "reported; any reaction means that it was presented. So a later reaction adds to the day of "
    "its decision, and rates of recent days still grow. A dimension not asked for is null."
)
class ActionResult:
    """One combination of the dimensions asked for."""

    action: strawberry.ID | None
    treatment: strawberry.ID | None
    channel: Channel | None
    placement: str | None
    day: date | None
    decided: int = strawberry.field(description="Propositions ranked in answers.")
    presented: int = strawberry.field(description="Of these, shown.")
    clicked: int = strawberry.field(description="Of the presented, clicked on.")
    accepted: int = strawberry.field(description="Of the presented, accepted.")
    rejected: int = strawberry.field(description="Of the presented, refused.")
    converted: int = strawberry.field(description="Of the presented, that led to a conversion.")
    dismissed: int = strawberry.field(description="Of the presented, waved away.")
    accepted_value: list[MoneySum] = strawberry.field(
        description="Values reported with ACCEPTED outcomes, summed per currency."
    )
    converted_value: list[MoneySum] = strawberry.field(
        description="Values reported with CONVERTED outcomes, summed per currency. Every reported "
        "conversion adds its value, also where one proposition led to several."
    )

    @strawberry.field(description="Presented of decided.")
    def presentation_rate(self) -> Rate:
        """How often what was decided was shown."""
        return Rate.of(self.presented, self.decided)

    @strawberry.field(description="Clicked of presented.")
    def click_rate(self) -> Rate:
        """How often what was shown was clicked on."""
        return Rate.of(self.clicked, self.presented)

    @strawberry.field(description="Accepted of presented.")
    def acceptance_rate(self) -> Rate:
        """How often what was shown was accepted."""
        return Rate.of(self.accepted, self.presented)

    @strawberry.field(description="Rejected of presented.")
    def rejection_rate(self) -> Rate:
        """How often what was shown was refused."""
        return Rate.of(self.rejected, self.presented)

    @strawberry.field(description="Converted of presented.")
    def conversion_rate(self) -> Rate:
        """How often what was shown led to a conversion."""
        return Rate.of(self.converted, self.presented)

    @classmethod
    def of(cls, result: results.Result) -> Self:
        """A row of results, as the graph shows it."""
        key, counts = result.key, result.counts
        return cls(
            action=key.get(results.Dimension.ACTION),
            treatment=key.get(results.Dimension.TREATMENT),
            channel=known_channel(key.get(results.Dimension.CHANNEL)),
            placement=key.get(results.Dimension.PLACEMENT),
            day=key.get(results.Dimension.DAY),
            decided=counts.decided,
            presented=counts.presented,
            clicked=counts.clicked,
            accepted=counts.accepted,
            rejected=counts.rejected,
            converted=counts.converted,
            dismissed=counts.dismissed,
            accepted_value=sums(result, OutcomeKind.ACCEPTED),
            converted_value=sums(result, OutcomeKind.CONVERTED),
        )


def sums(result: results.Result, wanted: OutcomeKind) -> list[MoneySum]:
    """The money reported with one kind of outcome, one sum per currency."""
    return [
        MoneySum(cents=BigInt(cents), currency=currency)
        for (kind, currency), cents in result.values.items()
        if kind == wanted
    ]


def known_channel(name: str | None) -> Channel | None:
    """The channel of that name; None for one a newer release has invented."""
    return Channel(name) if name and name in Channel.__members__ else None


@strawberry.federation.type(
    description="What brought a customer: UTM names and the ids of advertisers.",
    policy=STAFF,
)
class CampaignVisit:
    """As read from the event's context."""

    name: str | None
    source: str | None
    medium: str | None
    term: str | None
    content: str | None
    click_ids: list[str] = strawberry.field(
        description="Which networks marked the click (gclid, fbclid, …), not their marks."
    )

    @classmethod
    def of(cls, found: Mapping[str, str]) -> Self:
        """From what `campaign_of` found."""
        names = {name: found.get(name) for name in CAMPAIGN_FIELDS}
        return cls(**names, click_ids=[name for name in CLICK_IDS if name in found])


@strawberry.type(
    description="One meeting of a customer with us: offers decided on, a reaction to one, a "
    "message, a campaign's visit or a conversion. What a kind does not tell is null."
)
class Touchpoint:
    """One row of a customer's history."""

    id: strawberry.ID
    kind: TouchpointKind
    at: datetime
    channel: Channel | None
    placement: str | None
    decision_id: strawberry.ID | None = strawberry.field(description="Of a decision or outcome.")
    proposition_id: strawberry.ID | None = strawberry.field(description="Of an outcome.")
    actions: list[strawberry.ID] | None = strawberry.field(
        description="Of a decision, best first; of an outcome, the one."
    )
    outcome: OutcomeKind | None
    control_group: str | None = strawberry.federation.field(
        description="That withheld something, if any.", requires_scopes=[["decisions:explain"]]
    )
    journey: strawberry.ID | None = for_staff("Of a message.", JOURNEYS)
    step: str | None = for_staff(scopes=JOURNEYS)
    template: str | None = for_staff(scopes=JOURNEYS)
    event: str | None = strawberry.field(description="Name, of a campaign's visit or conversion.")
    campaign: CampaignVisit | None
    value: Money | None = strawberry.field(description="Of an outcome or conversion.")
    recorded_for: strawberry.ID | None = for_staff(
        "The customer it was recorded for; another one, if a merge moved it here."
    )

    @classmethod
    def of(cls, row: Record) -> Self:
        """A row of the history, as the graph shows it."""
        detail = row["detail"]
        campaign = detail.get("campaign")
        return cls(
            id=strawberry.ID(f"{row['kind']}:{row['touchpoint_id']}"),
            kind=TouchpointKind(row["kind"]),
            at=row["touched_at"],
            channel=known_channel(row["channel"]),
            placement=detail.get("placement"),
            decision_id=detail.get("decision"),
            proposition_id=detail.get("proposition"),
            actions=detail.get("actions"),
            outcome=OutcomeKind(detail["outcome"]) if "outcome" in detail else None,
            control_group=detail.get("control_group"),
            journey=detail.get("journey"),
            step=detail.get("step"),
            template=detail.get("template"),
            event=detail.get("event"),
            campaign=CampaignVisit.of(campaign) if campaign else None,
            value=money(row),
            recorded_for=strawberry.ID(str(row["recorded_for"])),
        )


def money(row: Record) -> Money | None:
    """The value of a touchpoint, if it has one."""
    if row["value_cents"] is None:
        return None
    return Money(cents=row["value_cents"], currency=row["currency"])


@strawberry.type
class TouchpointEdge:
    """A touchpoint and where it stands."""

    cursor: str
    node: Touchpoint


@strawberry.type
class TouchpointConnection:
    """A page of touchpoints."""

    edges: list[TouchpointEdge]
    page_info: PageInfo

    @classmethod
    def of(cls, rows: list[Record], size: int) -> Self:
        """The page of `size` rows; one row more tells that another page follows."""
        edges = [TouchpointEdge(cursor=cursor_of(row), node=Touchpoint.of(row)) for row in rows]
        shown = edges[:size]
        return cls(
            edges=shown,
            page_info=PageInfo(
                has_next_page=len(edges) > size, end_cursor=shown[-1].cursor if shown else None
            ),
        )


def cursor_of(row: Record) -> str:
    """Where a touchpoint stands in the history."""
    return encode_cursor(row["touched_at"], str(row["touchpoint_id"]), row["kind"])


def place_of(after: str | None) -> Place | None:
    """The place a cursor holds; raises InvalidPage for one we did not make."""
    key = decode_cursor(after, 3)
    if key is None:
        return None
    try:
        return datetime.fromisoformat(key[0]), UUID(key[1]), TouchpointKind(key[2]).value
    except (ValueError, TypeError, AttributeError):
        raise InvalidPage(
            f"after is {after!r}, which is not a cursor of touchpoints.",
            hint="Pass the endCursor of the page before, unchanged.",
        ) from None


@strawberry.federation.type(keys=["id"])
class Customer:
    """The profile service owns this entity; here it gains its history."""

    id: strawberry.ID

    @classmethod
    def resolve_reference(cls, id: strawberry.ID) -> Self:
        """Build the entity from the gateway's key, which arrives as plain JSON."""
        return cls(id=strawberry.ID(str(UUID(id))))

    @of_customer("Every meeting with this customer, newest first.")
    async def touchpoints(
        self, info: Info, first: int = 50, after: str | None = None
    ) -> TouchpointConnection | None:
        """Pages of all the customers of a request come in one query."""
        await require_own(info.context, UUID(self.id))
        size = page_size(first)
        rows = await info.context.pages.load((UUID(self.id), place_of(after), size + 1))
        return TouchpointConnection.of(rows, size)


async def require_own(context: Context, customer: UUID) -> None:
    """Let a caller who speaks for one customer see no other; raises Forbidden."""
    principal = context.principal
    if not principal.own_customer_only:
        return
    async with context.database.connection() as connection:
        own = await service.is_the_same(connection, principal.customer_ref, customer)
    if not own:
        raise Forbidden(
            f"The role {principal.role.value!r} may see its own customer only.",
            hint="Ask for the customer the token was issued to.",
        )


@strawberry.type
class Query:
    """What can be asked of measurement by itself."""

    @strawberry.federation.field(
        description="Results of what was decided from `from` up to `to`, per combination of the "
        "dimensions in `by`. Counted by whole UTC days: a day the period touches counts whole.",
        requires_scopes=[["results:read"]],
    )
    async def action_results(
        self,
        info: Info,
        start: Annotated[datetime | None, strawberry.argument(name="from")] = None,
        end: Annotated[datetime | None, strawberry.argument(name="to")] = None,
        action: strawberry.ID | None = None,
        channel: Channel | None = None,
        by: list[results.Dimension] = BY_ACTION_AND_CHANNEL,
    ) -> list[ActionResult] | None:
        """From the daily counts: as fast in the tenth year as on the first day."""
        async with info.context.database.connection() as connection:
            found = await service.action_results(connection, by, (start, end), action, channel)
        return [ActionResult.of(result) for result in found]


HIDES: Mapping[str, Hide] = {
    "ActionResult": as_written,
    "Money": as_written,
    "MoneySum": as_written,
    "PageInfo": as_written,
}
"""What holds no words of a customer; all else is shown plainly to who may not know them."""

schema = Schema(
    query=Query, types=[Customer], hides=HIDES, config=StrawberryConfig(scalar_map=SCALARS)
)
