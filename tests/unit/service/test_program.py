"""A module that is run on a host as one program: what it is told, what it says, and what is said when it says nothing."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from ansible_collections.flotilla.ec2.plugins.plugin_utils import program


def run(module: str, params: dict[str, Any], check: bool = True) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-I", "-"], input=program.program(module, params, check), capture_output=True, check=False)
    return program.answer({"rc": done.returncode, "stdout": done.stdout.decode(), "stderr": done.stderr.decode()})


def test_a_module_runs_without_ansible_on_the_host() -> None:
    """The very source of the module, with all that it imports."""
    found = run("service_info", {"services": ["no-such-service-ü"], "boot_seconds": 0})
    assert found["changed"] is False and found["services"]["no-such-service-ü"]["running"] is False
    live = {"name": "no-such-green", "state": "live", "service": "no-such", "retired": None, "after_seconds": 0}
    assert run("service_release", live)["services"]["no-such-green"]["prepared"] == []


def test_what_a_module_refuses_is_a_failure_with_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    params = {"name": "no-such", "state": "active", "release": 3, "restart": False}
    assert run("service_release", params) == {"changed": True}, "in check mode"
    found = run("service_release", params, check=False)
    assert found["failed"] and "release 3 of no-such is not prepared on this host" in found["msg"]


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ({"rc": 1, "stdout": "", "stderr": "sudo: a password is required\n"}, "no answer (code 1): sudo: a password is required"),
        ({"rc": 127, "stdout": "motd\n", "stderr": ""}, "no answer (code 127): motd"),
        ({"rc": 0, "stdout": "", "stderr": ""}, "it said nothing"),
    ],
)
def test_a_host_that_gives_no_answer_has_failed(outcome: dict[str, Any], words: str) -> None:
    found = program.answer(outcome)
    assert found["failed"] and words in found["msg"]


def test_an_answer_is_found_between_other_lines() -> None:
    assert program.answer({"rc": 0, "stdout": f'welcome\n{program.ANSWER}{{"changed": true}}\r\nbye\n', "stderr": ""}) == {"changed": True}
