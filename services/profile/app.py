"""The composition of the profile service."""

import logging
from functools import partial

from fastapi import FastAPI

from services.chassis import outbox
from services.chassis.masking import Masking
from services.chassis.server import Foundation, Service, service_app
from services.contracts.profile import (
    CustomerChanged,
    CustomersMerged,
    EventRecorded,
    EventSetAside,
)
from services.profile.collect import Collector
from services.profile.handlers import subscriptions
from services.profile.schema import Context, schema
from services.profile.service.call_reader import CallReader
from services.profile.service.refreshing import Refresher
from services.profile.service.resync import load_customers
from services.profile.service.segment_cache import SegmentCache
from services.profile.settings import ProfileSettings

log = logging.getLogger(__name__)

TRUST_WARNING = (
    "RAAK_PROFILE_TRUST_WRITE_KEYS is on: anybody who reads a write key in a page can attach a"
    " browser to any customer by an e-mail address or another identity, read and change what is"
    " known of that customer with a visitor's token, and join two customers."
)


def create(settings: ProfileSettings | None = None) -> FastAPI:
    settings = settings or ProfileSettings()

    async def compose(base: Foundation) -> Service:
        if settings.trust_write_keys:
            log.warning(TRUST_WARNING)
        cache, reader = SegmentCache(), CallReader.from_settings(settings)
        refresher = Refresher(
            base.database,
            cache,
            base.clock,
            settings.refresh_every_s,
            settings.refresh_chunk,
            backlog=partial(count_unsent_snapshots, base),
        )
        collector = Collector(
            base.database,
            cache,
            reader,
            base.verifier,
            base.clock,
            settings.largest_body_bytes,
        )
        return Service(
            context=lambda principal: Context(
                principal,
                base.database,
                cache,
                reader,
                refresher.wake,
                base.clock,
                settings.scan_limit,
                Masking(frozenset(settings.identifying_names)),
                settings.trust_write_keys,
            ),
            publishes=[EventRecorded, EventSetAside, CustomerChanged, CustomersMerged],
            subscriptions=subscriptions(cache, base.clock, reader.customer_limits),
            background={"refresher": refresher.run},
            resync_sources={"customers": partial(load_customers, cache, base.clock)},
            router=collector.router(),
        )

    return service_app(settings, schema, compose)


async def count_unsent_snapshots(base: Foundation) -> int:
    """How many snapshots have not reached all listeners."""
    async with base.database.connection() as connection:
        return await outbox.count_backlog(connection, base.bus, CustomerChanged)
