"""Decision, put together."""

from fastapi import FastAPI

from services.chassis.clock import Clock
from services.chassis.database import Database
from services.chassis.masking import Masking
from services.chassis.principal import Principal
from services.chassis.server import Foundation, Service, Work, service_app
from services.contracts.decision import DecisionMade, DecisionSeriesNeeded, OutcomeRecorded
from services.contracts.trust import ServerEvents
from services.decision.handlers import SUBSCRIPTIONS
from services.decision.schema import Context, schema
from services.decision.service.batch_queue import Batches
from services.decision.service.catalogue_cache import Knowledge
from services.decision.service.customers import reading
from services.decision.service.deciding import Desk, Writing
from services.decision.service.resync import sources
from services.decision.settings import DecisionSettings
from services.decision.store.customers import FOR_MANY_SMALL_READS


def create(settings: DecisionSettings | None = None) -> FastAPI:
    """The service as an application."""
    settings = settings or DecisionSettings()
    masking = Masking.over(settings.identifying_names)

    async def compose(foundation: Foundation) -> Service:
        desk = open_desk(settings, foundation.database, foundation.clock)
        async with foundation.database.connection() as connection:
            await desk.knowledge.refresh(connection)

        def context(principal: Principal) -> Context:
            return Context(principal, desk, masking)

        return Service(
            context=context,
            publishes=(DecisionMade, OutcomeRecorded, DecisionSeriesNeeded),
            subscriptions=SUBSCRIPTIONS,
            background=background(desk),
            told_again=sources(desk.knowledge, foundation.clock),
        )

    return service_app(settings, schema, compose)


def open_desk(settings: DecisionSettings, database: Database, clock: Clock) -> Desk:
    """What it takes to decide; its reader, writer and watch are to be run by the caller."""
    knowledge = Knowledge(database)
    waiting, largest = settings.waiting_decisions, settings.batched_decisions
    reader = Batches(
        database,
        reading(knowledge, clock),
        waiting=waiting,
        largest=largest,
        prepare=FOR_MANY_SMALL_READS,
    )
    writer = Batches(database, Writing(database), waiting=waiting, largest=largest)
    server_events = ServerEvents(settings.server_events)
    return Desk(settings, clock, database, knowledge, reader, writer, server_events)


def background(desk: Desk) -> dict[str, Work]:
    """What has to run for the desk to answer."""
    return {
        "customer reader": desk.reader.run,
        "decision writer": desk.writer.run,
        "catalogue watch": lambda: desk.knowledge.watch(desk.settings.catalogue_check_s),
    }
