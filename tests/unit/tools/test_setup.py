"""What is missing is named with its fix; what is there is left alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tools import setup
from tools.phases import PhaseFailed, Phases


@pytest.fixture
def phases(tmp_path: Path) -> Phases:
    return Phases("test", tmp_path)


def machine(monkeypatch: pytest.MonkeyPatch, root: bool, commands: set[str], engine: tuple[bool, str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    monkeypatch.setattr(setup.shutil, "which", lambda name: f"/usr/bin/{name}" if name in commands else None)
    monkeypatch.setattr(setup, "engine_answer", lambda: engine)
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(setup, "INOTIFY", Path("/nonexistent"))  # this machine's own stays as it is


ALL = {"docker", "dockerd", "iptables", "mmdebstrap", "newuidmap", "ssh", "ssh-keygen"}


def test_a_machine_with_everything_is_left_alone(monkeypatch: pytest.MonkeyPatch, phases: Phases) -> None:
    machine(monkeypatch, False, ALL, (True, "28.0"))
    setup.make_engine(phases)
    assert phases.times == {}


@pytest.mark.parametrize(
    ("commands", "engine", "words"),
    [
        (set(), (False, "no docker command"), ["no docker engine runs here", "usermod -aG docker"]),
        (ALL, (False, "permission denied while trying to connect"), ["may not talk to the docker engine", "usermod -aG docker $USER"]),
        (ALL - {"mmdebstrap", "ssh"}, (True, "28.0"), ["mmdebstrap, openssh-client", "sudo apt-get install mmdebstrap openssh-client"]),
        (ALL - {"newuidmap"}, (True, "28.0"), ["sudo apt-get install uidmap"]),
    ],
)
def test_without_root_the_fix_is_named(monkeypatch: pytest.MonkeyPatch, phases: Phases, commands: set[str], engine: tuple[bool, str], words: list[str]) -> None:
    machine(monkeypatch, False, commands, engine)
    with pytest.raises(PhaseFailed) as failure:
        setup.make_engine(phases)
    for word in words:
        assert word in str(failure.value)


def test_an_engine_elsewhere_that_does_not_answer_is_not_replaced(monkeypatch: pytest.MonkeyPatch, phases: Phases) -> None:
    machine(monkeypatch, True, ALL, (False, "Cannot connect"))
    monkeypatch.setenv("DOCKER_HOST", "tcp://10.0.0.9:2375")
    with pytest.raises(PhaseFailed, match=r"DOCKER_HOST is tcp://10\.0\.0\.9:2375"):
        setup.make_engine(phases)


def test_root_installs_what_is_missing(monkeypatch: pytest.MonkeyPatch, phases: Phases) -> None:
    machine(monkeypatch, True, ALL - {"mmdebstrap", "newuidmap"}, (True, "28.0"))
    installed: list[str] = []
    monkeypatch.setattr(setup, "install_packages", lambda phases, packages, why: installed.extend(packages))
    setup.make_engine(phases)
    assert installed == ["mmdebstrap"]


def test_a_pid_file_is_kept_only_while_its_program_runs(tmp_path: Path) -> None:
    file = tmp_path / "docker.pid"
    file.write_text(f"{os.getpid()}\n")
    setup.forget_stale(file, Path("/proc/self/comm").read_text().strip())
    assert file.exists()
    setup.forget_stale(file, "dockerd")
    assert not file.exists()
    setup.forget_stale(file, "dockerd")


def test_the_installer_is_taken_from_the_lock_file() -> None:
    text = (setup.ROOT / "requirements.txt").read_text()
    entry = setup.locked("uv", text)
    assert entry.startswith("uv==")
    assert "--hash=sha256:" in entry
    assert entry.count("==") == 1
    with pytest.raises(PhaseFailed, match="make lock"):
        setup.locked("not-there", text)


def test_a_limit_that_guests_would_not_boot_for_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    limit = tmp_path / "max_user_instances"
    limit.write_text("128\n")
    monkeypatch.setattr(setup, "INOTIFY", limit)
    setup.make_limits(Phases("test", tmp_path))
    assert limit.read_text() == "1024" and "128 are enough for 16 guests" in capsys.readouterr().out
    limit.write_text("8192\n")
    setup.make_limits(Phases("test", tmp_path))
    assert limit.read_text() == "8192\n" and capsys.readouterr().out == ""


def test_who_may_not_set_the_limit_is_told_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Limit:
        def read_text(self, encoding: str) -> str:
            return "128\n"

        def write_text(self, text: str, encoding: str) -> None:
            raise PermissionError

    monkeypatch.setattr(setup, "INOTIFY", Limit())
    setup.make_limits(Phases("test", tmp_path))
    assert "sudo sysctl -w fs.inotify.max_user_instances=1024" in capsys.readouterr().out
