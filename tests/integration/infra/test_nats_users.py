"""Each process has a user of NATS that may do what its tables say, and nothing beside it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import nats.errors
import nats.js.errors
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig, StreamConfig

from infra import embedded, nats_users
from infra.processes import PROCESSES, SERVICES
from services.chassis.bus import Bus, open_bus
from services.chassis.streams import (
    DEAD_LETTERS,
    OutgoingMessage,
    consumer_name,
    inbox_prefix,
    stream_config,
    stream_name,
)
from services.contracts.base import Event
from services.contracts.decision import DecisionRecorded
from services.contracts.profile import (
    CustomerChanged,
    CustomersMerged,
    EventRecorded,
    EventSetAside,
)
from tests.conftest import free_port
from tests.waiting import until

PASSWORDS = {name: f'"{name}-secret"' for name in PROCESSES}
ANN = UUID(int=7)


def merged() -> CustomersMerged:
    """A fact of profile's that decision, journey and measurement listen to."""
    return CustomersMerged(
        event_id=uuid4(),
        customer_id=ANN,
        occurred_at=datetime.now(UTC),
        from_customer_id=UUID(int=8),
        change_id=uuid4(),
        identities=(),
        reason="a test",
    )


def message(event: Event) -> OutgoingMessage:
    """An event as the relay sends it."""
    return OutgoingMessage(event.address(), str(event.event_id), event.to_cloudevent())


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A NATS with the users of all processes, as its operator comes to it."""
    users = nats_users.format_users(PASSWORDS)
    with embedded.nats(tmp_path / "nats", free_port(), "secret", users) as url:
        yield url


def as_(process: str, url: str) -> str:
    """The address as a process comes to it."""
    return url.replace("raak:secret", f"{process}:{process}-secret")


@dataclass(frozen=True, slots=True)
class Intruder:
    """Somebody who has the credentials of a process, and does as it likes."""

    client: Client
    refusals: "asyncio.Queue[Exception]"

    async def is_refused(self, attempt: Awaitable[object]) -> bool:
        """Whether NATS says no; it says so beside the answer, which does not come."""
        attempting = asyncio.ensure_future(attempt)
        try:
            async with asyncio.timeout(30):
                return "permissions violation" in str(await self.refusals.get()).lower()
        except TimeoutError:
            return False
        finally:
            attempting.cancel()
            await asyncio.gather(attempting, return_exceptions=True)


@asynccontextmanager
async def intruder(process: str, url: str) -> AsyncIterator[Intruder]:
    """Somebody with the credentials of a process."""
    client, refusals = Client(), asyncio.Queue[Exception]()
    await client.connect(
        as_(process, url), inbox_prefix=inbox_prefix(process), error_cb=refusals.put
    )
    try:
        yield Intruder(client, refusals)
    finally:
        await client.close()


@pytest.fixture
async def bus(url: str) -> AsyncIterator[Bus]:
    """The streams of profile and decision, as profile and decision make them."""
    async with (
        open_bus(as_("profile", url), process="profile") as profile,
        open_bus(as_("decision", url), process="decision") as decision,
    ):
        await profile.ensure_streams([EventRecorded, CustomerChanged, CustomersMerged])
        await decision.ensure_streams([DecisionRecorded, CustomerChanged, CustomersMerged])
        yield profile


async def test_a_service_hears_what_it_has_handlers_for_and_buries_what_it_cannot_take(
    url: str, bus: Bus
) -> None:
    async with open_bus(as_("decision", url), process="decision") as decision:
        received: asyncio.Queue[Msg] = asyncio.Queue()
        await decision.subscribe("decision", CustomersMerged.fact, received.put)
        event = merged()

        await bus.publish([message(event)])
        async with asyncio.timeout(30):
            got = await received.get()
        await decision.write_dead_letter("decision", CustomersMerged.fact, got, "a test")
        await got.ack_sync(30)

    assert CustomersMerged.from_cloudevent(got.data) == event
    assert await bus.count_pending(CustomersMerged) == 0
    async with open_bus(url) as operator:
        assert [letter.service for letter in await operator.list_dead_letters()] == ["decision"]


async def test_what_profile_sets_aside_profile_alone_takes_in(url: str) -> None:
    aside = EventSetAside(
        event_id=uuid4(), customer_id=None, occurred_at=datetime.now(UTC), call={"name": "x"}
    )
    stream, name = stream_name(EventSetAside.fact), consumer_name("profile", EventSetAside.fact)
    received: asyncio.Queue[Msg] = asyncio.Queue()
    async with open_bus(as_("profile", url), process="profile") as profile:
        await profile.ensure_streams([EventSetAside])
        await profile.subscribe("profile", EventSetAside.fact, received.put)

        await profile.publish([message(aside)])
        async with asyncio.timeout(30):
            got = await received.get()
        await profile.write_dead_letter("profile", EventSetAside.fact, got, "a test")
        await got.ack_sync(30)

    assert EventSetAside.from_cloudevent(got.data) == aside
    for service in SERVICES[1:]:
        async with intruder(service, url) as guest:
            js = guest.client.jetstream(timeout=30)
            for attempt in (
                guest.client.publish(aside.address(), b"{}"),
                guest.client.subscribe(f"{EventSetAside.type()}.*"),
                js.consumer_info(stream, name),
                js.add_consumer(stream, ConsumerConfig(durable_name="mine")),
            ):
                assert await guest.is_refused(attempt)


async def test_whoever_needs_a_stream_may_make_it(url: str) -> None:
    async with open_bus(as_("journey", url), process="journey") as journey:
        await journey.ensure_streams([EventRecorded, CustomerChanged, CustomersMerged])
        await journey.subscribe("journey", CustomersMerged.fact, _ignore)

    async with open_bus(as_("profile", url), process="profile") as profile:
        await profile.ensure_streams([EventRecorded, CustomerChanged, CustomersMerged])
        await profile.publish([message(merged())])
        assert await profile.count_pending(CustomersMerged) == 1


async def _ignore(message: Msg) -> None: ...


async def test_a_service_cannot_say_what_another_says(url: str, bus: Bus) -> None:
    async with intruder("decision", url) as guest:
        decision = guest.client
        forged = message(merged())

        for subject in (
            forged.address,
            "raak.journey.step_entered.v1.x",
            f"raak.dead.profile.{DecisionRecorded.fact}",
            f"raak.retry.decision.{CustomersMerged.fact}",
        ):
            assert await guest.is_refused(decision.publish(subject, forged.body)), subject
        own = await decision.jetstream(timeout=30).publish(
            f"{DecisionRecorded.type()}.{ANN}", b"{}"
        )
        assert own.seq == 1

    async with open_bus(url) as operator:
        info = await operator._stream.stream_info(stream_name(CustomersMerged.fact))
    assert info.state.messages == 0


async def test_a_service_reads_no_consumer_but_its_own(url: str, bus: Bus) -> None:
    fact = CustomersMerged.fact
    async with open_bus(as_("journey", url), process="journey") as journey:
        await journey.subscribe("journey", fact, _ignore)
    stream, of_journey = stream_name(fact), consumer_name("journey", fact)
    stolen = ConsumerConfig(durable_name=of_journey, deliver_subject="_INBOX.decision.x")

    async with intruder("decision", url) as guest:
        decision = guest.client
        js = decision.jetstream(timeout=30)
        for attempt in (
            js.consumer_info(stream, of_journey),
            js.consumers_info(stream),
            js.add_consumer(stream, stolen),
            js.add_consumer(stream, ConsumerConfig(deliver_subject="_INBOX.decision.y")),
            js.add_consumer(stream_name(EventRecorded.fact), ConsumerConfig(durable_name="mine")),
            js.delete_consumer(stream, of_journey),
            js.get_msg(stream, 1),
            decision.publish(f"$JS.ACK.{stream}.{of_journey}.1.1.1.1.0", b"+TERM"),
            decision.subscribe("_INBOX.journey.>"),
            decision.subscribe("_INBOX.>"),
            decision.subscribe("raak.>"),
            decision.subscribe(f"{CustomersMerged.type()}.*"),
        ):
            assert await guest.is_refused(attempt)


async def test_a_service_deletes_empties_and_changes_no_stream_of_another(
    url: str, bus: Bus
) -> None:
    changed = stream_config(CustomersMerged)
    changed.max_msgs = 1
    async with intruder("decision", url) as guest:
        decision = guest.client
        js = decision.jetstream(timeout=30)
        stream = stream_name(CustomersMerged.fact)

        for attempt in (
            js.delete_stream(stream),
            js.purge_stream(stream),
            js.update_stream(changed),
            js.delete_msg(stream, 1),
            js.delete_stream(DEAD_LETTERS),
            js.delete_stream(stream_name(DecisionRecorded.fact)),
            js.add_stream(StreamConfig(name="MINE", subjects=["mine.>"])),
            js.add_stream(stream_config(EventRecorded)),
            js.streams_info(),
        ):
            assert await guest.is_refused(attempt)
        patient = decision.jetstream(timeout=30)
        await patient.update_stream(stream_config(DecisionRecorded))
        with pytest.raises(nats.js.errors.BadRequestError):  # it is there, and is another
            await patient.add_stream(changed)


async def test_the_gateway_listens_and_says_nothing(url: str, bus: Bus) -> None:
    async with intruder("gateway", url) as guest:
        gateway = guest.client
        snapshots = stream_name(CustomerChanged.fact)
        subject = f"{CustomerChanged.type()}.{ANN}"
        last = gateway.jetstream(timeout=30).get_last_msg(snapshots, subject, direct=True)
        forged = message(merged())

        with pytest.raises(nats.js.errors.NotFoundError):
            await last
        live = await gateway.subscribe(f"raak.*.*.*.{ANN}")
        await gateway.flush(30)

        async def is_heard() -> bool:  # what is said while a connection is made anew is not
            await bus.publish([forged])
            with suppress(nats.errors.TimeoutError):
                return (await live.next_msg(2)).data == forged.body
            return False

        await until(is_heard)
        js = gateway.jetstream(timeout=30)
        for attempt in (
            gateway.publish(forged.address, forged.body),
            gateway.publish(f"raak.dead.decision.{CustomersMerged.fact}", b""),
            gateway.subscribe("raak.dead.>"),
            gateway.subscribe("raak.retry.>"),
            gateway.subscribe("_INBOX.profile.>"),
            js.stream_info(snapshots),
            js.delete_stream(snapshots),
        ):
            assert await guest.is_refused(attempt)


async def test_a_user_with_anothers_password_is_not_let_in(url: str) -> None:
    wrong = url.replace("raak:secret", "profile:decision-secret")

    with pytest.raises(Exception, match="does not accept the connection"):
        async with open_bus(wrong, process="profile", patience_s=1):
            pass


async def test_who_asks_nats_how_it_is_may_do_nothing_else(url: str, bus: Bus) -> None:
    client, refusals = Client(), asyncio.Queue[Exception]()
    await client.connect(url.replace("raak:", f"{embedded.HEALTH_USER}:"), error_cb=refusals.put)
    guest, forged = Intruder(client, refusals), message(merged())

    answer = await client.request(embedded.HEALTH, timeout=30)
    for attempt in (
        client.publish("$SYS.REQ.SERVER.PING.CONNZ"),
        client.publish("$SYS.REQ.SERVER.PING.JSZ"),
        client.publish(forged.address, forged.body),
        client.subscribe("$SYS.>"),
        client.subscribe("raak.>"),
    ):
        assert await guest.is_refused(attempt)
    await client.close()

    assert b'"status":"ok"' in answer.data
