"""The decision service as an application."""

from fastapi import FastAPI

from services.chassis.clock import Clock
from services.chassis.database import Database
from services.chassis.masking import Masking
from services.chassis.principal import Principal
from services.chassis.server import Foundation, Service, Work, service_app
from services.contracts.decision import DecisionRecorded, DecisionSeriesNeeded, OutcomeRecorded
from services.contracts.trust import ServerEvents
from services.decision.handlers import SUBSCRIPTIONS
from services.decision.schema import Context, schema
from services.decision.service.batch_queue import BatchQueue
from services.decision.service.catalogue_cache import CatalogueCache
from services.decision.service.customers import build_customer_loader
from services.decision.service.deciding import DecisionContext, DecisionWriter
from services.decision.service.resync import build_sources
from services.decision.settings import DecisionSettings
from services.decision.store.customers import FOR_MANY_SMALL_READS


def create(settings: DecisionSettings | None = None) -> FastAPI:
    settings = settings or DecisionSettings()
    masking = Masking(frozenset(settings.identifying_names))

    async def compose(foundation: Foundation) -> Service:
        decision_context = open_decision_context(settings, foundation.database, foundation.clock)
        async with foundation.database.connection() as connection:
            await decision_context.catalogue_cache.refresh(connection)

        def context(principal: Principal) -> Context:
            return Context(principal, decision_context, masking)

        return Service(
            context=context,
            publishes=(DecisionRecorded, OutcomeRecorded, DecisionSeriesNeeded),
            subscriptions=SUBSCRIPTIONS,
            background=list_background_work(decision_context),
            resync_sources=build_sources(decision_context.catalogue_cache, foundation.clock),
        )

    return service_app(settings, schema, compose)


def open_decision_context(
    settings: DecisionSettings, database: Database, clock: Clock
) -> DecisionContext:
    """What deciding needs; the caller runs its background work."""
    catalogue_cache = CatalogueCache(database)
    max_waiting, max_batch = settings.waiting_decisions, settings.batched_decisions
    reader = BatchQueue(
        database,
        build_customer_loader(catalogue_cache, clock),
        max_waiting=max_waiting,
        max_batch=max_batch,
        prepare=FOR_MANY_SMALL_READS,
    )
    writer = BatchQueue(
        database, DecisionWriter(database), max_waiting=max_waiting, max_batch=max_batch
    )
    server_events = ServerEvents(settings.server_events)
    return DecisionContext(
        settings, clock, database, catalogue_cache, reader, writer, server_events
    )


def list_background_work(context: DecisionContext) -> dict[str, Work]:
    return {
        "customer reader": context.reader.run,
        "decision writer": context.writer.run,
        "catalogue watch": lambda: context.catalogue_cache.watch(
            context.settings.catalogue_check_s
        ),
    }
