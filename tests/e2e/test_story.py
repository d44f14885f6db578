"""The demo's story, told to a running Raak: everything it prints is waited for and looked at."""

from datetime import UTC, datetime

from infra import demo
from tests.stack import BUYERS, Stack


def test_the_demo_tells_its_story_to_the_end(stack: Stack) -> None:
    with stack.stage.console.capture() as told:
        cast = demo.Cast.of(BUYERS, datetime.now(UTC))
        demo.visit_the_site(stack.stage, cast.newly_known)
        demo.open_the_app(stack.stage, cast.loyal)
        demo.call_the_shop(stack.stage, cast.lapsing)
        demo.show_results(stack.stage)

    story = told.get()
    assert "Jazz weeks" in story
    assert "after_purchase" in story
    assert "no_means_no" in story or "no means no" in story
