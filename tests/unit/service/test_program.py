"""A module that is run on a host as one program: what it is told, what it says, and what is said when it says nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.flotilla.ec2.plugins.plugin_utils import program

ROOT = Path(__file__).resolve().parents[3]


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


def test_the_python_that_a_user_has_set_is_taken() -> None:
    """The one that ansible would look for is Debian's own."""
    assert program.command("/opt/python 3/bin/python") == "'/opt/python 3/bin/python' -I -"
    for unset in (None, "", "auto", "auto_silent"):
        assert program.command(unset).startswith("python=/usr/bin/python3;")


def test_the_action_runs_it_as_its_host_is_set(tmp_path: Path) -> None:
    """By ansible itself, over a connection: with ansible_python_interpreter where it is set, and what a host lays ready as boot_files_info reads it."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$0 $*" >> {tmp_path}/ran\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    tasks = [{"flotilla.ec2.service_info": {"services": ["no-such"]}, "register": "seen"}, {"flotilla.ec2.boot_files_info": None, "check_mode": True}]
    tasks.append({"ansible.builtin.assert": {"that": ["not seen.services['no-such'].running"]}})
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    (tmp_path / "hosts").write_text(f"set ansible_python_interpreter={python}\nunset\n")
    program_of = str(Path(sys.executable).parent / "ansible-playbook")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment = kept | {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"), "ANSIBLE_HOME": str(tmp_path / "home")}
    command = [program_of, "-i", "hosts", "-c", "local", "play.yml"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "ran").read_text() == f"{python} -I -\n" * 2


def test_an_answer_is_found_between_other_lines() -> None:
    assert program.answer({"rc": 0, "stdout": f'welcome\n{program.ANSWER}{{"changed": true}}\r\nbye\n', "stderr": ""}) == {"changed": True}
