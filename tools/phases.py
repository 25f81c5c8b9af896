"""Run a sequence of named steps: progress while they run, a log file for each, their times, and the reason when one fails.

Standard library only: `tools.setup` runs before the virtual environment exists.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
NOTE_SECONDS = 10.0  # how often a step that says nothing is reported where there is no terminal
TAIL_LINES = 60
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class PhaseFailed(Exception):
    """A step ended with an error. `str()` is the text for the person in front of it."""

    def __init__(self, name: str, reason: str, log: Path | None = None) -> None:
        super().__init__(reason)
        self.name = name
        self.log = log


def elapsed_text(seconds: float) -> str:
    """Seconds as people read them: `7.4 s`, `2 min 05 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


def notable(line: str) -> str:
    """The part of an output line worth a progress display, or an empty string (ansible's `ok: [host]` lines say nothing new)."""
    text = _COLOUR.sub("", line).strip()
    if not text or re.match(r"^(ok|changed|skipping|included|task path)\b.*[:=]", text):
        return ""
    return re.sub(r"\s*\*{3,}$", "", text)


@dataclass
class Phases:
    """Steps of one command. `times` holds name → seconds of every finished step.

    A step is a command (`run`) or a Python function (`call`); both print one line when they begin, one when they end.
    """

    title: str
    logs: Path
    out: TextIO = field(default_factory=lambda: sys.stdout)
    times: dict[str, float] = field(default_factory=dict)
    _started: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _line_open: bool = False
    _running: set[subprocess.Popen[str]] = field(default_factory=set)

    def say(self, text: str = "") -> None:
        """Print a whole line, after clearing a progress line that stands open."""
        with self._lock:
            if self._line_open:
                self.out.write("\r\x1b[K")
                self._line_open = False
            self.out.write(text + "\n")
            self.out.flush()

    def _progress(self, text: str) -> None:
        with self._lock:
            width = shutil.get_terminal_size((100, 24)).columns - 1
            self.out.write("\r\x1b[K" + text[:width])
            self.out.flush()
            self._line_open = True

    @property
    def seconds(self) -> float:
        """Seconds since the first step could begin."""
        return time.monotonic() - self._started

    def _finish(self, name: str, began: float, note: str = "") -> None:
        self.times[name] = round(self.times.get(name, 0.0) + time.monotonic() - began, 1)
        self.say(f"    done  {name} ({elapsed_text(time.monotonic() - began)}){'  ' + note if note else ''}")

    def call(self, name: str, function: Callable[[Callable[[str], None]], str | None]) -> None:
        """Run a function as a step; it is handed a function that shows a progress text, and may return a closing note."""
        began = time.monotonic()
        self.say(f"==> {name}")
        try:
            note = function(lambda text: self._note(began, text))
        except PhaseFailed:
            raise
        except Exception as error:
            raise PhaseFailed(name, f"{type(error).__name__}: {error}") from error
        self._finish(name, began, note or "")

    def _note(self, began: float, text: str) -> None:
        line = f"      {elapsed_text(time.monotonic() - began):>8}  {text}"
        if self.out.isatty():
            self._progress(line)
        else:
            self.say(line)

    def run(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        timeout: float = 1800.0,
        check: bool = True,
        remedy: str = "",
        stream: bool = False,
        label: str = "",
    ) -> int:
        """Run a command as a step: output to `<logs>/<name>.log`, its last line as progress. Returns the exit code (124: `timeout` seconds passed).

        With `check`, an exit code other than 0 raises PhaseFailed with the end of the log and the remedy. With `stream`, all output is shown, each line
        after the `label`, by which steps that run side by side are told apart.
        """
        log = self.log(name)
        log.parent.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        self.say(f"==> {name}")
        with log.open("w", encoding="utf-8", errors="replace") as sink:
            process = subprocess.Popen(
                list(command),
                cwd=ROOT,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            self._running.add(process)
            last = [""]
            reader = threading.Thread(target=self._read, args=(process, sink, last, label + "  " if stream else None), daemon=True)
            reader.start()
            try:
                code = self._wait(process, began, last, timeout, quiet=stream)
            except BaseException:
                self._end(process)
                raise
            finally:
                self._running.discard(process)
            reader.join(timeout=5)
        if code != 0 and check:
            raise PhaseFailed(name, self.failure(name, code, time.monotonic() - began) + (f"\nTo mend it: {remedy}" if remedy else ""), log)
        if code == 0:
            self._finish(name, began)
        else:
            self.times[name] = round(time.monotonic() - began, 1)
        return code

    def log(self, name: str) -> Path:
        """The log file of a step."""
        return self.logs / (re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") + ".log")

    def failure(self, name: str, code: int, seconds: float | None = None, shown: bool = False) -> str:
        """Why a step failed: its exit code, the end of its log unless that was `shown`, and where the rest is."""
        lines = _COLOUR.sub("", self.log(name).read_text(encoding="utf-8", errors="replace")).splitlines()
        tail = [] if shown else ["  | " + line for line in lines[-TAIL_LINES:]]
        text = f"{name} failed (exit code {code}) after {elapsed_text(self.times.get(name, 0.0) if seconds is None else seconds)}."
        return "\n".join([text, *tail, f"Whole log: {self.log(name)}"])

    def _read(self, process: subprocess.Popen[str], sink: TextIO, last: list[str], shown: str | None) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            sink.write(line)
            sink.flush()
            last[0] = notable(line) or last[0]
            if shown is not None:
                self.say(shown + line.rstrip("\n"))

    def _wait(self, process: subprocess.Popen[str], began: float, last: list[str], timeout: float, quiet: bool) -> int:
        terminal = self.out.isatty()
        told, next_note = "", began + NOTE_SECONDS
        while True:
            try:
                return process.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                now = time.monotonic()
            if now - began > timeout:
                self._end(process)
                self.say(f"      stopped after {elapsed_text(timeout)}: {last[0]}")
                return 124
            if quiet:
                continue
            if terminal:
                self._progress(f"      {elapsed_text(now - began):>8}  {last[0]}")
            elif now >= next_note or (last[0] != told and now >= next_note - NOTE_SECONDS + 3):
                told, next_note = last[0], now + NOTE_SECONDS
                self.say(f"      {elapsed_text(now - began):>8}  {last[0]}")

    def end(self) -> None:
        """Stop the steps that run in other threads."""
        for process in list(self._running):
            self._end(process)

    @staticmethod
    def _end(process: subprocess.Popen[str]) -> None:
        """Stop a step's whole process group: politely first, since ansible puts hosts back into service when it is interrupted."""
        for number, patience in ((signal.SIGTERM, 15.0), (signal.SIGKILL, 5.0)):
            if process.poll() is not None:
                return
            try:
                os.killpg(process.pid, number)
                process.wait(timeout=patience)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue


def main_guard(function: Callable[[], int]) -> int:
    """Run a command's main function: failures and Ctrl-C as text instead of tracebacks."""
    try:
        return function()
    except PhaseFailed as error:
        print(f"\nFAILED  {error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on from here.", file=sys.stderr, flush=True)
        return 130
