"""When a NATS that stores nothing is started again."""

from itertools import pairwise
from pathlib import Path

from infra.child_process import ChildProcess
from infra.nats_store_probe import CHECK_EVERY_S, NatsStoreProbe


class Server(ChildProcess):
    """One that counts how often it was started."""

    starts = 0
    ended: int | None = None

    def start(self) -> None:
        """Count."""
        self.starts += 1

    def stop(self) -> None:
        """Nothing to stop."""

    def status(self) -> int | None:
        """Whether it ended."""
        return self.ended


class Unstartable(Server):
    """One that there is no memory for."""

    def start(self) -> None:
        """Fail."""
        raise OSError


def nats(folder: Path) -> Server:
    """A server that runs."""
    return Server("nats", [], folder / "nats.log", lambda: True)


def test_nats_is_started_again_when_it_refuses_twice_in_a_row(tmp_path: Path) -> None:
    server, answers = nats(tmp_path), iter(["full", None, "full", "full", None])
    probe = NatsStoreProbe(server, "", lambda url: next(answers))

    said = [probe.check(n * CHECK_EVERY_S) for n in range(1, 5)]

    assert said == [None, None, None, "full"]
    assert server.starts == 1


def test_restarts_that_do_not_help_come_ever_more_rarely(tmp_path: Path) -> None:
    server = nats(tmp_path)
    probe = NatsStoreProbe(server, "", lambda url: "full")

    restarts = [second for second in range(3_600) if probe.check(float(second))]

    pauses = [later - earlier for earlier, later in pairwise(restarts)]
    assert pauses == sorted(pauses)
    assert pauses[-1] >= 600


def test_a_nats_that_has_ended_is_left_to_who_starts_it_again(tmp_path: Path) -> None:
    server = nats(tmp_path)
    server.ended = 1

    assert [
        NatsStoreProbe(server, "", lambda url: "full").check(n * CHECK_EVERY_S) for n in range(3)
    ] == [None] * 3


def test_a_nats_that_cannot_be_started_again_is_left_to_who_tries_until_it_can(
    tmp_path: Path,
) -> None:
    server = Unstartable("nats", [], tmp_path / "nats.log", lambda: True)
    probe = NatsStoreProbe(server, "", lambda url: "full")

    assert [probe.check(n * CHECK_EVERY_S) for n in range(1, 3)] == [None, "full"]
