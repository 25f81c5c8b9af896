"""One cloud and one stack for a whole module; the cloud goes when the session ends."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.system import System, say


@pytest.fixture(scope="session")
def system(request: pytest.FixtureRequest) -> Iterator[System]:
    """The stack that the module's file is named after, on an empty cloud. What a killed earlier run has left is removed first."""
    system = System(request.session.items[0].path.stem.removeprefix("test_"))
    system.cloud("down")
    shutil.rmtree(system.build, ignore_errors=True)
    say("starting the cloud")
    system.cloud("up").succeeded()
    yield system
    system.cloud("down").succeeded()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What the system must show, line by line: whether it held, and how that was observed (the test's docstring)."""
    terminalreporter.section("what was observed")
    for outcome in ("passed", "failed", "error"):
        for report in terminalreporter.stats.get(outcome, []):
            if report.when == "call" or outcome == "error":
                terminalreporter.write_line(f"{outcome:<7} {dict(report.user_properties).get('observed', report.nodeid)}")


@pytest.fixture(autouse=True)
def observed(request: pytest.FixtureRequest, record_property: Any) -> None:
    """Keep the words for the table."""
    name = request.node.name.removeprefix("test_").replace("_", " ")
    record_property("observed", " — ".join(filter(None, [name, " ".join((inspect.getdoc(request.function) or "").split())])))
