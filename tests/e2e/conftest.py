"""One cloud and one stack for a whole module; the cloud goes when the session ends.

Of two stacks whose tests are run at a time, one is prepared while the other's last tests run: those marked `aside`, which measure nothing.
"""

from __future__ import annotations

import fcntl
import inspect
import shutil
from collections.abc import Iterator
from typing import IO, Any

import pytest

from tests.e2e.system import ROOT, System, say

LEFT = pytest.StashKey[list[str]]()  # lines of what a run does not show, and which one does


def stack_of(item: pytest.Item) -> str:
    """The name of the tests: their file's."""
    return item.path.stem.removeprefix("test_")


class Turns:
    """The machine's two turns, each held by one stack at a time: `preparing`, from its start to its first test aside, and `measuring`, from its first
    test to its end. A session that is killed gives them back."""

    def __init__(self) -> None:
        self.held: dict[str, IO[str]] = {}

    def take(self, name: str) -> None:
        """Wait for a turn, unless it is held already."""
        if name not in self.held:
            file = ROOT / "build" / "e2e" / f"{name}.lock"
            file.parent.mkdir(parents=True, exist_ok=True)
            self.held[name] = file.open("w")
            try:
                fcntl.flock(self.held[name], fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"waiting for the other stack: {name}")
                fcntl.flock(self.held[name], fcntl.LOCK_EX)

    def give(self, name: str) -> None:
        self.held.pop(name).close()


@pytest.fixture(scope="session")
def turns() -> Iterator[Turns]:
    turns = Turns()
    turns.take("preparing")
    yield turns
    for name in list(turns.held):
        turns.give(name)


@pytest.fixture(autouse=True)
def turn(request: pytest.FixtureRequest, turns: Turns) -> None:
    """Nothing runs beside a test, but for the next stack's preparation beside those aside."""
    turns.take("measuring")
    if request.node.get_closest_marker("aside"):
        if "preparing" in turns.held:
            turns.give("preparing")
    else:
        assert "preparing" in turns.held, "a test follows one aside: it would measure the next stack's preparation too"


@pytest.fixture(scope="session")
def system(request: pytest.FixtureRequest, turns: Turns) -> Iterator[System]:
    """The stack that the module's file is named after, on an empty cloud. What a killed earlier run has left is removed first."""
    system = System(stack_of(request.session.items[0]))
    system.cloud("down")
    shutil.rmtree(system.build, ignore_errors=True)
    say("starting the cloud")
    system.cloud("up").succeeded()
    yield system
    if "measuring" in turns.held:
        turns.give("measuring")  # the next stack's first tests need no quiet machine
    system.cloud("down").succeeded()


def words(item: Any) -> str:
    """What a test shows, in the words of its name and its docstring."""
    name = item.name.removeprefix("test_").replace("_", " ")
    return " — ".join(filter(None, [name, " ".join((inspect.getdoc(item.function) or "").split())]))


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Keep those that are left to a run by name."""
    for item in items:
        if item.get_closest_marker("by_name"):
            item.config.stash.setdefault(LEFT, []).append(f"{words(item)} (make test-e2e STACK={stack_of(item)})")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep what the module says to be shown elsewhere."""
    modules: list[Any] = [item.getparent(pytest.Module) for item in session.items[:1]]
    lines = [f"{name} (make test-e2e STACK={where})" for module in modules for name, where in getattr(module.obj, "ELSEWHERE", {}).items()]
    session.config.stash.setdefault(LEFT, []).extend(lines)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What the system must show, line by line: whether it held, and how that was observed (the test's docstring). Then what this run has left out."""
    terminalreporter.section("what was observed")
    for outcome in ("passed", "failed", "error"):
        for report in terminalreporter.stats.get(outcome, []):
            if report.when == "call" or outcome == "error":
                terminalreporter.write_line(f"{outcome:<7} {dict(report.user_properties).get('observed', report.nodeid)}")
    for line in terminalreporter.config.stash.get(LEFT, []):
        terminalreporter.write_line(f"left    {line}")


@pytest.fixture(autouse=True)
def observed(request: pytest.FixtureRequest, record_property: Any) -> None:
    """Keep the words for the table."""
    record_property("observed", words(request.node))
