"""Steps show what they do, keep a log, and end with the reason and the remedy."""

from __future__ import annotations

import io
import sys
import threading
import time
from pathlib import Path

import pytest

from tools.phases import PhaseFailed, Phases, elapsed_text, main_guard, notable


@pytest.fixture
def phases(tmp_path: Path) -> Phases:
    return Phases("test", tmp_path, out=io.StringIO())


def shown(phases: Phases) -> str:
    assert isinstance(phases.out, io.StringIO)
    return phases.out.getvalue()


def test_a_step_is_announced_logged_and_timed(phases: Phases) -> None:
    assert phases.run("Two words", [sys.executable, "-c", "print('hello')"], timeout=30) == 0
    assert "==> Two words" in shown(phases)
    assert "done  Two words" in shown(phases)
    assert (phases.logs / "two-words.log").read_text() == "hello\n"
    assert phases.times["Two words"] >= 0


def test_a_failed_step_tells_its_last_words_and_the_remedy(phases: Phases) -> None:
    with pytest.raises(PhaseFailed) as failure:
        phases.run("bad", [sys.executable, "-c", "print('the reason'); raise SystemExit(3)"], remedy="do this")
    for text in ("exit code 3", "the reason", "To mend it: do this", "bad.log"):
        assert text in str(failure.value)


def test_unchecked_steps_return_their_code_and_streams_are_shown(phases: Phases) -> None:
    assert phases.run("bad", [sys.executable, "-c", "print('seen'); raise SystemExit(4)"], check=False, stream=True) == 4
    assert "  seen" in shown(phases)


def test_a_step_that_hangs_is_ended_with_its_children(phases: Phases) -> None:
    began = time.monotonic()
    code = phases.run("hangs", ["sh", "-c", "sleep 60 & echo $!; wait"], timeout=0.5, check=False)
    assert code == 124
    assert time.monotonic() - began < 10
    child = int((phases.logs / "hangs.log").read_text())
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and running(child):
        time.sleep(0.05)
    assert not running(child)


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_function_step_reports_its_error_by_name(phases: Phases) -> None:
    with pytest.raises(PhaseFailed, match="ValueError: no"):
        phases.call("function", lambda show: (_ for _ in ()).throw(ValueError("no")))
    phases.call("function", lambda show: "all good")
    assert "all good" in shown(phases)


def test_what_the_person_sees_of_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise PhaseFailed("x", "because")

    def interrupt() -> int:
        raise KeyboardInterrupt

    assert main_guard(fail) == 1
    assert main_guard(interrupt) == 130
    words = capsys.readouterr().err
    assert "FAILED  because" in words
    assert "goes on from here" in words


def test_texts() -> None:
    assert (elapsed_text(7.44), elapsed_text(125)) == ("7.4 s", "2 min 05 s")
    assert notable("TASK [database : Make it] *************") == "TASK [database : Make it]"
    assert notable("\x1b[0;32mok: [i-1]\x1b[0m") == ""


def test_steps_side_by_side_are_told_apart_by_their_label(tmp_path: Path) -> None:
    out = io.StringIO()
    steps = Phases("test", tmp_path, out)
    steps.run("one", ["sh", "-c", "echo hello"], stream=True, label="hello ")
    assert "hello   hello\n" in out.getvalue()


def test_steps_in_other_threads_are_ended(tmp_path: Path) -> None:
    steps = Phases("test", tmp_path, io.StringIO())
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(steps.run("long", ["sleep", "60"], check=False)))
    thread.start()
    while not steps._running:
        time.sleep(0.01)
    steps.end()
    thread.join(10)
    assert codes and codes[0] != 0
