"""A connection to NATS JetStream: publishing, and one durable consumer per service and fact."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
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
    StreamConfig,
)

from services.chassis.errors import Unavailable
from services.chassis.streams import (
    DEAD_LETTER_STREAM,
    DEAD_LETTERS,
    RETRIES,
    RETRY_STREAM,
    DeadLetter,
    OutboxPosition,
    OutgoingMessage,
    consumer_name,
    inbox_prefix,
    stream_config,
    stream_name,
)
from services.contracts.base import Event

log = logging.getLogger(__name__)

IN_FLIGHT = 512  # 64 gave 33 thousand acknowledged messages a second; more waits less often
ACK_TIMEOUT_S = 3  # what is sent again after it is recognised by its id
REDELIVER_AFTER_S = 15
"""After so long without an acknowledgement an event is delivered again, so the events of a killed
service come back within this time; the inbox recognises one that comes twice."""

CHECK_EVERY_S = 5
"""How often streams and consumers are checked; after a reconnect it is done at once."""

NATS_ERRORS = (TimeoutError, nats.errors.Error, nats.js.errors.Error)

MAX_UNACKED = 4_000  # what a consumer may hold; with 1-4 KB an event it stays under 20 MB


class BusUnavailable(Unavailable, code="BUS_UNAVAILABLE"):
    """NATS does not answer, or does not acknowledge."""


class StreamState(NamedTuple):
    """When a stream was created, and its last sequence."""

    created: datetime
    last_sequence: int


@dataclass(slots=True)
class ConsumerSubscription:
    """A consumer of this process, and the subscription that delivers its messages."""

    stream: str
    subject: str
    receive: Callable[[Msg], Awaitable[None]]
    subscription: JetStreamContext.PushSubscription | None = None


class Bus:
    """A connection to NATS, which creates streams and consumers again that NATS has lost."""

    def __init__(self, client: Client) -> None:
        self._client = client
        # We bound what is in flight ourselves: at nats-py's own bound, a publisher that waits
        # swallows its cancellation, and what is never acknowledged holds its place for ever.
        self._stream = client.jetstream(publish_async_max_pending=2**31, timeout=ACK_TIMEOUT_S)
        self._stream_configs: dict[str, StreamConfig] = {
            one.name or "": one for one in (DEAD_LETTER_STREAM, RETRY_STREAM)
        }
        self._consumers: dict[str, ConsumerSubscription] = {}
        self._subscribing = asyncio.Lock()
        """Two subscriptions of one consumer at once would leave messages unacknowledged."""
        self._known_consumers: dict[str, set[str]] = {}
        self._recheck_now = asyncio.Event()
        self.changes = 0
        """Grows when NATS may have lost something: it was away, or a stream was made again."""

    async def ensure_streams(self, events: Sequence[type[Event]]) -> None:
        """Create missing streams: of facts, dead letters and retries. Raises BusUnavailable."""
        self._stream_configs |= {stream_name(event.fact): stream_config(event) for event in events}
        with _translate_errors():
            for config in self._stream_configs.values():
                await self._stream.add_stream(config)

    def recheck(self) -> None:
        """Check streams and consumers now: NATS was away, or has lost one."""
        self.changes += 1
        self._recheck_now.set()

    async def run(self) -> None:
        """Create lost streams and consumers again, until cancelled; raises BusUnavailable."""
        while True:
            self._recheck_now.clear()
            with _translate_errors(_storing_failed):
                await self._restore()
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_EVERY_S):
                    await self._recheck_now.wait()

    async def _restore(self) -> None:
        for name, config in self._stream_configs.items():
            try:
                await self._stream.stream_info(name)
            except nats.js.errors.NotFoundError:
                log.warning(
                    "a stream was lost and is created again", extra={"fields": {"stream": name}}
                )
                await self._stream.add_stream(config)
                self.changes += 1
        for durable in list(self._consumers):
            async with self._subscribing:
                await self._restore_consumer(durable)

    async def _restore_consumer(self, durable: str) -> None:
        """Create a consumer again that is lost, or delivers to a closed connection."""
        consumer = self._consumers[durable]
        current = consumer.subscription
        with suppress(nats.js.errors.NotFoundError):
            config = (await self._stream.consumer_info(consumer.stream, durable)).config
            if current is not None and config.deliver_subject == current.subject:
                return
        log.warning(
            "a consumer was lost and is created again", extra={"fields": {"consumer": durable}}
        )
        await self._consume(durable, consumer)

    async def publish(self, messages: Sequence[OutgoingMessage]) -> list[PubAck]:
        """Send messages in order; returns when JetStream has acknowledged all of them."""
        acks: list[PubAck] = []
        with self._recheck_on_failure(_publishing_failed):
            for start in range(0, len(messages), IN_FLIGHT):
                async with asyncio.timeout(ACK_TIMEOUT_S):
                    acks += await self._publish_batch(messages[start : start + IN_FLIGHT])
        return acks

    @contextmanager
    def _recheck_on_failure(self, failure: Callable[[str], BusUnavailable]) -> Iterator[None]:
        try:
            with _translate_errors(failure):
                yield
        except BusUnavailable:
            self.recheck()
            raise

    async def _publish_batch(self, messages: Sequence[OutgoingMessage]) -> list[PubAck]:
        acks: list[asyncio.Future[PubAck]] = []
        try:
            for message in messages:
                headers = {"Nats-Msg-Id": message.id}
                if message.position is not None:
                    headers |= message.position.to_headers()
                acks.append(
                    await self._stream.publish_async(message.address, message.body, headers=headers)
                )
            return await asyncio.gather(*acks)
        finally:
            for ack in acks:
                ack.cancel()

    async def state(self, stream: str) -> StreamState | None:
        """What a stream is now, None when NATS has lost it; raises BusUnavailable."""
        with _translate_errors():
            try:
                info = await self._stream.stream_info(stream)
            except nats.js.errors.NotFoundError:
                self.recheck()
                return None
        assert info.created is not None
        return StreamState(info.created, info.state.last_seq)

    async def find_last_position(self, stream: str) -> OutboxPosition | None:
        """The position of a stream's latest message, if it has one; raises BusUnavailable."""
        with _translate_errors(), suppress(nats.js.errors.NotFoundError):
            return OutboxPosition.from_headers(
                (await self._stream.get_last_msg(stream, ">")).headers
            )
        return None

    async def find_acknowledged(self, stream: str, last_sequence: int) -> int:
        """The sequence up to which all consumers have acknowledged a stream; raises BusUnavailable.

        `last_sequence` is the stream's, read before. 0 without consumers, or if one is lost.
        """
        with _translate_errors():
            consumers = await self._stream.consumers_info(stream)
        known = self._known_consumers.setdefault(stream, set())
        lost = known - {one.name for one in consumers}
        known |= {one.name for one in consumers}
        if lost:
            return 0
        return min((_acknowledged_sequence(one, last_sequence) for one in consumers), default=0)

    async def count_pending(self, event: type[Event]) -> int:
        """How many events of a fact its slowest consumer has yet to handle."""
        with _translate_errors():
            consumers = await self._stream.consumers_info(stream_name(event.fact))
        waiting = ((one.num_pending or 0) + (one.num_ack_pending or 0) for one in consumers)
        return max(waiting, default=0)

    async def count_lag(self) -> dict[str, int]:
        """How many events each consumer of this process has yet to handle, by its name."""
        lags = {}
        for durable, consumer in self._consumers.items():
            with _translate_errors(), suppress(nats.js.errors.NotFoundError):
                info = await self._stream.consumer_info(consumer.stream, durable)
                lags[durable] = (info.num_pending or 0) + (info.num_ack_pending or 0)
        return lags

    async def count_dead_letters(self, service: str) -> int:
        """How many dead letters of a service wait; raises BusUnavailable."""
        with _translate_errors(), suppress(nats.js.errors.NotFoundError):
            subjects = f"raak.dead.{service}.>"
            info = await self._stream.stream_info(DEAD_LETTERS, subjects_filter=subjects)
            return sum((info.state.subjects or {}).values())
        return 0

    async def subscribe(
        self, service: str, fact: str, receive: Callable[[Msg], Awaitable[None]]
    ) -> None:
        """Have every event of a fact delivered to one replica of a service, until acknowledged."""
        name = consumer_name(service, fact)
        for durable, consumer in {
            name: ConsumerSubscription(stream_name(fact), f"raak.{fact}.*", receive),
            f"{name}-retry": ConsumerSubscription(RETRIES, f"raak.retry.{service}.{fact}", receive),
        }.items():
            async with self._subscribing:
                if durable in self._consumers:
                    consumer.subscription = self._consumers[durable].subscription
                self._consumers[durable] = consumer
                await self._consume(durable, consumer)

    async def _consume(self, durable: str, consumer: ConsumerSubscription) -> None:
        before, consumer.subscription = consumer.subscription, None
        if before is not None:
            with suppress(nats.errors.Error):
                await before.unsubscribe()
        consumer.subscription = await self._stream.subscribe(
            consumer.subject,
            stream=consumer.stream,
            queue=durable,
            durable=durable,
            cb=consumer.receive,
            manual_ack=True,
            config=ConsumerConfig(
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=REDELIVER_AFTER_S,
                max_ack_pending=MAX_UNACKED,
                deliver_policy=DeliverPolicy.ALL,
            ),
            pending_msgs_limit=2 * MAX_UNACKED,
            pending_bytes_limit=512 * 1024 * 1024,
        )

    async def redeliver_all(self) -> None:
        """Have all events of the streams delivered again; raises BusUnavailable."""
        for durable, consumer in self._consumers.items():
            with _translate_errors(), suppress(nats.js.errors.NotFoundError):
                await self._stream.delete_consumer(consumer.stream, durable)
        self.recheck()

    async def acknowledge(self, message: Msg) -> None:
        """Acknowledge a message, unless its consumer was created anew: numbers are others' now."""
        here = (one.subscription for one in self._consumers.values())
        if any(one is not None and one._id == message.sid for one in here):
            await message.ack()

    async def write_dead_letter(self, service: str, fact: str, message: Msg, reason: str) -> None:
        deliveries = message.metadata.num_delivered or 1
        headers = {"Raak-Reason": reason, "Raak-Deliveries": str(deliveries)}
        with self._recheck_on_failure(_request_failed):
            await self._stream.publish(f"raak.dead.{service}.{fact}", message.data, headers=headers)

    async def list_dead_letters(self) -> list[DeadLetter]:
        """All dead letters, oldest first; raises BusUnavailable."""
        await self.ensure_streams([])
        letters = []
        with _translate_errors():
            state = (await self._stream.stream_info(DEAD_LETTERS)).state
            for sequence in range(max(1, state.first_seq), state.last_seq + 1):
                with suppress(nats.js.errors.NotFoundError):
                    message = await self._stream.get_msg(DEAD_LETTERS, sequence)
                    letters.append(DeadLetter.from_message(sequence, message))
        return letters

    async def replay(self, letter: DeadLetter) -> None:
        """Deliver a dead letter again, to the consumer that failed on it; raises BusUnavailable."""
        with _translate_errors():
            await self._stream.publish(f"raak.retry.{letter.service}.{letter.fact}", letter.body)
            await self._stream.delete_msg(DEAD_LETTERS, letter.sequence)


