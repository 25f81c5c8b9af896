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


def test_what_boots_clouds_waits_for_the_checks_and_shares_two_lanes() -> None:
    found = suite.steps(suite.PARTS)
    assert [clouds for clouds, _ in itertools.groupby(found, key=lambda step: suite.wants_a_cloud(step.name))] == [False, True]
    names = [step.name for step in found]
    assert all(set(step.after) <= set(names[:number]) for number, step in enumerate(found)), "a step in a lane may wait for earlier ones only"
    first, *others = (f"end to end {name}" for name in suite.stacks())
    assert names[-4 - len(others) :] == ["roles", "roles of hosts", first, "end of the roles' cloud", *others]


def test_all_five_systems_and_a_fleet_are_in_and_each_without_what_it_leaves_to_a_run_by_name() -> None:
    assert set(suite.stacks()) == {"hello", "gifs", "media", "todo", "sums", "fleet"}
    assert all(step.command[-3:-1] == ["-m", "not by_name"] for step in suite.end_to_end(None))
    (whole,) = suite.end_to_end("sums")
    assert "not by_name" not in whole.command


def test_every_scenario_is_run_once() -> None:
    _, others, hosts, _ = suite.roles(None)
    left_out = {word for word, before in zip(others.command[1:], others.command, strict=False) if before == "--exclude"}
    taken = {word for word, before in zip(hosts.command[1:], hosts.command, strict=False) if before == "--scenario-name"}
    assert "--all" in others.command and left_out == {*taken, "default"}
    assert all((ROOT / "molecule" / name / "molecule.yml").is_file() for name in taken)


def test_molecule_writes_inside_the_checkout_only_and_two_runs_do_not_share_their_notes() -> None:
    notes = [Path(step.environment["MOLECULE_EPHEMERAL_DIRECTORY"]) for step in suite.roles(None)]
    assert all(directory.is_relative_to(ROOT) for directory in notes)
    cloud, others, hosts, end = notes
    assert cloud == end and len({cloud, others, hosts}) == 3
    assert Path(suite.environment()["ANSIBLE_HOME"]).is_relative_to(ROOT)


def test_a_role_that_failed_among_others_is_run_again_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    phases = Phases("test", tmp_path)
    for step in (suite.ROLES, suite.HOST_ROLES):
        phases.log(step).write_text(LOG, encoding="utf-8")
    monkeypatch.setattr(suite, "forget_molecule", lambda: None)
    monkeypatch.setattr(phases, "run", lambda name, command, *rest, **options: ran.append([name, *command[1:]]))
    suite.again(phases, ["mypy", suite.ROLES])
    assert ran == [["role load_balancer alone", "test", "--no-command-borders", "--scenario-name", "load_balancer"]]


def test_what_failed_is_said_once_more_at_the_end() -> None:
    log = (
        "hello .\nE       AssertionError: configure: exit 2\nfatal: [i-1]: FAILED! => no disk\n"
        "passed  a page\nFAILED tests/e2e/test_hello.py::test_a - Assert\n" + "noise\n" * 50
    )
    said = ["E       AssertionError: configure: exit 2", "fatal: [i-1]: FAILED! => no disk", "FAILED tests/e2e/test_hello.py::test_a - Assert"]
    assert suite.reasons(log) == said
