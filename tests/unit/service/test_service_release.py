"""A service that is stopped later, on the host's own account."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.flotilla.ec2.plugins.module_utils.service.layout import Layout, point
from ansible_collections.flotilla.ec2.plugins.modules import service_release

UNIT, TIMER = "flotilla-web-green.service", "flotilla-web-green-retire.timer"


class Host:
    """docker and systemd on paper."""

    def __init__(self, **states: str) -> None:
        self.states = {UNIT: states.get("unit", "active"), TIMER: states.get("timer", "inactive")}
        self.stale = states.get("stale", "no")
        self.commands: list[list[str]] = []

    def units(self, names: list[str]) -> dict[str, dict[str, str]]:
        return {name: {"Id": name, "ActiveState": self.states[name], "LoadState": "loaded", "NeedDaemonReload": self.stale} for name in names}

    def inspect(self, _names: list[str]) -> dict[str, Any]:
        return {}

    def run(self, arguments: list[str]) -> tuple[int, str, str]:
        self.commands.append(arguments)
        return 0, "", ""

    def systemctl(self, *arguments: str) -> None:
        self.commands.append(["systemctl", *arguments])


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout("web-green", tmp_path)


def retire(monkeypatch: pytest.MonkeyPatch, host: Host, layout: Layout, after: int, check: bool = False) -> bool:
    for name in ("units", "inspect", "run", "systemctl"):
        monkeypatch.setattr(service_release.host, name, getattr(host, name))
    module: Any = SimpleNamespace(params={"after_seconds": after}, check_mode=check)
    return bool(service_release.retire(module, layout)["changed"])


def test_it_is_stopped_by_a_timer_of_the_host(monkeypatch: pytest.MonkeyPatch, layout: Layout) -> None:
    host = Host()
    layout.wanted.parent.mkdir(parents=True)
    layout.wanted.symlink_to(layout.unit)
    assert retire(monkeypatch, host, layout, 600)
    assert not layout.wanted.is_symlink(), "a reboot within the ten minutes would start it, and nobody would stop it"
    (command,) = host.commands
    assert command[:4] == ["systemd-run", "--quiet", "--unit=flotilla-web-green-retire", "--on-active=600"]
    assert f"systemctl stop {UNIT}" in command[-1] and "docker rm --force flotilla-web-green" in command[-1]
    assert f"rm -f {layout.wanted}; " in command[-1], "it was enabled once more by a release that called this off and died"


@pytest.mark.parametrize(("states", "check", "changed"), [({"timer": "active"}, False, False), ({}, True, True), ({"unit": "inactive"}, False, False)])
def test_twice_in_check_mode_or_stopped_already_it_does_nothing(
    monkeypatch: pytest.MonkeyPatch, layout: Layout, states: dict[str, str], check: bool, changed: bool
) -> None:
    host = Host(**states)
    assert retire(monkeypatch, host, layout, 600, check) is changed
    assert host.commands == []


@pytest.mark.parametrize("check", [False, True])
def test_the_colour_that_serves_is_known_and_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, check: bool) -> None:
    """In one call: noted on the host, its own retirement called off, the other one's begun; and what it runs."""
    host = Host(timer="active")
    host.states |= {"flotilla-web.service": "active", "flotilla-web-retire.timer": "inactive"}
    for name in ("units", "inspect", "run", "systemctl"):
        monkeypatch.setattr(service_release.host, name, getattr(host, name))
    params = {"service": "web", "retired": "web", "after_seconds": 60}
    module: Any = SimpleNamespace(params=params, check_mode=check)
    done = service_release.enliven(module, Layout("web-green", tmp_path))
    assert done["changed"] and done["services"]["web-green"]["settled"] is False
    live = tmp_path / "etc/flotilla/web/live"
    assert not (host.commands or live.exists()) if check else live.read_text() == "web-green\n"
    if not check:
        assert host.commands[0] == ["systemctl", "stop", TIMER]
        assert Layout("web-green", tmp_path).wanted.is_symlink(), "the host starts it when it boots"
        assert host.commands[1][:3] == ["systemd-run", "--quiet", "--unit=flotilla-web-retire"]
        host.states[TIMER] = "inactive"
        params["retired"] = ""
        assert not service_release.enliven(module, Layout("web-green", tmp_path))["changed"], "the same again changes nothing"


def test_starting_it_calls_that_off(monkeypatch: pytest.MonkeyPatch, layout: Layout) -> None:
    host = Host(timer="active")
    for name in ("units", "inspect", "systemctl"):
        monkeypatch.setattr(service_release.host, name, getattr(host, name))
    module: Any = SimpleNamespace(params={"release": 3, "restart": False}, check_mode=False)
    with pytest.raises(service_release.host.HostError, match="release 3 of web-green is not prepared"):
        service_release.activate(module, layout)
    assert host.commands == [["systemctl", "stop", TIMER]] and layout.wanted.is_symlink()


START = ["systemctl", "restart", "--no-block", UNIT]
RELOAD = ["systemctl", "daemon-reload"]


def laid(layout: Layout, number: int, unit: str) -> None:
    layout.write(number, {"release.json": f'{{"release": {number}}}', UNIT: unit})


