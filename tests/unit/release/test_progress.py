"""What people see while a release runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ansible_collections.flotilla.ec2.plugins.module_utils.release.progress import Board, brief, step_of

ROOT = Path(__file__).resolve().parents[3]
PLAY = """
- name: Roll, batch by batch
  hosts: i-1:i-2
  gather_facts: false
  tasks:
    - name: "Roll | Drain"
      ansible.builtin.command: {cmd: 'true'}
      changed_when: false
    - name: "Roll | Note it"
      ansible.builtin.set_fact: {noted: true}
    - name: "Roll | Start the new release"
      ansible.builtin.command: {cmd: 'false'}
      changed_when: false
      when: inventory_hostname == 'i-2'
- name: End
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Say it
      ansible.builtin.debug: {msg: "web is on release 3"}
    - name: Fail
      ansible.builtin.fail: {msg: "the reason\\nin two lines"}
"""


def test_a_step_is_the_task_without_role_and_file() -> None:
    assert step_of("flotilla.ec2.release : Roll | Drain") == "Drain"
    assert brief("one\ntwo") == "one …" and brief("") == ""


def test_the_table_has_a_line_for_each_host() -> None:
    board = Board(began=0.0)
    board.starts("localhost", "Take the lock", 0.0)
    board.starts("i-1", "Drain", 1.0)
    board.starts("i-2", "Drain", 1.0)
    assert board.ends("i-2", 6.0, health="draining") == 5.0
    head, first, second = board.table(9.0)
    assert head.split() == ["host", "step", "elapsed", "target", "9", "s", "in", "all"]
    assert first.split() == ["i-1", "Drain", "8", "s"]
    assert second.split() == ["i-2", "Drain", "done", "draining"]
    board.starts("i-3", "Pull", 8.0)
    assert board.table(9.0, height=2)[1:] == [board.table(9.0)[1], board.table(9.0)[3], "… and 1 more"]
    assert max(map(len, board.table(9.0, width=40))) < 40


def test_elsewhere_than_on_a_terminal_each_step_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(PLAY)
    (tmp_path / "hosts").write_text("[all:vars]\nansible_connection=local\nansible_python_interpreter=" + sys.executable + "\n[all]\ni-1\ni-2\nlocalhost\n")
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(tmp_path / "hosts"), str(tmp_path / "play.yml")]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment = {**kept, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_STDOUT_CALLBACK": "flotilla.ec2.release", "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    lines = [line[10:] if line[2:3] == ":" else line for line in done.stdout.splitlines() if line.strip()]
    assert done.returncode != 0 and "\x1b" not in done.stdout
    assert lines[0].strip() == "Roll, batch by batch"
    assert sum(line.startswith("i-") and "Drain" in line for line in lines) == 2
    assert any(line.startswith("i-2") and "FAILED: Start the new release" in line for line in lines), done.stdout
    assert lines[-4:] == [lines[-4], "web is on release 3", "the reason", "in two lines"]
    assert "PLAY RECAP" not in done.stdout and "Note it" not in done.stdout
