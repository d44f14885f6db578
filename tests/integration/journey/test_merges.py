"""Two customers turn out to be one: their journeys go on as one customer's."""

from uuid import uuid4

from services.contracts.journey import InstanceEnded, StepEntered
from tests.integration.journey.conftest import Graph
from tests.integration.journey.world import World
from tests.unit.journey.journeys import CART, ROUND

ANN, VISITOR, PHONE = uuid4(), uuid4(), uuid4()


async def test_instances_messages_and_history_move_and_remember_whose_they_were(
    world: World, graph: Graph
) -> None:
    await world.publish(ROUND)
    await world.handle_events(world.snapshot(VISITOR, 1, consents={"p": True}))
    await world.handle_events(world.event(VISITOR, "e"))
    await world.pass_time(hours=1)

    await world.handle_events(world.merge(VISITOR, ANN))

    [instance] = await world.instances(ANN)
    assert instance["first_customer_id"] == VISITOR
    shown = await graph(
        "query ($r: [_Any!]!) { _entities(representations: $r) { ... on Customer {"
        " inbox { template } journeys { history { step } } } } }",
        r=[{"__typename": "Customer", "id": str(ANN)}],
    )
    assert shown["data"]["_entities"] == [
        {
            "inbox": [{"template": "ping"}],
            "journeys": [{"history": [{"step": "rest"}, {"step": "ping"}, {"step": "rest"}]}],
        }
    ]


async def test_of_two_instances_for_one_key_the_older_stays(world: World) -> None:
    await world.publish(CART)
    await world.handle_events(world.event(VISITOR, "product_added", value=25, cart_id="c1"))
    await world.pass_time(minutes=1)
    await world.handle_events(
        world.event(ANN, "product_added", value=25, cart_id="c1"),
        world.event(ANN, "product_added", value=25, cart_id="c2"),
    )

    await world.handle_events(world.merge(VISITOR, ANN))

    instances = await world.instances(ANN)
    assert [
        (instance["key"], instance["first_customer_id"], instance["end_reason"])
        for instance in instances
    ] == [
        ("c1", VISITOR, None),
        ("c1", ANN, "merged"),
        ("c2", ANN, None),
    ]
    [ended] = await world.published(InstanceEnded)
    assert (ended.customer_id, ended.reason, ended.state.sequence) == (ANN, "merged", 2)


async def test_events_that_come_late_under_the_old_customer_are_the_new_ones(world: World) -> None:
    await world.publish(CART)
    await world.handle_events(world.event(VISITOR, "product_added", value=25, cart_id="c1"))
    order = world.event(PHONE, "order_completed", cart_id="c1", version=99)

    await world.handle_events(world.merge(PHONE, VISITOR))
    await world.handle_events(world.merge(VISITOR, ANN))
    await world.handle_events(order)

    [instance] = await world.instances(ANN)
    assert instance["end_reason"] == "bought"


async def test_merges_delivered_in_the_wrong_order_end_up_the_same(world: World) -> None:
    await world.publish(ROUND)
    await world.handle_events(world.event(PHONE, "e"))

    await world.handle_events(world.merge(VISITOR, ANN))
    await world.handle_events(world.merge(PHONE, VISITOR))

    assert len(await world.instances(ANN)) == 1


async def test_a_merge_delivered_twice_changes_nothing(world: World) -> None:
    await world.publish(ROUND)
    await world.handle_events(world.event(VISITOR, "e"))
    merge = world.merge(VISITOR, ANN)

    await world.handle_events(merge)
    instances = await world.instances()
    await world.handle_events(merge)

    assert await world.instances() == instances


async def test_a_snapshot_of_the_old_customer_is_not_taken_in(world: World) -> None:
    await world.publish(ROUND)
    await world.handle_events(world.merge(VISITOR, ANN))

    await world.handle_events(world.snapshot(VISITOR, 7, consents={"p": True}))

    held = await world.database.pool.fetchval(
        "SELECT snapshot FROM customer WHERE customer_id = $1", VISITOR
    )
    assert held is None


async def test_a_moved_instance_goes_on_with_what_is_known_of_the_new_customer(
    world: World,
) -> None:
    await world.publish(ROUND)
    await world.handle_events(world.snapshot(ANN, 1, consents={"p": True}))
    await world.handle_events(world.event(VISITOR, "e"))
    await world.handle_events(world.merge(VISITOR, ANN))

    await world.pass_time(hours=1)

    entered = await world.published(StepEntered)
    assert [(one.customer_id, one.state.step) for one in entered] == [
        (VISITOR, "rest"),
        (ANN, "ping"),
        (ANN, "rest"),
    ]
    [message] = await world.database.pool.fetch("SELECT customer_id FROM message")
    assert message["customer_id"] == ANN
