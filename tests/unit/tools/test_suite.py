"""What the suite runs, and how it finds the role that failed."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tools import suite
from tools.phases import ROOT, Phases

LOG = """\x1b[36mINFO    \x1b[0m \x1b[32mnetwork\x1b[0m ➜ \x1b[33mverify\x1b[0m: \x1b[32mExecuted: Successful\x1b[0m
\x1b[31mERROR   \x1b[0m \x1b[32mload_balancer\x1b[0m ➜ \x1b[33mverify\x1b[0m: \x1b[31mExecuted: Failed\x1b[0m
INFO     default ➜ destroy: Executed: Successful
"""


@pytest.mark.parametrize(
    ("log", "role"),
    [
        (LOG, "load_balancer"),
        ("INFO     network ➜ check: Executed: Successful\n", None),
        ("ERROR    default ➜ create: Executed: Failed\n", None),
    ],
)
def test_the_failed_role_is_read_from_molecules_log(log: str, role: str | None) -> None:
    assert suite.failed_role(log) == role


def test_checks_share_two_lanes_and_so_do_clouds() -> None:
    lanes = [suite.lanes_of(name) for name, _, _ in suite.steps(suite.PARTS)]
    assert [(word, len(list(together))) for word, together in itertools.groupby(lanes)] == [
        ("checks", 7),
        ("data planes", 1),
        ("clouds", 1 + len(suite.stacks())),
    ]


def test_molecule_writes_inside_the_checkout_only() -> None:
    ((_, command, more),) = suite.steps(["roles"])
    assert command[-1] == "--all"
    assert Path(more["MOLECULE_EPHEMERAL_DIRECTORY"]).is_relative_to(ROOT)
    assert Path(suite.environment()["ANSIBLE_HOME"]).is_relative_to(ROOT)


def test_a_role_that_failed_among_others_is_run_again_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    phases = Phases("test", tmp_path)
    phases.log("roles").write_text(LOG, encoding="utf-8")
    monkeypatch.setattr(suite, "forget_molecule", lambda: None)
    monkeypatch.setattr(phases, "run", lambda name, command, *rest, **options: ran.append([name, *command[1:]]))
    suite.again(phases, role=None)
    suite.again(phases, role="load_balancer")
    assert ran == [["role load_balancer alone", "test", "--no-command-borders", "--scenario-name", "load_balancer"]]


def test_what_failed_is_said_once_more_at_the_end() -> None:
    log = (
        "hello .\nE       AssertionError: configure: exit 2\nfatal: [i-1]: FAILED! => no disk\n"
        "passed  a page\nFAILED tests/e2e/test_hello.py::test_a - Assert\n" + "noise\n" * 50
    )
    said = ["E       AssertionError: configure: exit 2", "fatal: [i-1]: FAILED! => no disk", "FAILED tests/e2e/test_hello.py::test_a - Assert"]
    assert suite.reasons(log) == said
