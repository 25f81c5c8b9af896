"""A service that is stopped later, on the host's own account."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.flotilla.ec2.plugins.module_utils.service.layout import Layout
from ansible_collections.flotilla.ec2.plugins.modules import service_release

UNIT, TIMER = "flotilla-web-green.service", "flotilla-web-green-retire.timer"


class Host:
    """docker and systemd on paper."""

    def __init__(self, **states: str) -> None:
        self.states = {UNIT: states.get("unit", "active"), TIMER: states.get("timer", "inactive")}
        self.commands: list[list[str]] = []

    def units(self, names: list[str]) -> dict[str, dict[str, str]]:
        return {name: {"Id": name, "ActiveState": self.states[name], "UnitFileState": "linked"} for name in names}

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
    assert f"systemctl disable --quiet --now {UNIT}" in command[-1] and "docker rm --force flotilla-web-green" in command[-1]


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
        assert host.commands[:2] == [["systemctl", "stop", TIMER], ["systemctl", "enable", "--quiet", UNIT]]
        assert host.commands[2][:3] == ["systemd-run", "--quiet", "--unit=flotilla-web-retire"]
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
    assert host.commands == [["systemctl", "stop", TIMER], ["systemctl", "enable", "--quiet", UNIT]]
