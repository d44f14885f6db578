"""Journey as a process runs it: consumers, relay and timers on real PostgreSQL and NATS."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from services.chassis.bus import Bus
from services.chassis.consumer import Consumer
from services.chassis.database import Connection, Database
from services.chassis.outbox import Relay
from services.chassis.server import supervise
from services.chassis.streams import OutgoingMessage
from services.contracts.base import Event
from services.contracts.journey import InstanceEnded, JourneySeriesNeeded, MessageDue, StepEntered
from services.journey.handlers import subscriptions
from services.journey.service.engine import Engine
from services.journey.service.timers import TimerRunner
from tests.integration.conftest import send
from tests.integration.journey.world import World
from tests.unit.journey.journeys import CART
from tests.waiting import until

ANN, BOB = uuid4(), uuid4()
REACHABLE = {"consents": {"email_marketing": True}, "traits": {"email": "ann@example.com"}}
ADDED: dict[str, Any] = {"value": 25, "cart_id": "c1", "product": "LP"}
PUBLISHED: list[type[Event]] = [StepEntered, InstanceEnded, MessageDue, JourneySeriesNeeded]


class Listener:
    """Another service, as far as journey's events go."""

    def __init__(self) -> None:
        self.heard: list[Event] = []

    async def __call__(self, connection: Connection, events: Sequence[Event]) -> None:
        self.heard += events

    def steps(self, customer: UUID) -> list[tuple[int, str]]:
        """The steps of a customer in the order they arrived."""
        return [
            (event.state.sequence, event.state.step)
            for event in self.heard
            if isinstance(event, StepEntered) and event.customer_id == customer
        ]


def work(
    engine: Engine, database: Database, bus: Bus, listener: Listener
) -> dict[str, Callable[[], Awaitable[None]]]:
    """One replica of journey, and the listener beside it."""
    heard = subscriptions(engine).items()
    consumers = [Consumer("journey", event, handle, database, bus) for event, handle in heard]
    consumers += [Consumer("listener", event, listener, database, bus) for event in PUBLISHED]
    timers = TimerRunner(engine, database, batch=100)
    return {
        "relay": Relay(database, bus).run,
        "timers": timers.run,
        **{consumer.name: consumer.run for consumer in consumers},
    }


async def test_a_state_reaches_others_step_by_step_in_order(world: World, bus: Bus) -> None:
    engine, listener = world.replica(patience_s=2), Listener()
    heard = [*subscriptions(engine), *PUBLISHED]
    await bus.ensure_streams(heard)
    await world.publish(CART)
    async with supervise(work(engine, world.database, bus, listener)):
        # the event overtakes the snapshot that contains it
        await send(bus, world.event(ANN, "product_added", version=1, **ADDED))
        await send(bus, world.snapshot(ANN, 1, **REACHABLE))

        async def entered() -> bool:
            return bool(listener.steps(ANN))

        await until(entered)
        world.now += timedelta(hours=2)

        async def reminded() -> bool:
            return any(isinstance(event, MessageDue) for event in listener.heard)

        await until(reminded)
        await send(bus, world.event(ANN, "mail_clicked", template="cart_reminder"))

        async def ended() -> bool:
            return any(isinstance(event, InstanceEnded) for event in listener.heard)

        await until(ended)

        async def all_heard() -> bool:
            return len(listener.steps(ANN)) == 5

        await until(all_heard)

    assert listener.steps(ANN) == [
        (1, "think"),
        (2, "has_mail"),
        (3, "remind"),
        (4, "answer"),
        (5, "helped"),
    ]


async def test_an_event_delivered_again_moves_nothing_twice(world: World, bus: Bus) -> None:
    engine, listener = world.replica(), Listener()
    await bus.ensure_streams([*subscriptions(engine), *PUBLISHED])
    await world.publish(CART)
    once, last = (
        world.event(ANN, "product_added", **ADDED),
        world.event(BOB, "product_added", **ADDED),
    )

    async with supervise(work(engine, world.database, bus, listener)):
        # other message ids, so that JetStream does not recognise the repetition
        bodies = [(event.address(), event.to_cloudevent()) for event in (once, once, last)]
        await bus.publish(
            [OutgoingMessage(address, str(uuid4()), body) for address, body in bodies]
        )

        async def both() -> bool:
            return bool(listener.steps(ANN) and listener.steps(BOB))

        await until(both)

    assert listener.steps(ANN) == [(1, "think")]
    assert len(await world.instances()) == 2
