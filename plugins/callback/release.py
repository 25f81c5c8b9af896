# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The output of a release: its plan, what is done with each host, what failed, its end."""

from __future__ import annotations

DOCUMENTATION = r"""
name: release
type: stdout
short_description: Show a release as a table of its hosts, or as plain lines
version_added: 0.1.0
description:
  - On a terminal a table of the hosts (step, elapsed, target health) is kept up to date below what is printed. Elsewhere each step is a line.
  - With C(-v) everything is printed as by P(ansible.builtin.default#callback).
  - C(bin/flotilla) uses it for releases unless C(ANSIBLE_STDOUT_CALLBACK) names another.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
requirements:
  - set as stdout in configuration
author:
  - Flotilla authors (@flotilla)
"""

import os
import shutil
import sys
import threading
import time
from typing import Any

from ansible.plugins.callback.default import CallbackModule as Default
from ansible_collections.flotilla.ec2.plugins.module_utils.release.progress import CONTROL, NOTICEABLE_SECONDS, Board, brief, silent, step_of

REDRAW_SECONDS = 0.5


class Table:
    """A board below everything else on a terminal, drawn anew twice a second. Writes with os.write: ansible forks while it runs."""

    def __init__(self, board: Board) -> None:
        self.board, self.lines, self.lock = board, 0, threading.RLock()
        self.ended = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while not self.ended.wait(REDRAW_SECONDS):
            with self.lock:
                self.erase()
                self.draw()

    def erase(self) -> None:
        if self.lines:
            os.write(1, f"\x1b[{self.lines}A\x1b[J".encode())
        self.lines = 0

    def draw(self) -> None:
        size = shutil.get_terminal_size()
        rows = self.board.table(time.time(), size.columns, max(size.lines - 4, 3)) if self.board.rows else []
        os.write(1, "".join(f"{row}\n" for row in rows).encode())
        self.lines = len(rows)

    def end(self) -> None:
        self.ended.set()
        with self.lock:
            self.erase()


class CallbackModule(Default):  # type: ignore[misc]
    """Lines, and on a terminal a table."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "flotilla.ec2.release"

    def __init__(self) -> None:
        super().__init__()
        self.board = Board(began=time.time())
        self.table: Table | None = None
        self.told: set[str] = set()
        self.play = ""

    @property
    def whole(self) -> bool:
        """Whether everything is to be printed as it is without this plugin."""
        return bool(self._display.verbosity)

    def say(self, text: str, color: str | None = None) -> None:
        """Print above the table."""
        if self.table is None:
            self._display.display(text, color=color)
            return
        with self.table.lock:
            self.table.erase()
            self._display.display(text, color=color)
            sys.stdout.flush()
            self.table.draw()

    def line(self, host: str, text: str, color: str | None = None) -> None:
        self.say(f"{time.strftime('%H:%M:%S')}  {'' if host == CONTROL else host:<20} {text}", color)

    # ---- what ansible tells

    def v2_playbook_on_start(self, playbook: Any) -> None:
        if self.whole:
            super().v2_playbook_on_start(playbook)
        elif sys.stdout.isatty() and not os.environ.get("CI"):
            self.table = Table(self.board)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        if self.whole:
            super().v2_playbook_on_play_start(play)
        self.play = play.get_name().strip()

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        if self.whole:
            super().v2_playbook_on_task_start(task, is_conditional)

    def v2_playbook_on_no_hosts_matched(self) -> None:
        if self.whole:
            super().v2_playbook_on_no_hosts_matched()

    def v2_playbook_on_no_hosts_remaining(self) -> None:
        if self.whole:
            super().v2_playbook_on_no_hosts_remaining()

    def v2_playbook_on_include(self, included_file: Any) -> None:
        if self.whole:
            super().v2_playbook_on_include(included_file)

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        if self.whole:
            super().v2_runner_on_start(host, task)
            return
        if self.play:
            self.line(CONTROL, self.play, "bright blue")
            self.play = ""
        if not silent(task.action):
            self.board.starts(str(host), step_of(task.get_name()), time.time())

    def v2_runner_on_ok(self, result: Any) -> None:
        if self.whole:
            super().v2_runner_on_ok(result)
            return
        host, outcome, task = result.host.get_name(), result.result, result.task
        self._handle_warnings(result.result)
        if task.action.rpartition(".")[2] == "debug":
            self.say(f"\n{outcome.get('msg', '')}\n")
        if silent(task.action):
            return
        health = outcome.get("health")
        seconds = self.board.ends(host, time.time(), health=str(health.get("state") or "") if isinstance(health, dict) else "")
        if host != CONTROL or seconds >= NOTICEABLE_SECONDS:
            self.line(host, f"{step_of(task.get_name())}  {seconds:.1f} s", "yellow" if outcome.get("changed") else "green")

    def v2_runner_on_skipped(self, result: Any) -> None:
        if self.whole:
            super().v2_runner_on_skipped(result)
        elif not silent(result.task.action):
            self.board.ends(result.host.get_name(), time.time())

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if self.whole:
            super().v2_runner_on_failed(result, ignore_errors)
            return
        host, message = result.host.get_name(), str(result.result.get("msg") or "")
        self._handle_warnings(result.result)
        self.board.ends(host, time.time(), "failed")
        if message in self.told:
            return
        self.told.add(message)
        if host == CONTROL and silent(result.task.action):
            self.say(f"\n{message}\n", "red")  # the end of a release, whole
        else:
            self.line(host, f"FAILED: {step_of(result.task.get_name())}: {brief(message)}", "red")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        if self.whole:
            super().v2_runner_on_unreachable(result)
            return
        host = result.host.get_name()
        self.board.ends(host, time.time(), "unreachable")
        self.line(host, f"UNREACHABLE: {brief(result.result.get('msg') or '')}", "red")

    def v2_on_file_diff(self, result: Any) -> None:
        if self.table is None:
            super().v2_on_file_diff(result)
            return
        with self.table.lock:
            self.table.erase()
            super().v2_on_file_diff(result)
            sys.stdout.flush()
            self.table.draw()

    def v2_playbook_on_stats(self, stats: Any) -> None:
        if self.table is not None:
            self.table.end()
        if self.whole:
            super().v2_playbook_on_stats(stats)
