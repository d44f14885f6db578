"""The bus as those who watch a customer hear it: one connection, one subscription per customer.

These are plain NATS subscriptions, beside the streams: they cost JetStream nothing and are gone
with their listeners. In return nothing is kept for a time in which we could not hear, so a watcher
is told when we cannot (INTERRUPTED) and when he may have missed something (GAP).
"""

import asyncio
import logging
from collections import OrderedDict
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
    KINDS,
    Activity,
    ActivityKind,
    CustomerDiff,
    CustomerDigests,
    read_event,
)
from gateway.live.customer_watch import CustomerWatch, WatchedCustomer, note
from services.chassis.bus import inbox_of, stream_name
from services.chassis.errors import RaakError, Unavailable
from services.contracts.base import Event
from services.contracts.profile import CustomerChanged, CustomersMerged

log = logging.getLogger(__name__)

PING_S = 5
"""How often NATS is asked whether it is there; after two silences it is not, and who watches is
told. The client's own two minutes are too long to take silence for nothing having happened."""
ANSWER_S = 2
REMEMBERED = 4_096
"""Events known by their ids: the relay sends one again whose acknowledgement it missed."""

WATCHED = Gauge("raak_live_watched_customers", "Customers listened for on the bus")
TOLD = Counter("raak_live_activities", "Activities told to watchers", ["kind"])

TROUBLE = (OSError, TimeoutError, nats.errors.Error, nats.js.errors.Error)


class LiveUnavailable(Unavailable):
    """The bus cannot be heard now."""

    code = "LIVE_UNAVAILABLE"


class UnprovedLink(RaakError):
    """A watched customer was joined to another by who proves nothing."""

    code = "LINK_NOT_PROVED"
    status = 403

    def __init__(self) -> None:
        super().__init__(
            "The customer watched was joined to another one, and nobody proved that they are one.",
            hint="Subscribe again: you may if your token speaks for them.",
        )


