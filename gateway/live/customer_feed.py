"""What happens on the bus, by customer: one connection, one NATS subscription per customer.

These are plain NATS subscriptions, beside the streams: they cost JetStream nothing and end with
their watches. In return nothing is stored for a time without NATS, so a watch gets INTERRUPTED when
that begins and GAP when something may have been missed.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any
from uuid import UUID

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from prometheus_client import Counter, Gauge

from gateway.live.activity import (
    ACTIVITY_KINDS,
    Activity,
    ActivityKind,
    CustomerDiff,
    CustomerDigests,
    read_event,
)
from gateway.live.customer_watch import CustomerWatch, WatchedCustomer, create_notice
from gateway.supergraph.lru import Lru
from services.chassis.errors import RaakError, Unavailable
from services.chassis.streams import inbox_prefix, stream_name
from services.contracts.base import Event
from services.contracts.profile import CustomerChanged, CustomersMerged

log = logging.getLogger(__name__)

PING_S = 5
"""How often NATS is pinged; after two pings without an answer the watches get INTERRUPTED. The
client's own two minutes are too long to take silence for nothing having happened."""
REPLY_WITHIN_S = 2
MAX_EVENT_IDS = 4_096
"""Events remembered by their ids: the relay sends one again whose acknowledgement it missed."""

WATCHED = Gauge("raak_live_watched_customers", "Customers that subscriptions watch")
ACTIVITIES = Counter("raak_live_activities", "Activities sent to subscriptions", ["kind"])

NATS_ERRORS = (OSError, TimeoutError, nats.errors.Error, nats.js.errors.Error)


class LiveUnavailable(Unavailable, code="LIVE_UNAVAILABLE"):
    """NATS does not answer now."""


class UnprovedLink(RaakError, code="LINK_NOT_PROVED", status=403):
    """A watched customer was merged with another on the word of a caller that proves nothing."""

    def __init__(self) -> None:
        super().__init__(
            "The customer was merged with another one, and nobody proved that they are one.",
            hint="Subscribe again: you may if your token speaks for them.",
        )


