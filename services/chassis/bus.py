"""NATS JetStream: one stream per fact, one durable consumer per service and fact.

A stream keeps each customer's events under a subject of their own, so a compacted fact keeps the
latest one of every customer, and one customer can be purged from all streams.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    ConsumerInfo,
    DeliverPolicy,
    PubAck,
    StorageType,
    StreamConfig,
)

from services.chassis.errors import Unavailable
from services.contracts.base import Event

log = logging.getLogger(__name__)

KEPT_S = 7 * 24 * 3600
"""How long a stream keeps an event, unless it is compacted; the inbox remembers ids for longer."""

DEAD_LETTERS = "RAAK_DEAD_LETTERS"
RETRIES = "RAAK_RETRIES"
DEAD = StreamConfig(
    name=DEAD_LETTERS,
    subjects=["raak.dead.>"],
    storage=StorageType.FILE,
    duplicate_window=0,
)
RETRY = StreamConfig(
    name=RETRIES,
    subjects=["raak.retry.>"],
    storage=StorageType.FILE,
    max_age=KEPT_S,
    duplicate_window=1,
)
IN_FLIGHT = 512  # 64 gave 33 thousand acknowledged messages a second; more waits less often
ACK_TIMEOUT_S = 3  # what is sent again after it is recognised by its id
REDELIVERED_S = 15
"""After so long without a word of its consumer an event is delivered again, so a service that was
killed has what it had in hand back within this time; one that comes twice is known by the inbox."""

LOOK_S = 5
"""How often streams and consumers are looked for; after a reconnect it is done at once."""

PLACE = "Raak-Place"
"""Header of a message: the epoch of the database it comes from, and its place in the outbox."""

TROUBLE = (TimeoutError, nats.errors.Error, nats.js.errors.Error)

UNACKED = 4_000  # what a consumer may hold; with 1-4 KB an event it stays under 20 MB


class BusUnavailable(Unavailable):
    """NATS does not answer, or does not acknowledge."""

    code = "BUS_UNAVAILABLE"


class OutgoingMessage(NamedTuple):
    """What the relay hands over; `id` lets JetStream drop a message sent twice in two minutes."""

    address: str
    id: str
    body: bytes
    place: "Place | None" = None


class Place(NamedTuple):
    """Where a message stands among all its database has sent; a later one is greater."""

    epoch: int
    position: int


class StreamState(NamedTuple):
    """Which stream this is, and how far it has come."""

    created: datetime
    last_sequence: int


@dataclass(slots=True)
class Listening:
    """A consumer of ours, and the subscription its messages come by."""

    stream: str
    subject: str
    receive: Callable[[Msg], Awaitable[None]]
    subscription: JetStreamContext.PushSubscription | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event a consumer could not take in, and why."""

    sequence: int
    service: str
    fact: str
    reason: str
    deliveries: int
    body: bytes


def stream_name(fact: str) -> str:
    """`profile.customer_changed.v1` is kept in `RAAK_PROFILE_CUSTOMER_CHANGED_V1`."""
    return f"RAAK_{fact.replace('.', '_').upper()}"


def consumer_name(service: str, fact: str) -> str:
    """How JetStream knows a service's consumer of a fact."""
    return f"{service}-{fact}".replace(".", "_")


def inbox_of(process: str) -> str:
    """Where NATS answers a process and delivers to it: no other process may listen there."""
    return f"_INBOX.{process}"


def stream_of(event: type[Event]) -> StreamConfig:
    """The stream a fact is kept in."""
    return StreamConfig(
        name=stream_name(event.fact),
        subjects=[f"{event.type()}.*"],
        storage=StorageType.FILE,
        max_msgs_per_subject=1 if event.compacted else -1,
        max_age=0 if event.compacted else KEPT_S,
        duplicate_window=120,
        allow_direct=True,
    )