@pytest.mark.parametrize(
    ("unit", "stale", "commands"),
    [("same", "no", [START]), ("another", "no", [RELOAD, START]), ("same", "yes", [RELOAD, START])],
    ids=["same", "another", "changed and never read"],
)
def test_systemd_reads_its_units_again_only_when_this_one_says_something_else(
    monkeypatch: pytest.MonkeyPatch, layout: Layout, unit: str, stale: str, commands: list[list[str]]
) -> None:
    """A host reads all of its units and runs their generators for that: half a second on a small one."""
    host = Host(stale=stale)
    for name in ("units", "inspect", "systemctl"):
        monkeypatch.setattr(service_release.host, name, getattr(host, name))
    monkeypatch.setattr(service_release, "wait_for_answer", lambda *_: 1.0)
    # The link that systemd follows is an absolute one; here it leads below another root.
    monkeypatch.setattr(layout, "unit", layout.link / UNIT)
    monkeypatch.setattr(
        "ansible_collections.flotilla.ec2.plugins.module_utils.service.layout.point",
        lambda link, target, point=point: link == layout.unit or point(link, target),
    )
    laid(layout, 1, "same")
    layout.switch(1)
    time.sleep(0.01)
    laid(layout, 2, unit)
    module: Any = SimpleNamespace(params={"release": 2, "restart": False}, check_mode=False)
    assert service_release.activate(module, layout) == {"changed": True, "seconds": 1.0}
    assert host.commands == commands and layout.current() == 2 and layout.wanted.is_symlink()


def test_a_unit_that_systemd_does_not_know_is_read(monkeypatch: pytest.MonkeyPatch, layout: Layout) -> None:
    host = Host()
    for name in ("inspect", "systemctl"):
        monkeypatch.setattr(service_release.host, name, getattr(host, name))
    monkeypatch.setattr(service_release.host, "units", lambda names: {name: {"ActiveState": "inactive", "LoadState": "not-found"} for name in names})
    monkeypatch.setattr(service_release, "wait_for_answer", lambda *_: 1.0)
    laid(layout, 1, "same")
    module: Any = SimpleNamespace(params={"release": 1, "restart": False}, check_mode=False)
    service_release.activate(module, layout)
    assert host.commands == [RELOAD, START]


def test_a_service_is_stopped_once_and_stays_off(monkeypatch: pytest.MonkeyPatch, layout: Layout) -> None:
    host = Host()
    for name in ("units", "inspect", "run", "systemctl"):
        monkeypatch.setattr(service_release.host, name, getattr(host, name))
    laid(layout, 1, "same")
    layout.switch(1)
    layout.enable()
    module: Any = SimpleNamespace(params={}, check_mode=False)
    assert service_release.stop(module, layout)["changed"] and not layout.wanted.is_symlink()
    assert host.commands == [["systemctl", "stop", UNIT], ["docker", "rm", "--force", "flotilla-web-green"]]
    host.states[UNIT] = "inactive"
    assert not service_release.stop(module, layout)["changed"]


class Container:
    """A container that systemd starts again each time that it has ended, on paper: it lives for so long each time, and answers after so long."""

    def __init__(self, lives: float, answers_after: float = float("inf")) -> None:
        self.seconds, self.lives, self.answers_after = 0.0, lives, answers_after

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def inspect(self, _names: list[str]) -> dict[str, Any]:
        """Each start takes two seconds, one of which the ended container still stands for."""
        number, at = divmod(self.seconds, self.lives + 2.0)
        runs = at < self.lives
        state: dict[str, Any] = {"Running": True} if runs else {"Running": False, "Status": "exited", "ExitCode": 3}
        return {"flotilla-web-green": {"Id": f"c{number:.0f}", "State": state, "Config": {"Labels": {"flotilla.configuration": "new"}}}}

    def answers(self, _port: int, _path: str) -> int | None:
        return 200 if self.seconds % (self.lives + 2.0) >= self.answers_after else None


def waits(monkeypatch: pytest.MonkeyPatch, layout: Layout, container: Container) -> float:
    def fail(msg: str, **more: Any) -> None:
        raise RuntimeError(f"{msg} {more}")

    monkeypatch.setattr(service_release.host, "inspect", container.inspect)
    monkeypatch.setattr(service_release.host, "units", lambda names: {name: {"ActiveState": "active", "InvocationID": "new"} for name in names})
    monkeypatch.setattr(service_release.host, "logs", lambda _name, _count: ["HELLO_FAULT=exit"])
    monkeypatch.setattr(service_release.host, "answers", container.answers)
    monkeypatch.setattr(service_release, "time", SimpleNamespace(monotonic=lambda: container.seconds, sleep=container.sleep))
    monkeypatch.setattr(layout, "configuration", lambda _number: "new")
    module: Any = SimpleNamespace(params={"start_seconds": 120, "port": 80, "path": "/", "probe": "http"}, fail_json=fail)
    return service_release.wait_for_answer(module, layout, 2, "the old one", "old")


def test_a_container_that_exits_at_once_is_seen_in_seconds(monkeypatch: pytest.MonkeyPatch, layout: Layout) -> None:
    """At its second end, long before the deadline, with its code and its last words; one end may be bad luck."""
    container = Container(lives=0.5)
    with pytest.raises(RuntimeError, match=r"(?s)release 2 of web-green did not start: its container exited with code 3.*HELLO_FAULT=exit"):
        waits(monkeypatch, layout, container)
    assert container.seconds < 5


def test_a_container_that_never_answers_has_until_the_deadline(monkeypatch: pytest.MonkeyPatch, layout: Layout) -> None:
    container = Container(lives=1000)
    with pytest.raises(RuntimeError, match="did not answer http://127.0.0.1:80/ within 120 s"):
        waits(monkeypatch, layout, container)
    assert 120 <= container.seconds < 121


def test_a_container_that_answers_has_started(monkeypatch: pytest.MonkeyPatch, layout: Layout) -> None:
    assert waits(monkeypatch, layout, Container(lives=1000, answers_after=4.0)) == pytest.approx(4.0, abs=0.3)
