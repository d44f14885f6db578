"""NATS JetStream: one stream per fact, one durable consumer per service and fact.

A stream keeps each customer's events under a subject of their own, so a compacted fact keeps the
latest one of every customer, and one customer can be purged from all streams.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, PubAck, StorageType, StreamConfig

from services.chassis.errors import Unavailable
from services.contracts.base import Event

log = logging.getLogger(__name__)

KEPT_S = 7 * 24 * 3600
"""How long a stream keeps an event, unless it is compacted; the inbox remembers ids for longer."""

DEAD_LETTERS = "RAAK_DEAD_LETTERS"
RETRIES = "RAAK_RETRIES"
IN_FLIGHT = 512  # 64 gave 33 thousand acknowledged messages a second; more waits less often
ACK_TIMEOUT_S = 3  # what is sent again after it is recognised by its id
REDELIVERED_S = 15
"""After so long without a word of its consumer an event is delivered again, so a service that was
killed has what it had in hand back within this time; one that comes twice is known by the inbox."""

UNACKED = 4_000  # what a consumer may hold; with 1-4 KB an event it stays under 20 MB


class BusUnavailable(Unavailable):
    """NATS does not answer, or does not acknowledge."""

    code = "BUS_UNAVAILABLE"


class OutgoingMessage(NamedTuple):
    """What the relay hands over; `id` lets JetStream drop a message sent twice in two minutes."""

    address: str
    id: str
    body: bytes


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
    """A connection to NATS."""

    def __init__(self, client: Client) -> None:
        self._client = client
        # We bound what is in flight ourselves: at nats-py's own bound, a publisher that waits
        # swallows its cancellation, and what is never acknowledged holds its place for ever.
        self._stream = client.jetstream(publish_async_max_pending=2**31, timeout=ACK_TIMEOUT_S)

    @property
    def connected(self) -> bool:
        """Whether NATS answers now."""
        return self._client.is_connected

    async def keep(self, events: Sequence[type[Event]]) -> None:
        """Make sure the streams of these facts exist, and the one for dead letters."""
        dead = StreamConfig(
            name=DEAD_LETTERS,
            subjects=["raak.dead.>"],
            storage=StorageType.FILE,
            duplicate_window=0,
        )
        retry = StreamConfig(
            name=RETRIES,
            subjects=["raak.retry.>"],
            storage=StorageType.FILE,
            max_age=KEPT_S,
            duplicate_window=1,
        )
        for config in (dead, retry, *map(stream_of, events)):
            await self._stream.add_stream(config)

    async def publish(self, messages: Sequence[OutgoingMessage]) -> None:
        """Send messages in order; returns when JetStream has acknowledged all of them."""
        try:
            for start in range(0, len(messages), IN_FLIGHT):
                async with asyncio.timeout(ACK_TIMEOUT_S):
                    await self._publish_together(messages[start : start + IN_FLIGHT])
        except (TimeoutError, nats.errors.Error, nats.js.errors.Error) as error:
            raise BusUnavailable(
                f"JetStream did not acknowledge ({type(error).__name__}).",
                hint="Nothing is lost: it is sent again when NATS answers.",
            ) from error

    async def _publish_together(self, messages: Sequence[OutgoingMessage]) -> None:
        acks: list[asyncio.Future[PubAck]] = []
        try:
            for message in messages:
                headers = {"Nats-Msg-Id": message.id}
                acks.append(
                    await self._stream.publish_async(message.address, message.body, headers=headers)
                )
            await asyncio.gather(*acks)
        finally:
            for ack in acks:
                ack.cancel()

    async def waiting(self, event: type[Event]) -> int:
        """How many events of a fact its slowest listener has still to take in."""
        try:
            listeners = await self._stream.consumers_info(stream_name(event.fact))
        except (TimeoutError, nats.errors.Error, nats.js.errors.Error) as error:
            raise BusUnavailable(
                f"NATS does not say who waits for what ({type(error).__name__}).",
                hint="Try again when NATS answers.",
            ) from error
        waiting = ((one.num_pending or 0) + (one.num_ack_pending or 0) for one in listeners)
        return max(waiting, default=0)

    async def subscribe(
        self, service: str, fact: str, receive: Callable[[Msg], Awaitable[None]]
    ) -> None:
        """Have every event of a fact delivered to one replica of a service, until acknowledged."""
        name = consumer_name(service, fact)
        await self._consume(stream_name(fact), f"raak.{fact}.*", name, receive)
        await self._consume(RETRIES, f"raak.retry.{service}.{fact}", f"{name}-retry", receive)

    async def _consume(
        self, stream: str, subject: str, durable: str, receive: Callable[[Msg], Awaitable[None]]
    ) -> None:
        await self._claim(stream, durable)
        await self._stream.subscribe(
            subject,
            stream=stream,
            queue=durable,
            durable=durable,
            cb=receive,
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

    async def bury(self, service: str, fact: str, message: Msg, reason: str) -> None:
        """Put a message aside as a dead letter of this consumer."""
        await self._stream.publish(
            f"raak.dead.{service}.{fact}",
            message.data,
            headers={"Raak-Reason": reason, "Raak-Deliveries": str(deliveries(message))},
        )

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


def deliveries(message: Msg) -> int:
    """How often this message has been delivered, this time included."""
    return message.metadata.num_delivered or 1


@asynccontextmanager
async def open_bus(
    url: str, *, process: str = "raak", patience_s: float = 30
) -> AsyncIterator[Bus]:
    """Connect to NATS as a process, waiting for it to come up; reconnects by itself ever after."""
    client = await _connect(url, process, patience_s)
    try:
        yield Bus(client)
    finally:
        # it may be away just now, and asyncio's own loop says this badly when it writes to a
        # connection that is lost (cpython gh-136234)
        with suppress(OSError, AttributeError, TypeError, nats.errors.Error):
            await client.close()


async def _connect(url: str, process: str, patience_s: float) -> Client:
    """A client whose own patience is endless, as it must be once it is connected."""
    client = Client()
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
            )
    except (OSError, TimeoutError, nats.errors.Error) as error:
        because = client.last_error or error
        raise BusUnavailable(
            f"NATS does not let us in ({because or type(because).__name__}).",
            hint="Start NATS, or set RAAK_NATS_URL to where it is, with user and password.",
        ) from error
    return client


async def _log_error(error: Exception) -> None:
    log.warning("bus trouble", extra={"fields": {"because": type(error).__name__}})