def _acknowledged_sequence(consumer: ConsumerInfo, last_sequence: int) -> int:
    assert consumer.ack_floor is not None
    assert consumer.delivered is not None
    if consumer.num_ack_pending:
        return consumer.ack_floor.stream_seq
    return consumer.delivered.stream_seq if consumer.num_pending else last_sequence


def _storing_failed(error: str) -> BusUnavailable:
    return BusUnavailable(
        f"NATS does not store our streams ({error}).",
        hint="Look into its log and whether its disk is full.",
    )


def _publishing_failed(error: str) -> BusUnavailable:
    return BusUnavailable(
        f"JetStream did not acknowledge ({error}).",
        hint="Nothing is lost: it is sent again when NATS answers.",
    )


def _request_failed(error: str) -> BusUnavailable:
    return BusUnavailable(
        f"A request to NATS failed ({error}).", hint="Try again when NATS answers."
    )


@contextmanager
def _translate_errors(
    failure: Callable[[str], BusUnavailable] = _request_failed,
) -> Iterator[None]:
    """Raise BusUnavailable for errors of NATS in the block."""
    try:
        yield
    except NATS_ERRORS as error:
        raise failure(type(error).__name__) from error


@asynccontextmanager
async def open_bus(
    url: str, *, process: str = "raak", patience_s: float = 30
) -> AsyncIterator[Bus]:
    """Connect to NATS as a process, waiting for it to come up; reconnects by itself ever after."""
    client = Client()
    bus = Bus(client)

    async def recheck() -> None:
        bus.recheck()

    try:
        async with asyncio.timeout(patience_s):
            await client.connect(
                url,
                name=process,
                inbox_prefix=inbox_prefix(process),
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.5,  # type: ignore[arg-type]  # it sleeps for it
                error_cb=_log_error,
                connect_timeout=2,
                reconnected_cb=recheck,
            )
    except (OSError, TimeoutError, nats.errors.Error) as error:
        problem = client.last_error or error
        raise BusUnavailable(
            f"NATS does not accept the connection ({problem or type(problem).__name__}).",
            hint="Start NATS, or set RAAK_NATS_URL to where it is, with user and password.",
        ) from error
    try:
        yield bus
    finally:
        # it may be away just now, and asyncio's own loop says this badly when it writes to a
        # connection that is lost (cpython gh-136234)
        with suppress(OSError, AttributeError, TypeError, nats.errors.Error):
            await client.close()


async def _log_error(error: Exception) -> None:
    log.warning("bus trouble", extra={"fields": {"because": type(error).__name__}})
