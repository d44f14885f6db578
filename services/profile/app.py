"""Profile put together: what it needs, opened; what it does, wired."""

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
from services.profile.service.call_reader import Reader
from services.profile.service.refreshing import Refresher
from services.profile.service.resync import Customers
from services.profile.service.segment_cache import Rulebooks
from services.profile.settings import ProfileSettings

log = logging.getLogger(__name__)

LOOSE = (
    "RAAK_PROFILE_TRUST_WRITE_KEYS is on: whoever reads a write key in a page can attach their"
    " browser to any customer by an e-mail address or another identity, read and change what is"
    " known of that customer with a visitor's token, and join two customers."
)


def create(settings: ProfileSettings | None = None) -> FastAPI:
    """The application of the profile service."""
    settings = settings or ProfileSettings()

    async def compose(base: Foundation) -> Service:
        if settings.trust_write_keys:
            log.warning(LOOSE)
        rulebooks, reader = Rulebooks(), Reader.within(settings)
        refresher = Refresher(
            base.database,
            rulebooks,
            base.clock,
            settings.refresh_every_s,
            settings.refresh_chunk,
            backlog=partial(snapshots_on_their_way, base),
        )
        collector = Collector(
            base.database,
            rulebooks,
            reader,
            base.verifier,
            base.clock,
            settings.largest_body_bytes,
        )
        return Service(
            context=Context.factory(
                base.database,
                rulebooks,
                reader,
                refresher.wake,
                base.clock,
                settings.scan_limit,
                Masking.over(settings.identifying_names),
                settings.trust_write_keys,
            ),
            publishes=[EventRecorded, EventSetAside, CustomerChanged, CustomersMerged],
            subscriptions=subscriptions(rulebooks, base.clock, reader.room),
            background={"refresher": refresher.run},
            told_again={"customers": Customers(rulebooks, base.clock)},
            router=collector.router(),
        )

    return service_app(settings, schema, compose)


async def snapshots_on_their_way(base: Foundation) -> int:
    """How many snapshots have not reached all who listen."""
    async with base.database.connection() as connection:
        return await outbox.backlog(connection, base.bus, CustomerChanged)