class Bus:
    """A connection to NATS. What it was asked to keep it makes again when NATS has lost it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        # We bound what is in flight ourselves: at nats-py's own bound, a publisher that waits
        # swallows its cancellation, and what is never acknowledged holds its place for ever.
        self._stream = client.jetstream(publish_async_max_pending=2**31, timeout=ACK_TIMEOUT_S)
        self._kept: dict[str, StreamConfig] = {one.name or "": one for one in (DEAD, RETRY)}
        self._listening: dict[str, Listening] = {}
        self._listeners: dict[str, set[str]] = {}
        self._news = asyncio.Event()
        self.changes = 0
        """Grows when NATS may have lost something: it was away, or a stream was made again."""

    async def keep(self, events: Sequence[type[Event]]) -> None:
        """Make sure the streams of these facts exist, and the one for dead letters."""
        self._kept |= {stream_name(event.fact): stream_of(event) for event in events}
        for config in self._kept.values():
            await self._stream.add_stream(config)

    def wake(self) -> None:
        """Look for streams and consumers now: NATS was away, or has lost one."""
        self.changes += 1
        self._news.set()

    async def run(self) -> None:
        """Make streams and consumers again that NATS has lost, until cancelled.

        Raises:
            BusUnavailable: NATS does not answer, or refuses to store.
        """
        while True:
            self._news.clear()
            try:
                await self._restore()
            except TROUBLE as error:
                raise BusUnavailable(
                    f"NATS does not keep our streams ({type(error).__name__}).",
                    hint="Look into its log and whether its disk is full.",
                ) from error
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._news.wait()

    async def _restore(self) -> None:
        for name, config in self._kept.items():
            try:
                await self._stream.stream_info(name)
            except nats.js.errors.NotFoundError:
                _tell("a stream was lost and is made again", stream=name)
                await self._stream.add_stream(config)
                self.changes += 1
        for durable in list(self._listening):
            await self._listen_again(durable)

    async def _listen_again(self, durable: str) -> None:
        """Have a consumer again that is lost, or delivers to somebody who is gone."""
        listening = self._listening[durable]
        try:
            config = (await self._stream.consumer_info(listening.stream, durable)).config
        except nats.js.errors.NotFoundError:
            pass
        else:
            here = listening.subscription
            if here is not None and config.deliver_subject == here.subject:
                return
        _tell("a consumer was lost and is made again", consumer=durable)
        await self._consume(durable, listening)

    async def publish(self, messages: Sequence[OutgoingMessage]) -> list[PubAck]:
        """Send messages in order; returns when JetStream has acknowledged all of them."""
        acks: list[PubAck] = []
        try:
            for start in range(0, len(messages), IN_FLIGHT):
                async with asyncio.timeout(ACK_TIMEOUT_S):
                    acks += await self._publish_together(messages[start : start + IN_FLIGHT])
        except TROUBLE as error:
            self.wake()
            raise BusUnavailable(
                f"JetStream did not acknowledge ({type(error).__name__}).",
                hint="Nothing is lost: it is sent again when NATS answers.",
            ) from error
        return acks

    async def _publish_together(self, messages: Sequence[OutgoingMessage]) -> list[PubAck]:
        acks: list[asyncio.Future[PubAck]] = []
        try:
            for message in messages:
                headers = {"Nats-Msg-Id": message.id}
                if message.place is not None:
                    headers[PLACE] = f"{message.place.epoch} {message.place.position}"
                acks.append(
                    await self._stream.publish_async(message.address, message.body, headers=headers)
                )
            return await asyncio.gather(*acks)
        finally:
            for ack in acks:
                ack.cancel()

    async def state(self, stream: str) -> StreamState | None:
        """What a stream is now, None when NATS has lost it; raises BusUnavailable."""
        try:
            info = await self._stream.stream_info(stream)
        except nats.js.errors.NotFoundError:
            self.wake()
            return None
        except TROUBLE as error:
            raise _silent(error) from error
        assert info.created is not None
        return StreamState(info.created, info.state.last_seq)

    async def last_place(self, stream: str) -> Place | None:
        """Where the latest message of a stream stands; None when there is none, or it is mute."""
        try:
            return _place((await self._stream.get_last_msg(stream, ">")).headers or {})
        except nats.js.errors.NotFoundError:
            return None
        except TROUBLE as error:
            raise _silent(error) from error

    async def heard(self, stream: str, last_sequence: int) -> int:
        """Up to which sequence all who listen to a stream have taken it in; raises BusUnavailable.

        `last_sequence` is the stream's of a moment before. 0 when nobody listens, or one who did is
        not to be seen.
        """
        try:
            listeners = await self._stream.consumers_info(stream)
        except TROUBLE as error:
            raise _silent(error) from error
        known = self._listeners.setdefault(stream, set())
        lost = known - {one.name for one in listeners}
        known |= {one.name for one in listeners}
        return 0 if lost else min((_heard(one, last_sequence) for one in listeners), default=0)

    async def waiting(self, event: type[Event]) -> int:
        """How many events of a fact its slowest listener has still to take in."""
        try:
            listeners = await self._stream.consumers_info(stream_name(event.fact))
        except TROUBLE as error:
            raise _silent(error) from error
        waiting = ((one.num_pending or 0) + (one.num_ack_pending or 0) for one in listeners)
        return max(waiting, default=0)

    async def subscribe(
        self, service: str, fact: str, receive: Callable[[Msg], Awaitable[None]]
    ) -> None:
        """Have every event of a fact delivered to one replica of a service, until acknowledged."""
        name = consumer_name(service, fact)
        for durable, listening in {
            name: Listening(stream_name(fact), f"raak.{fact}.*", receive),
            f"{name}-retry": Listening(RETRIES, f"raak.retry.{service}.{fact}", receive),
        }.items():
            if durable in self._listening:
                listening.subscription = self._listening[durable].subscription
            self._listening[durable] = listening
            await self._consume(durable, listening)

    async def _consume(self, durable: str, listening: Listening) -> None:
        before, listening.subscription = listening.subscription, None
        if before is not None:
            with suppress(nats.errors.Error):
                await before.unsubscribe()
        await self._claim(listening.stream, durable)
        listening.subscription = await self._stream.subscribe(
            listening.subject,
            stream=listening.stream,
            queue=durable,
            durable=durable,
            cb=listening.receive,
            manual_ack=True,
            config=ConsumerConfig(
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=REDELIVERED_S,
                max_ack_pending=UNACKED,
                deliver_policy=DeliverPolicy.ALL,
            ),
            pending_msgs_limit=2 * UNACKED,
            pending_bytes_limit=512 * 1024 * 1024,
        )

    async def _claim(self, stream: str, durable: str) -> None:
        """Have a consumer that an older release made deliver to where only we may listen."""
        try:
            config = (await self._stream.consumer_info(stream, durable)).config
        except nats.js.errors.NotFoundError:
            return
        inbox = self._client.new_inbox()
        own = inbox.rpartition(".")[0] + "."
        if not (config.deliver_subject or "").startswith(own):
            await self._stream.add_consumer(stream, config.evolve(deliver_subject=inbox))

    async def listen_afresh(self) -> None:
        """Have all that the streams keep delivered again; raises BusUnavailable."""
        for durable, listening in self._listening.items():
            try:
                await self._stream.delete_consumer(listening.stream, durable)
            except nats.js.errors.NotFoundError:
                continue
            except TROUBLE as error:
                raise _silent(error) from error
        self.wake()

    async def acknowledge(self, message: Msg) -> None:
        """Say that a message was taken in, unless its consumer is another one by now.

        In a stream made anew its number is another event's, which nobody has taken in yet.
        """
        here = (one.subscription for one in self._listening.values())
        if any(one is not None and one._id == message.sid for one in here):
            await message.ack()

    async def bury(self, service: str, fact: str, message: Msg, reason: str) -> None:
        """Put a message aside as a dead letter of this consumer."""
        try:
            await self._stream.publish(
                f"raak.dead.{service}.{fact}",
                message.data,
                headers={"Raak-Reason": reason, "Raak-Deliveries": str(deliveries(message))},
            )
        except TROUBLE as error:
            self.wake()
            raise _silent(error) from error

    async def dead_letters(self) -> list[DeadLetter]:
        """All dead letters, oldest first."""
        await self.keep([])
        state = (await self._stream.stream_info(DEAD_LETTERS)).state
        found = []
        for sequence in range(max(1, state.first_seq), state.last_seq + 1):
            try:
                raw = await self._stream.get_msg(DEAD_LETTERS, sequence)
            except nats.js.errors.NotFoundError:
                continue
            service, fact = (raw.subject or "").removeprefix("raak.dead.").split(".", 1)
            headers = raw.headers or {}
            found.append(
                DeadLetter(
                    sequence=sequence,
                    service=service,
                    fact=fact,
                    reason=headers.get("Raak-Reason", ""),
                    deliveries=int(headers.get("Raak-Deliveries", "0")),
                    body=raw.data or b"",
                )
            )
        return found

    async def replay(self, letter: DeadLetter) -> None:
        """Deliver a dead letter once more, to the one consumer that could not take it in."""
        await self._stream.publish(f"raak.retry.{letter.service}.{letter.fact}", letter.body)
        await self._stream.delete_msg(DEAD_LETTERS, letter.sequence)


def _place(headers: dict[str, str]) -> Place | None:
    if PLACE not in headers:
        return None
    epoch, position = headers[PLACE].split()
    return Place(int(epoch), int(position))


def place_of(message: Msg) -> Place | None:
    """Where a message stands among all its sender has sent; None if it does not say."""
    return _place(message.headers or {})


def _heard(listener: ConsumerInfo, last_sequence: int) -> int:
    """Up to where one consumer has acknowledged everything."""
    assert listener.ack_floor is not None
    assert listener.delivered is not None
    if listener.num_ack_pending:
        return listener.ack_floor.stream_seq
    return listener.delivered.stream_seq if listener.num_pending else last_sequence


def _silent(error: Exception) -> BusUnavailable:
    return BusUnavailable(
        f"NATS does not do what it is asked ({type(error).__name__}).",
        hint="Try again when NATS answers.",
    )


def _tell(what: str, **fields: str) -> None:
    log.warning(what, extra={"fields": fields})


def deliveries(message: Msg) -> int:
    """How often this message has been delivered, this time included."""
    return message.metadata.num_delivered or 1


@asynccontextmanager
async def open_bus(
    url: str, *, process: str = "raak", patience_s: float = 30
) -> AsyncIterator[Bus]:
    """Connect to NATS as a process, waiting for it to come up; reconnects by itself ever after."""
    client = Client()
    bus = Bus(client)
    await _connect(client, url, process, patience_s, bus.wake)
    try:
        yield bus
    finally:
        # it may be away just now, and asyncio's own loop says this badly when it writes to a
        # connection that is lost (cpython gh-136234)
        with suppress(OSError, AttributeError, TypeError, nats.errors.Error):
            await client.close()


async def _connect(
    client: Client, url: str, process: str, patience_s: float, on_reconnect: Callable[[], None]
) -> None:
    """Connect a client whose own patience is endless, as it must be once it is connected."""

    async def reconnected() -> None:
        on_reconnect()

    try:
        async with asyncio.timeout(patience_s):
            await client.connect(
                url,
                name=process,
                inbox_prefix=inbox_of(process),
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.5,  # type: ignore[arg-type]  # it sleeps for it
                error_cb=_log_error,
                connect_timeout=2,
                reconnected_cb=reconnected,
            )
    except (OSError, TimeoutError, nats.errors.Error) as error:
        because = client.last_error or error
        raise BusUnavailable(
            f"NATS does not let us in ({because or type(because).__name__}).",
            hint="Start NATS, or set RAAK_NATS_URL to where it is, with user and password.",
        ) from error


async def _log_error(error: Exception) -> None:
    log.warning("bus trouble", extra={"fields": {"because": type(error).__name__}})
