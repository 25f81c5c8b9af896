"""Newer packages of a host: what apt says it would do, which of that is chosen, and what a reboot is needed for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.flotilla.ec2.plugins.module_utils.service import packages
from ansible_collections.flotilla.ec2.plugins.modules import host_packages

SIMULATED = """NOTE: This is only a simulation!
Reading package lists...
The following packages will be upgraded:
  base-files libssl3
Inst base-files [12.4] (12.4+deb12u1 Debian:12.1/stable [amd64])
Conf base-files (12.4+deb12u1 Debian:12.1/stable [amd64])
Inst libssl3 [3.0.1-1] (3.0.2-1 Debian:12.1/stable, Debian-Security:12/stable-security [amd64]) []
Inst linux-image-6.1.0-2-amd64 (6.1.2-1 Debian-Security:12/stable-security [amd64])
Inst mine [1] (2 localhost [all])
Inst bare [1] (2  [all])
"""


def test_what_apt_would_do_is_read_from_its_simulation() -> None:
    found = packages.simulated(SIMULATED)
    assert list(found) == ["base-files", "libssl3", "linux-image-6.1.0-2-amd64", "mine", "bare"]
    assert found["libssl3"] == {"from": "3.0.1-1", "to": "3.0.2-1", "security": True}
    assert found["base-files"]["security"] is False and found["linux-image-6.1.0-2-amd64"]["from"] is None
    assert list(packages.chosen(found, "security")) == ["libssl3"]
    assert packages.chosen(found, "all") == found and packages.chosen(found, "none") == {}


def test_what_all_use_needs_a_reboot() -> None:
    assert packages.rebooting(["linux-image-6.1.0-2-amd64", "libc6:amd64", "curl", "systemd", "libssl3t64"]) == [
        "libc6:amd64", "libssl3t64", "linux-image-6.1.0-2-amd64", "systemd",
    ]  # fmt: skip


def test_packages_in_a_few_words() -> None:
    found = {f"p{number}": {"to": "2"} for number in range(7)}
    assert packages.words({}) == "no package" and packages.words({"a": {"to": "2"}}) == "1 package (a 2)"
    assert packages.words(found) == "7 packages (p0 2, p1 2, p2 2, p3 2, p4 2, …)"


def test_why_an_upgrade_has_failed() -> None:
    output = (
        "Setting up mine (3) ...\ncannot be configured\ndpkg: error processing package mine (--configure):\n installed mine post-installation script subprocess"
    )
    errors = "debconf: delaying package configuration\nE: Sub-process /usr/bin/dpkg returned an error code (1)"
    assert packages.reason(output, errors).startswith("dpkg: error processing package mine (--configure):; installed mine post-installation")
    assert packages.reason("a\nb\nc", "d") == "b; c; d"


class Failed(Exception):
    pass


class Module:
    """What the module uses of AnsibleModule; notes what is run."""

    def __init__(self, select: str = "security", check: bool = False, fails: str = "") -> None:
        self.params, self.check_mode, self.fails = {"select": select, "lock_seconds": 5}, check, fails
        self.ran: list[list[str]] = []

    def run_command(self, command: list[str], environ_update: dict[str, str]) -> tuple[int, str, str]:
        assert environ_update["DEBIAN_FRONTEND"] == "noninteractive"
        self.ran.append(command)
        if self.fails and self.fails in command:
            return 100, "", "E: Failed to fetch http://mirror/InRelease"
        return 0, SIMULATED if "--simulate" in command else "", ""

    def fail_json(self, msg: str, **_result: Any) -> None:
        raise Failed(msg)


def last(module: Module) -> list[str]:
    return module.ran[-1][7:]


def test_security_updates_alone_are_installed_by_version(tmp_path: Path) -> None:
    module = Module()
    assert list(host_packages.Host(module, tmp_path).upgrade()) == ["libssl3"]
    assert last(module) == ["--assume-yes", "--only-upgrade", "install", "libssl3=3.0.2-1"]
    assert not any("remove" in word or "dist-upgrade" in word for command in module.ran for word in command)


def test_all_are_upgraded_and_nothing_is_removed(tmp_path: Path) -> None:
    module = Module("all")
    assert len(host_packages.Host(module, tmp_path).upgrade()) == 5
    assert last(module) == ["--assume-yes", "--with-new-pkgs", "upgrade"]
    assert [command for command in module.ran if command[0] == "dpkg"] == []


def test_an_upgrade_that_was_cut_off_is_finished_first(tmp_path: Path) -> None:
    (tmp_path / "var/lib/dpkg/updates").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/updates/0001").touch()
    module = Module("all")
    host_packages.Host(module, tmp_path).upgrade()
    assert module.ran[0][0] == "dpkg" and "--pending" in module.ran[0]


def test_a_look_leaves_the_hosts_lists_alone(tmp_path: Path) -> None:
    module = Module(check=True)
    host_packages.Host(module, tmp_path).looked()
    assert len(module.ran) == 2 and all(any(word.startswith("Dir::State::Lists=") for word in command) for command in module.ran)


def test_a_source_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"apt-get update ended with 100: .*mirror.*Fix: see that the host reaches its package sources"):
        host_packages.Host(Module(fails="update"), tmp_path).upgrade()


def test_what_a_reboot_is_needed_for_is_kept_until_there_was_one(tmp_path: Path) -> None:
    host = host_packages.Host(Module(), tmp_path)
    (tmp_path / "run").mkdir()
    assert host.required() == []
    host.note(["libssl3"])
    host.note(["systemd"])
    assert host.required() == ["libssl3", "systemd"]
    (tmp_path / "run/reboot-required.pkgs").unlink()
    assert host.required() == ["a package"]