class CustomerFeed:
    """What happens on the bus, by customer. At most `waiting` activities wait for a watcher."""

    def __init__(self, url: str, waiting: int) -> None:
        self._url = url
        self._waiting = waiting
        self._client: Client | None = None
        self._topics: dict[UUID, WatchedCustomer] = {}
        self._listening: dict[WatchedCustomer, asyncio.Task[Subscription]] = {}
        self._aside: set[asyncio.Task[None]] = set()
        self._known: OrderedDict[UUID, None] = OrderedDict()

    @property
    def connected(self) -> bool:
        """Whether the bus can be heard now."""
        return self._client is not None and self._client.is_connected

    @property
    def watched(self) -> frozenset[UUID]:
        """The customers who are listened for."""
        return frozenset(self._topics)

    async def run(self) -> None:
        """Stay connected until cancelled, however often NATS comes and goes."""
        client = Client()
        try:
            await client.connect(
                self._url,
                name="gateway",
                inbox_prefix=inbox_of("gateway"),
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.5,  # type: ignore[arg-type]  # it sleeps for it
                connect_timeout=2,
                ping_interval=PING_S,
                max_outstanding_pings=2,
                disconnected_cb=partial(self._tell_everybody, ActivityKind.INTERRUPTED),
                reconnected_cb=partial(self._tell_everybody, ActivityKind.GAP),
                error_cb=_log_trouble,
            )
            # A merge is addressed to the survivor; who watches the other must hear of it too.
            await client.subscribe(f"{CustomersMerged.type()}.*", cb=self._hear_merge)
            self._client = client
            await asyncio.get_running_loop().create_future()
        finally:
            self._client = None
            with suppress(OSError, AttributeError, TypeError, nats.errors.Error):
                await client.close()  # it may be away just now: see services.chassis.bus

    @asynccontextmanager
    async def watching(
        self, customer_id: UUID, *, follows_unproved: bool = True
    ) -> AsyncIterator[CustomerWatch]:
        """Hear what happens with a customer from now on; raises LiveUnavailable.

        The first thing told is that we listen: who reads the customer then misses nothing.
        """
        topic = self._topic(customer_id)
        watch = CustomerWatch(topic, self._waiting, follows_unproved=follows_unproved)
        try:
            await self._listen(watch.topic)
            self._tell(watch, note(ActivityKind.WATCHING, customer_id))
            yield watch
        finally:
            self._leave(watch)

    def _topic(self, customer_id: UUID) -> WatchedCustomer:
        topic = self._topics.get(customer_id)
        if topic is None:
            topic = self._topics[customer_id] = WatchedCustomer(customer_id)
            WATCHED.set(len(self._topics))
        return topic

    def _leave(self, watch: CustomerWatch) -> None:
        """Listen no longer than somebody watches."""
        topic = watch.topic
        topic.watches.discard(watch)
        if topic.watches or self._topics.get(topic.customer_id) is not topic:
            return
        del self._topics[topic.customer_id]
        WATCHED.set(len(self._topics))
        if topic in self._listening:
            self._do_aside(_end(self._listening.pop(topic)))

    def _do_aside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    async def _listen(self, topic: WatchedCustomer) -> None:
        """Return once NATS sends what happens with the customer."""
        if not self.connected:
            raise LiveUnavailable(
                "NATS does not answer, so nobody can be watched now.",
                hint="Try again shortly; queries are not affected.",
            )
        if topic not in self._listening:
            self._listening[topic] = asyncio.create_task(self._subscribe(topic))
        try:
            await asyncio.shield(self._listening[topic])
        except TROUBLE as error:
            raise LiveUnavailable(
                f"NATS does not let us listen ({type(error).__name__}).", hint="Try again shortly."
            ) from None

    async def _subscribe(self, topic: WatchedCustomer) -> Subscription:
        assert self._client is not None
        is_based = asyncio.Event()
        subscription = await self._client.subscribe(
            f"raak.*.*.*.{topic.customer_id}", cb=partial(self._hear, topic, is_based)
        )
        try:
            await self._client.flush(ANSWER_S)
            topic.snapshot = await self._last_snapshot(self._client, topic.customer_id)
        except BaseException:
            with suppress(*TROUBLE):
                await subscription.unsubscribe()
            raise
        is_based.set()
        return subscription

    async def _last_snapshot(self, client: Client, customer_id: UUID) -> CustomerDigests | None:
        """What was last said of the whole customer, so that his next change can be told."""
        subject = f"{CustomerChanged.type()}.{customer_id}"
        try:
            async with asyncio.timeout(ANSWER_S):
                kept = await client.jetstream().get_last_msg(
                    stream_name(CustomerChanged.fact), subject, direct=True
                )
            return CustomerDigests.of(CustomerChanged.from_cloudevent(kept.data or b""))
        except nats.js.errors.NotFoundError:
            return CustomerDigests()
        except (*TROUBLE, ValueError, KeyError) as error:
            _log("no snapshot to begin with", error)
            return None

    # What is heard

    async def _hear(self, topic: WatchedCustomer, is_based: asyncio.Event, message: Msg) -> None:
        await is_based.wait()
        if message.subject.startswith(CustomersMerged.type()):
            return  # heard of all customers, below
        event = self._read(message)
        if event is None:
            return
        fact = _changes(topic, event) if isinstance(event, CustomerChanged) else event
        if fact:
            self._tell_all(topic, _activity(event, topic.customer_id, fact))

    async def _hear_merge(self, message: Msg) -> None:
        """Tell both sides of a merge; who watched the one that is gone goes on with the other.

        It may: it is the same person, and profile answers for either id with the survivor. If
        nobody has said so who may, whoever speaks for one customer is sent to ask profile again.
        """
        event = self._read(message)
        if not isinstance(event, CustomersMerged) or event.customer_id is None:
            return
        activity = _activity(event, event.customer_id, event)
        if survivor := self._topics.get(event.customer_id):
            self._tell_all(survivor, activity)
        gone = self._topics.get(event.from_customer_id)
        for watch in list(gone.watches) if gone else ():
            if not (event.is_proved or watch.follows_unproved):
                watch.fail(UnprovedLink())
                continue
            self._tell(watch, activity)
            self._do_aside(self._move(watch, event.customer_id))

    async def _move(self, watch: CustomerWatch, customer_id: UUID) -> None:
        if watch not in watch.topic.watches:  # its watcher has just left
            return
        self._leave(watch)
        watch.topic = self._topic(customer_id)
        watch.topic.watches.add(watch)
        try:
            await self._listen(watch.topic)
        except LiveUnavailable as failure:
            watch.fail(failure)
        else:
            self._tell(watch, note(ActivityKind.WATCHING, customer_id))

    def _read(self, message: Msg) -> Event | None:
        """The event, if it is told at all and not known yet.

        What cannot be read is only logged: the services put it aside as a dead letter.
        """
        try:
            event = read_event(message.subject, message.data)
        except ValueError as error:
            _log("an event cannot be read", error)
            return None
        if event is None or event.event_id in self._known:
            return None
        self._known[event.event_id] = None
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return event

    # Who is told

    async def _tell_everybody(self, kind: ActivityKind) -> None:
        for topic in self._topics.values():
            self._tell_all(topic, note(kind, topic.customer_id))

    def _tell_all(self, topic: WatchedCustomer, activity: Activity) -> None:
        for watch in topic.watches:
            self._tell(watch, activity)

    def _tell(self, watch: CustomerWatch, activity: Activity) -> None:
        TOLD.labels(activity.kind.value).inc()
        watch.tell(activity)


def _activity(event: Event, customer_id: UUID, fact: Event | CustomerDiff) -> Activity:
    return Activity(event.event_id, event.occurred_at, KINDS[type(event)], customer_id, fact)


def _changes(topic: WatchedCustomer, event: CustomerChanged) -> CustomerDiff | None:
    """What is new in a snapshot; None for an older one, and for one there is nothing to compare to.

    Each event of a customer makes a snapshot of him, mostly with nothing in it but the event.
    """
    before, after = topic.snapshot, CustomerDigests.of(event)
    if before is not None and after.version <= before.version:
        return None
    topic.snapshot = after
    return before.changes_to(after) if before is not None else None


async def _end(listening: asyncio.Task[Subscription]) -> None:
    with suppress(*TROUBLE):
        await (await listening).unsubscribe()


async def _log_trouble(error: Exception) -> None:
    _log("bus trouble", error)


def _log(what: str, error: Exception) -> None:
    log.warning(what, extra={"fields": {"because": type(error).__name__}})
