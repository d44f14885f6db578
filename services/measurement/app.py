"""Composition root of the measurement service."""

from fastapi import FastAPI

from services.chassis.masking import Masking
from services.chassis.server import Foundation, Service, service_app
from services.measurement.domain.conversions import Conversions
from services.measurement.handlers import subscriptions
from services.measurement.schema import Context, schema
from services.measurement.settings import MeasurementSettings


def create(settings: MeasurementSettings | None = None) -> FastAPI:
    settings = settings or MeasurementSettings()
    masking = Masking(frozenset(settings.identifying_names))
    conversions = Conversions(
        frozenset(settings.conversion_events), settings.currency, settings.untrusted_values
    )

    async def compose(foundation: Foundation) -> Service:
        return Service(
            context=lambda principal: Context(principal, foundation.database, masking),
            publishes=(),
            subscriptions=subscriptions(conversions),
        )

    return service_app(settings, schema, compose)
