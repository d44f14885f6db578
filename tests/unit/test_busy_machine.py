"""Tests hold on a busy machine: none pauses in the hope that something happens meanwhile, and none
judges by a clock. What takes how long is measured in tests/benchmarks.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
APART = {"benchmarks", "compose"}
"""What measures how long things take, and what prints it."""
TESTS = sorted(
    path for path in ROOT.glob("tests/**/*.py") if APART.isdisjoint(path.relative_to(ROOT).parts)
)
STOPWATCHES = {"perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns"}
"""Clocks of the wall. `process_time` may be bounded generously: others' work is none of it."""
PAUSES = {
    "tests/faults/load.py": "a sender that was refused waits before it sends again",
    "tests/faults/test_faults.py": "how long the load and the fault last",
    "tests/faults/test_import.py": "a sender that was refused waits before it sends again",
    "tests/faults/test_losses.py": "how long the load and the loss last",
    "tests/integration/chassis/test_frozen.py": "longer than PostgreSQL lets others be silent",
}
"""Files that pause for a fixed time, and what for. No verdict may depend on how long it really is,
other than by its being at least so long.
"""


def find_pauses(tree: ast.AST) -> Iterator[str]:
    """Calls of `sleep` with a fixed time; `sleep(0)` gives others their turn, and is none."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name(node.func) == "sleep" and node.args:
            [time] = node.args
            if _is_fixed(time) and ast.unparse(time) != "0":
                yield f"line {node.lineno}: {ast.unparse(node)}: wait with tests.waiting.until"


def find_stopwatches(tree: ast.AST) -> Iterator[str]:
    """Calls of clocks that measure how long something takes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name(node.func) in STOPWATCHES:
            yield f"line {node.lineno}: {ast.unparse(node)}: count the work, or inject a clock"


def _name(function: ast.expr) -> str:
    return ast.unparse(function).rpartition(".")[2]


def _is_fixed(time: ast.expr) -> bool:
    """Whether it is made of numbers and constants only."""
    names = [node.id for node in ast.walk(time) if isinstance(node, ast.Name)]
    return all(name.isupper() for name in names)


def test_no_test_waits_for_a_fixed_time_or_judges_by_a_clock() -> None:
    found = {}
    for path in TESTS:
        text, name = path.read_text(), str(path.relative_to(ROOT))
        if not any(word in text for word in ("sleep", *STOPWATCHES)):
            continue  # reading them all as code would take a second
        tree = ast.parse(text)
        pauses = [] if name in PAUSES else find_pauses(tree)
        found[name] = [*pauses, *find_stopwatches(tree)]

    assert {name: faults for name, faults in found.items() if faults} == {}


def test_what_pauses_is_there_and_does() -> None:
    assert all(any(find_pauses(ast.parse((ROOT / path).read_text()))) for path in PAUSES)


@pytest.mark.parametrize(
    ("code", "is_pause"),
    [
        ("await asyncio.sleep(0.1)", True),
        ("time.sleep(2 * PAUSE_S)", True),
        ("sleep(60)", True),
        ("await asyncio.sleep(0)", False),
        ("await asyncio.sleep(wait_ms / 1_000)", False),
    ],
)
def test_a_pause_is_found(code: str, is_pause: bool) -> None:
    tree = ast.parse(f"async def test() -> None:\n    {code}")

    assert any(find_pauses(tree)) is is_pause
