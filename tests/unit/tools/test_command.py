"""bin/flotilla: what a pipeline gets back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(__file__).resolve().parents[3] / "bin" / "flotilla"


@pytest.fixture
def ansible(tmp_path: Path) -> Path:
    """An ansible-playbook that does what the file `script` says, in shell."""
    fake = tmp_path / "ansible-playbook"
    fake.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n. {tmp_path}/script\n')
    fake.chmod(0o755)
    (tmp_path / "script").write_text("exit 0\n")
    return tmp_path


def run(ansible: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{ansible}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        [sys.executable, str(COMMAND), *words], cwd=ansible, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


@pytest.mark.parametrize(
    ("ended", "result", "code"),
    [
        pytest.param(0, {"outcome": "succeeded", "exit_code": 0}, 0, id="done"),
        pytest.param(2, {"outcome": "refused", "exit_code": 10}, 10, id="refused"),
        pytest.param(2, {"outcome": "failed", "exit_code": 20}, 20, id="rolled back"),
        pytest.param(2, {"outcome": "failed", "exit_code": 30}, 30, id="needs a hand"),
        pytest.param(-9, {"outcome": "started", "exit_code": 30}, 30, id="cut off"),
        pytest.param(2, {"outcome": "succeeded", "exit_code": 0}, 30, id="something after the release failed"),
        pytest.param(4, None, 10, id="did not begin"),
        pytest.param(0, None, 0, id="nothing to tell"),
    ],
)
def test_a_release_ends_with_what_became_of_it(ansible: Path, ended: int, result: dict[str, object] | None, code: int) -> None:
    (ansible / "old").mkdir()
    (ansible / "old/result.json").write_text('{"exit_code": 0}')  # of an earlier run
    script = f"printf '%s' '{json.dumps(result)}' > old/result.json\n" if result else ""
    (ansible / "script").write_text(script + ("kill -9 $$\n" if ended < 0 else f"exit {ended}\n"))
    assert run(ansible, "deploy", "-i", "inventories/x", "-e", "release_result_file=old/result.json").returncode == code
    assert (ansible / "asked").read_text().split()[1:3] == ["-i", "inventories/x"]


def test_other_verbs_end_as_ansible_does_and_unknown_ones_are_listed(ansible: Path) -> None:
    (ansible / "script").write_text("exit 4\n")
    assert run(ansible, "status").returncode == 4
    seen = run(ansible, "deplyo")
    assert seen.returncode == 2 and "no verb 'deplyo'" in seen.stderr and "deploy" in seen.stderr


WRITE_COMMAND = """\
file=$(python3 -c 'import json, sys; print(json.loads(sys.argv[-1])["console_command_file"])' "$@")
echo '["echo", "ssh", "api", "irb"]' > "$file"
"""


def test_a_console_is_the_command_that_the_playbook_finds(ansible: Path) -> None:
    (ansible / "script").write_text(WRITE_COMMAND)
    seen = run(ansible, "console", "api", "irb", "--new", "-i", "x")
    assert (seen.returncode, seen.stdout) == (0, "ssh api irb\n")
    asked = (ansible / "asked").read_text()
    assert '"console_program": "irb"' in asked and '"release_service": "api"' in asked and '"console_new": true' in asked and "--new" not in asked
    (ansible / "script").write_text("echo web allows: irb; exit 2\n")
    seen = run(ansible, "console", "bash")
    assert seen.returncode == 10 and "web allows: irb" in seen.stderr


@pytest.mark.parametrize(("word", "seconds"), [("--wait", "3600"), ("--wait=90", "90")])
def test_wait_becomes_the_variable_that_the_playbooks_know(ansible: Path, word: str, seconds: str) -> None:
    run(ansible, "deploy", word, "-e", "release_tag=v2")
    assert f"-e release_wait_seconds={seconds} -e release_tag=v2" in (ansible / "asked").read_text()
