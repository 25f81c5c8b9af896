"""What a host has, collected on it and laid on another: the same bytes, but for what is each host's own."""

from __future__ import annotations

import base64
import getpass
import grp
import hashlib
import importlib.util
import json
import os
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from ansible_collections.flotilla.ec2.plugins.module_utils.release import boot
from ansible_collections.flotilla.ec2.plugins.module_utils.service import bundle
from ansible_collections.flotilla.ec2.plugins.module_utils.service.layout import Layout
from ansible_collections.flotilla.ec2.plugins.modules import host_files, service_info

SOURCE = Path(__file__).resolve().parents[3] / "roles" / "host_baseline" / "files" / "host.py"
ENV, OWN = "/etc/flotilla/host.env", {"FLOTILLA_HOST": "instance-id"}


@pytest.fixture
def helper(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("flotilla_host", SOURCE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "metadata", lambda item: {"instance-id": "i-new"}[item])
    return module


def host(root: Path, name: str) -> Path:
    """A host as a role and two releases have left it."""
    params = {
        "name": "baseline",
        "directories": [{"path": "/etc/flotilla", "mode": "0755"}],
        "files": [
            {"path": ENV, "content": f"# for applications\nFLOTILLA_HOST={name}\n", "mode": "0644", "validate": None},
            {"path": "/etc/flotilla/tool", "content": "#!/bin/sh\n", "mode": "0755", "validate": None},
        ],
        "boot": {
            "packages": ["docker.io"],
            "programs": {"docker": "docker-cli"},
            "groups": [],
            "users": [],
            "directories": [],
            "files": [],
            "own": {ENV: OWN},
            "commands": [["true"]],
        },
    }
    host_files.Tree(SimpleNamespace(params=params, check_mode=False), root).lay()
    for number in (1, 2):
        directory = root / f"etc/flotilla/web/releases/{number}"
        directory.mkdir(parents=True)
        (directory / "release.json").write_text(json.dumps({"release": number}))
        (directory / "environment").write_text("A=1\n")
    return root


def tree(root: Path) -> dict[str, tuple[str, int]]:
    files = [path for path in root.rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): (path.read_text(), path.stat().st_mode) for path in files}


def test_a_new_host_is_what_a_role_would_have_made_of_it(tmp_path: Path, helper: ModuleType) -> None:
    """Byte for byte, the manifest with the sums of its own files among them."""
    collected = bundle.collect(host(tmp_path / "old", "i-old"))
    index = {**collected, "files": [{**row, "sha256": hashlib.sha256(base64.b64decode(row["content"])).hexdigest()} for row in collected["files"]]}
    source = tmp_path / "bundle"
    for row in collected["files"]:
        path = source / row["path"].lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(row["content"]))
    helper.lay_files(source, index, tmp_path / "new")
    assert tree(tmp_path / "new") == tree(host(tmp_path / "wanted", "i-new"))


def test_hosts_that_differ_in_their_own_only_give_one_bundle(tmp_path: Path) -> None:
    first, second = (bundle.collect(host(tmp_path / name, name)) for name in ("i-1", "i-2"))
    assert boot.packed(first, "web", []) == boot.packed(second, "web", [])
    assert "i-1" not in json.dumps(first)


def test_modes_owners_and_releases_are_told(tmp_path: Path) -> None:
    collected = bundle.collect(host(tmp_path, "i-1"))
    rows = {row["path"]: row for row in collected["files"]}
    assert rows["/etc/flotilla/tool"]["mode"] == "0755"
    assert (rows[ENV]["owner"], rows[ENV]["group"]) == (getpass.getuser(), grp.getgrgid(os.getegid()).gr_name)
    assert "/etc/flotilla/web/releases/2/environment" in rows
    assert "/etc/flotilla/web/releases" in [row["path"] for row in collected["directories"]]
    assert collected["packages"] == ["docker.io"] and collected["programs"] == {"docker": "docker-cli"} and collected["commands"] == [["true"]]


def test_a_host_that_lacks_what_its_manifest_names_is_no_pattern(tmp_path: Path) -> None:
    (host(tmp_path, "i-1") / "etc/flotilla/tool").unlink()
    with pytest.raises(bundle.Incomplete, match="/etc/flotilla/tool is in a manifest .* Fix: run configure.yml"):
        bundle.collect(tmp_path)


def test_a_host_that_no_role_has_made_gives_nothing(tmp_path: Path) -> None:
    assert bundle.collect(tmp_path) == {}


def test_a_file_that_is_not_what_the_index_says_is_never_laid(tmp_path: Path, helper: ModuleType) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle/a").write_text("else")
    row = {"path": "/a", "mode": "0644", "owner": "root", "group": "root", "sha256": "1f"}
    with pytest.raises(SystemExit, match="/a in the boot bundle has the checksum .* instead of 1f"):
        helper.lay_files(tmp_path / "bundle", {"directories": [], "files": [row]}, tmp_path / "new")
    assert not (tmp_path / "new/a").exists()


