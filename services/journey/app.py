"""Composition root of the journey service."""

from datetime import timedelta
from functools import partial

from fastapi import FastAPI

from services.chassis.masking import Masking
from services.chassis.server import Foundation, Service, service_app
from services.contracts.journey import InstanceEnded, JourneySeriesNeeded, MessageDue, StepEntered
from services.journey.handlers import subscriptions
from services.journey.schema import Context, schema
from services.journey.service.engine import Engine
from services.journey.service.maintenance import compact_tallies
from services.journey.service.resync import sources
from services.journey.service.timers import OVERDUE, TimerRunner, count_overdue
from services.journey.settings import JourneySettings


def create(settings: JourneySettings | None = None) -> FastAPI:
    settings = settings or JourneySettings()

    masking = Masking(frozenset(settings.identifying_names))

    async def compose(base: Foundation) -> Service:
        engine = Engine(
            clock=base.clock,
            enter_late=timedelta(hours=settings.enter_late_hours),
            patience_s=settings.snapshot_patience_ms / 1000,
        )
        return Service(
            context=lambda principal: Context(principal, base.database, engine, masking),
            publishes=[StepEntered, InstanceEnded, MessageDue, JourneySeriesNeeded],
            subscriptions=subscriptions(engine),
            background={
                "timers": TimerRunner(engine, base.database, settings.timer_batch).run,
                "tallies": partial(compact_tallies, base.database),
            },
            counts={OVERDUE: partial(count_overdue, clock=base.clock)},
            resync_sources=sources(engine),
        )

    return service_app(settings, schema, compose)
