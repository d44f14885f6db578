"""The demo's story, told to a running Raak: everything it prints is waited for and looked at."""

from datetime import UTC, datetime

from infra import demo
from tests.stack import BUYERS, Stack


def test_the_demo_tells_its_story_to_the_end(stack: Stack) -> None:
    with stack.session.console.capture() as output:
        cast = demo.DemoCustomers.from_buyers(BUYERS, datetime.now(UTC))
        demo.run_web_scenario(stack.session, cast.newly_known)
        demo.run_app_scenario(stack.session, cast.loyal)
        demo.run_call_centre_scenario(stack.session, cast.lapsing)
        demo.show_results(stack.session)

    story = output.get()
    assert "Jazz weeks" in story
    assert "after_purchase" in story
    assert "no_means_no" in story or "no means no" in story