# ---- packages


@pytest.fixture
def debian(helper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A Debian whose package docker.io brings the program docker, or whose docker-cli does: what is installed, transaction by transaction."""

    def run(brings: str, has: set[str]) -> list[list[str]]:
        transactions: list[list[str]] = []

        def command(arguments: list[str], **_options: Any) -> Any:
            if arguments[0] == "dpkg-query":
                return SimpleNamespace(returncode=0, stdout="".join(f"{name} installed\n" for name in sorted(has)))
            if "install" in arguments:
                transactions.append([word for word in arguments[arguments.index("install") + 1 :] if not word.startswith("--")])
                has.update(transactions[-1])
            return SimpleNamespace(returncode=0, stdout="", stderr="")

        monkeypatch.setattr(helper.subprocess, "run", command)
        monkeypatch.setattr(helper.shutil, "which", lambda program: f"/usr/bin/{program}" if brings in has else None)
        helper.install_packages(["docker.io", "iptables"], {"docker": "docker-cli"}, 1e9)
        return transactions

    return run


@pytest.mark.parametrize(
    ("brings", "has", "transactions"),
    [
        pytest.param("docker.io", set(), [["docker.io", "iptables"]], id="12"),
        pytest.param("docker-cli", set(), [["docker.io", "iptables"], ["docker-cli"]], id="13"),
        pytest.param("docker-cli", {"docker.io", "iptables"}, [["docker-cli"]], id="13 with an engine"),
        pytest.param("docker-cli", {"docker.io", "iptables", "docker-cli"}, [], id="all there"),
    ],
)
def test_a_host_gets_the_packages_of_its_own_debian(debian: Any, brings: str, has: set[str], transactions: list[list[str]]) -> None:
    assert debian(brings, has) == transactions


def test_a_package_that_does_not_bring_its_program_is_no_endless_loop(debian: Any) -> None:
    with pytest.raises(SystemExit, match="docker-cli is installed, and there is still no program docker"):
        debian("podman-docker", set())


# ---- images


ITS_OWN = {
    "etc/ssh/ssh_host_ed25519_key": "private",
    "etc/docker/key.json": "{}",
    "home/admin/.ssh/authorized_keys": "ssh-ed25519 A",
    "root/.ssh/authorized_keys": "ssh-ed25519 B",
    "root/.bash_history": "mysql -psecret",
    "var/lib/cloud/instance/user-data.txt": "#cloud-config",
    "var/lib/docker/containers/1/config.v2.json": "{}",
    "var/lib/docker/network/files/local-kv.db": "",
    "var/lib/flotilla/boot/begun": "",
    "var/log/journal/0123/system.journal": "",
    "var/log/apt/term.log": "",
    "etc/systemd/system/flotilla-boot.service": "[Unit]",
}
KEPT = {"etc/ssh/sshd_config": "Port 22", "var/lib/docker/image/overlay2/repositories.json": "{}", "etc/docker/own.conf": "x", "usr/bin/dockerd": "elf"}


def test_an_image_keeps_what_is_installed_and_nothing_of_the_machine_that_it_was(tmp_path: Path, helper: ModuleType) -> None:
    root = host(tmp_path, "i-old")
    index = bundle.collect(root)
    for name, text in {**ITS_OWN, **KEPT, "etc/machine-id": "0123\n"}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir()
    (wants / "flotilla-boot.service").symlink_to("/etc/systemd/system/flotilla-boot.service")
    for _ in range(2):
        helper.wipe(index, root)
        assert {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()} == {**KEPT, "etc/machine-id": ""}
        assert list(wants.iterdir()) == [] and not (root / "etc/flotilla").exists() and not (root / "var/lib/cloud").exists()
        assert (root / "var/log/apt").is_dir(), "directories of logs belong to packages"


def test_what_makes_an_image_starts_nothing_and_what_proves_one_pulls_nothing(tmp_path: Path, helper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    release = tmp_path / "etc/web/releases/7"
    release.mkdir(parents=True)
    (release / "release.json").write_text(json.dumps({"image": "registry/web@sha256:7"}))
    index = {"services": [{"name": "web", "pointer": "/p/web", "instances": {"": "web"}}, {"name": "new", "pointer": "/p/new", "instances": {"": "new"}}]}
    done: list[Any] = []
    monkeypatch.setattr(helper, "CONFIGURATION", tmp_path / "etc")
    monkeypatch.setattr(helper, "prepared", lambda _place, _deadline: index)
    monkeypatch.setattr(helper, "parameter", {"/p/web": {"number": 7}, "/p/new": None}.get)
    for name in ("pull_spares", "say_identity"):
        monkeypatch.setattr(helper, name, lambda *_arguments, _name=name: done.append(_name))
    monkeypatch.setattr(helper, "pull", lambda image, _deadline: done.append(image))
    monkeypatch.setattr(helper, "forget", lambda _index: done.append("forget"))
    monkeypatch.setattr(helper.subprocess, "run", lambda command, **_options: done.append(command[0]))

    def docker(*words: str) -> str:
        done.append(words)
        return "made"

    monkeypatch.setattr(helper, "docker", docker)
    assert helper.bake("bundle", "60") == 0
    assert done == ["registry/web@sha256:7", "pull_spares", "say_identity", "cloud-init", "forget"]
    done.clear()
    assert helper.prove("bundle", "60") == 0
    assert done == [("create", "--pull", "never", "--network", "none", "registry/web@sha256:7", "none"), ("rm", "made"), "say_identity"]
    monkeypatch.setattr(helper, "parameter", lambda _name: {"number": 8})
    assert helper.bake("bundle", "60") == helper.prove("bundle", "60") == 75, "a release went on meanwhile"


# ---- the release that the pointer names


@pytest.fixture
def booted(tmp_path: Path, helper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A host with releases 1 and 2 laid, and a start of what `pointers` name one after the other: (whether it could, what was started)."""
    monkeypatch.setattr(helper, "CONFIGURATION", host(tmp_path, "i-new") / "etc/flotilla")
    monkeypatch.setattr(helper, "BOOTED", tmp_path / "started")
    monkeypatch.setattr(helper, "SYSTEM_UNITS", tmp_path / "units")
    monkeypatch.setattr(helper, "facts_of", lambda _release: {"image": "registry/web@sha256:1f", "port": 80})
    monkeypatch.setattr(helper, "pull", lambda _image, _deadline: None)
    monkeypatch.setattr(helper, "wait_for_answer", lambda *_: True)
    link = helper.CONFIGURATION / "web/current"

    def run(*pointers: Any, colour: str = "") -> tuple[bool, list[str]]:
        started: list[str] = []
        answers = [None if one is None else {"number": one, "colour": colour} for one in pointers]
        monkeypatch.setattr(helper, "parameter", lambda _name: answers.pop(0) if len(answers) > 1 else answers[0])

        def command(arguments: list[str], **_options: Any) -> Any:
            if "restart" in arguments:
                started.append(os.readlink(link))
            return SimpleNamespace(returncode=0, stdout="")

        monkeypatch.setattr(helper.subprocess, "run", command)
        service = {"name": "web", "pointer": "p", "instances": {"": "web", "blue": "web"}, "probe": "http", "path": "/"}
        return helper.start_current(service, 1e9), started

    run.link = link  # type: ignore[attr-defined]
    return run


def test_the_release_that_the_pointer_names_is_started(booted: Any) -> None:
    assert booted(1) == (True, ["releases/1"])


def test_the_host_starts_it_when_it_boots_by_the_same_link_as_after_a_release(booted: Any, tmp_path: Path) -> None:
    booted(1)
    layout = Layout("web", tmp_path / "peer")
    layout.enable()
    assert os.readlink(tmp_path / "units/multi-user.target.wants/flotilla-web.service") == os.readlink(layout.wanted) == "../flotilla-web.service"


def test_without_a_release_nothing_is_started(booted: Any) -> None:
    assert booted(None) == (True, [])


def test_a_release_that_ends_meanwhile_is_followed(booted: Any) -> None:
    assert booted(1, 2) == (True, ["releases/1", "releases/2"])


def test_a_release_that_is_not_in_the_bundle_asks_for_a_newer_one(booted: Any) -> None:
    assert booted(3) == (False, [])


def test_what_a_release_of_the_control_node_has_started_is_left_alone(booted: Any) -> None:
    booted.link.symlink_to("releases/2")
    assert booted(1) == (True, [])
    assert os.readlink(booted.link) == "releases/2"


def test_the_colour_that_serves_is_noted(booted: Any) -> None:
    assert booted(1, colour="blue") == (True, ["releases/1"])
    assert (booted.link.parent / "live").read_text() == "web\n"


# ---- who is waited for


def test_an_instance_is_waited_for_until_it_is_a_host(tmp_path: Path) -> None:
    assert not service_info.boots(tmp_path), "a host without cloud-init"
    for name in ("run/cloud-init/enabled", "run/flotilla/booting"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    assert service_info.boots(tmp_path)
    (tmp_path / "var/lib/cloud/instance").mkdir(parents=True)
    (tmp_path / "var/lib/cloud/instance/boot-finished").touch()
    assert service_info.boots(tmp_path)
    (tmp_path / "run/flotilla/booting").unlink()
    assert not service_info.boots(tmp_path)