class CustomerFeed:
    """The watches and their subscriptions at NATS; `max_waiting` bounds what waits for a watch."""

    def __init__(self, url: str, max_waiting: int) -> None:
        self._url = url
        self._max_waiting = max_waiting
        self._client: Client | None = None
        self._customers: dict[UUID, WatchedCustomer] = {}
        self._subscriptions: dict[WatchedCustomer, asyncio.Task[Subscription]] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._event_ids: Lru[bool] = Lru(MAX_EVENT_IDS)

    @property
    def is_connected(self) -> bool:
        return self._client is not None and self._client.is_connected

    @property
    def customer_ids(self) -> frozenset[UUID]:
        return frozenset(self._customers)

    async def run(self) -> None:
        """Stay connected until cancelled, however often NATS comes and goes."""
        client = Client()
        try:
            await client.connect(
                self._url,
                name="gateway",
                inbox_prefix=inbox_prefix("gateway"),
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.5,  # type: ignore[arg-type]  # it sleeps for it
                connect_timeout=2,
                ping_interval=PING_S,
                max_outstanding_pings=2,
                disconnected_cb=partial(self._notify_all, ActivityKind.INTERRUPTED),
                reconnected_cb=partial(self._notify_all, ActivityKind.GAP),
                error_cb=_log_nats_error,
            )
            # A merge is addressed to the survivor; watches on the other customer need it too.
            await client.subscribe(f"{CustomersMerged.type()}.*", cb=self._receive_merge)
            self._client = client
            await asyncio.get_running_loop().create_future()
        finally:
            self._client = None
            with suppress(OSError, AttributeError, TypeError, nats.errors.Error):
                await client.close()  # it may be away just now: see services.chassis.bus

    @asynccontextmanager
    async def watch(
        self, customer_id: UUID, *, follows_unproved: bool = True
    ) -> AsyncIterator[CustomerWatch]:
        """A watch on what happens with a customer from now on; raises LiveUnavailable.

        The first activity is WATCHING: a client that reads the customer then misses nothing.
        """
        customer = self._customer(customer_id)
        watch = CustomerWatch(customer, self._max_waiting, follows_unproved=follows_unproved)
        try:
            await self._listen(watch.customer)
            self._put(watch, create_notice(ActivityKind.WATCHING, customer_id))
            yield watch
        finally:
            self._detach(watch)

    def _customer(self, customer_id: UUID) -> WatchedCustomer:
        customer = self._customers.get(customer_id)
        if customer is None:
            customer = self._customers[customer_id] = WatchedCustomer(customer_id)
            WATCHED.set(len(self._customers))
        return customer

    def _detach(self, watch: CustomerWatch) -> None:
        """Take a watch from its customer; the last one ends the subscription at NATS."""
        customer = watch.customer
        customer.watches.discard(watch)
        if customer.watches or self._customers.get(customer.customer_id) is not customer:
            return
        del self._customers[customer.customer_id]
        WATCHED.set(len(self._customers))
        if customer in self._subscriptions:
            self._run_in_background(_unsubscribe(self._subscriptions.pop(customer)))

    def _run_in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _listen(self, customer: WatchedCustomer) -> None:
        """Return once NATS sends what happens with the customer."""
        if not self.is_connected:
            raise LiveUnavailable(
                "NATS does not answer, so no customer can be watched now.",
                hint="Try again shortly; queries are not affected.",
            )
        if customer not in self._subscriptions:
            self._subscriptions[customer] = asyncio.create_task(self._subscribe(customer))
        try:
            await asyncio.shield(self._subscriptions[customer])
        except NATS_ERRORS as error:
            raise LiveUnavailable(
                f"NATS does not let us subscribe ({type(error).__name__}).",
                hint="Try again shortly.",
            ) from None

    async def _subscribe(self, customer: WatchedCustomer) -> Subscription:
        assert self._client is not None
        has_digests = asyncio.Event()
        subscription = await self._client.subscribe(
            f"raak.*.*.*.{customer.customer_id}", cb=partial(self._receive, customer, has_digests)
        )
        try:
            await self._client.flush(REPLY_WITHIN_S)
            customer.digests = await self._load_digests(self._client, customer.customer_id)
        except BaseException:
            with suppress(*NATS_ERRORS):
                await subscription.unsubscribe()
            raise
        has_digests.set()
        return subscription

    async def _load_digests(self, client: Client, customer_id: UUID) -> CustomerDigests | None:
        """The digests of the customer's last snapshot on the bus, to find their next change by."""
        subject = f"{CustomerChanged.type()}.{customer_id}"
        try:
            async with asyncio.timeout(REPLY_WITHIN_S):
                message = await client.jetstream().get_last_msg(
                    stream_name(CustomerChanged.fact), subject, direct=True
                )
            return CustomerDigests.from_event(CustomerChanged.from_cloudevent(message.data or b""))
        except nats.js.errors.NotFoundError:
            return CustomerDigests()
        except (*NATS_ERRORS, ValueError, KeyError) as error:
            _log("no snapshot to begin with", error)
            return None

    # What comes from the bus

    async def _receive(
        self, customer: WatchedCustomer, has_digests: asyncio.Event, message: Msg
    ) -> None:
        await has_digests.wait()
        if message.subject.startswith(CustomersMerged.type()):
            return  # `_receive_merge` gets those of all customers
        event = self._read(message)
        if event is None:
            return
        content = _find_changes(customer, event) if isinstance(event, CustomerChanged) else event
        if content:
            self._notify(customer, _activity(event, customer.customer_id, content))

    async def _receive_merge(self, message: Msg) -> None:
        """Notify both sides of a merge; watches on the absorbed customer go on with the survivor.

        They may: it is the same person, and profile answers for either id with the survivor. If
        the merge is not proved, a caller that speaks for one customer has to subscribe again.
        """
        event = self._read(message)
        if not isinstance(event, CustomersMerged) or event.customer_id is None:
            return
        activity = _activity(event, event.customer_id, event)
        if survivor := self._customers.get(event.customer_id):
            self._notify(survivor, activity)
        absorbed = self._customers.get(event.from_customer_id)
        for watch in list(absorbed.watches) if absorbed else ():
            if not (event.is_proved or watch.follows_unproved):
                watch.fail(UnprovedLink())
                continue
            self._put(watch, activity)
            self._run_in_background(self._move(watch, event.customer_id))

    async def _move(self, watch: CustomerWatch, customer_id: UUID) -> None:
        if watch not in watch.customer.watches:  # its subscription has just ended
            return
        self._detach(watch)
        watch.customer = self._customer(customer_id)
        watch.customer.watches.add(watch)
        try:
            await self._listen(watch.customer)
        except LiveUnavailable as failure:
            watch.fail(failure)
        else:
            self._put(watch, create_notice(ActivityKind.WATCHING, customer_id))

    def _read(self, message: Msg) -> Event | None:
        """The event, if it is to be reported and is new.

        What cannot be read is only logged: the services put it aside as a dead letter.
        """
        try:
            event = read_event(message.subject, message.data)
        except ValueError as error:
            _log("an event cannot be read", error)
            return None
        if event is None or event.event_id in self._event_ids:
            return None
        self._event_ids.put(event.event_id, True)
        return event

    # What goes to the watches

    async def _notify_all(self, kind: ActivityKind) -> None:
        for customer in self._customers.values():
            self._notify(customer, create_notice(kind, customer.customer_id))

    def _notify(self, customer: WatchedCustomer, activity: Activity) -> None:
        for watch in customer.watches:
            self._put(watch, activity)

    def _put(self, watch: CustomerWatch, activity: Activity) -> None:
        ACTIVITIES.labels(activity.kind.value).inc()
        watch.put(activity)


def _activity(event: Event, customer_id: UUID, content: Event | CustomerDiff) -> Activity:
    kind = ACTIVITY_KINDS[type(event)]
    return Activity(event.event_id, event.occurred_at, kind, customer_id, content)


def _find_changes(customer: WatchedCustomer, event: CustomerChanged) -> CustomerDiff | None:
    """What is new in a snapshot; None for an older one, and for one there is nothing to compare to.

    Each event of a customer makes a snapshot of them, mostly with nothing in it but the event.
    """
    before, after = customer.digests, CustomerDigests.from_event(event)
    if before is not None and after.version <= before.version:
        return None
    customer.digests = after
    return before.compare(after) if before is not None else None


async def _unsubscribe(subscribing: asyncio.Task[Subscription]) -> None:
    with suppress(*NATS_ERRORS):
        await (await subscribing).unsubscribe()


async def _log_nats_error(error: Exception) -> None:
    _log("bus trouble", error)


def _log(problem: str, error: Exception) -> None:
    log.warning(problem, extra={"fields": {"because": type(error).__name__}})
