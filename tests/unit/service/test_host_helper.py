"""The helper that runs on hosts: secrets become private files, patience while AWS is away, readable words at the end."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SOURCE = Path(__file__).resolve().parents[3] / "roles" / "host_baseline" / "files" / "host.py"


class Manager:
    """Secrets Manager that fails `away` times first."""

    def __init__(self, away: int = 0) -> None:
        self.away = away
        self.asked: list[str] = []

    def get_secret_value(self, SecretId: str) -> dict[str, str]:
        self.asked.append(SecretId)
        if self.away > 0:
            self.away -= 1
            raise ConnectionError("no route to host")
        return {"SecretString": json.dumps({"username": "hello_web", "password": "p4ss"})}


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("flotilla_host", SOURCE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    clock = {"now": 0.0}
    monkeypatch.setattr(module.time, "monotonic", lambda: clock["now"])
    monkeypatch.setattr(module.time, "sleep", lambda seconds: clock.update(now=clock["now"] + seconds))
    monkeypatch.setattr(module, "CONFIGURATION", tmp_path / "etc")
    monkeypatch.setattr(module, "RUN", tmp_path / "run")
    return module


def release(helper: ModuleType, wanted: dict[str, Any]) -> Path:
    directory = helper.CONFIGURATION / "web" / "current"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "secrets.json").write_text(json.dumps(wanted))
    (directory / "release.json").write_text(json.dumps({"user": f"{os.getuid()}:{os.getgid()}"}))
    return Path(helper.RUN / "web" / "secrets")


WANTED = {"database_password": {"secret": "flotilla/x", "field": "password"}, "database_user": {"secret": "flotilla/x", "field": "username"}}


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_secrets_are_private_files_and_asked_for_once(helper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = release(helper, WANTED)
    manager = Manager()
    monkeypatch.setattr(helper, "client", lambda service: manager)
    helper.secrets("web")
    assert (directory / "database_password").read_text() == "p4ss"
    assert (directory / "database_password").stat().st_mode & 0o777 == 0o400
    assert manager.asked == ["flotilla/x"]
    release(helper, {})
    helper.secrets("web")
    assert list(directory.iterdir()) == []


def test_patience_while_secrets_manager_is_away(helper: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    manager = Manager(away=3)
    monkeypatch.setattr(helper, "client", lambda service: manager)
    assert helper.fetch_patiently(WANTED, False) == {"database_password": "p4ss", "database_user": "hello_web"}
    words = capsys.readouterr().err
    assert words.count("no route to host; trying again") == 3
    assert "p4ss" not in words


def test_patience_ends_with_what_is_wrong_and_the_fix(helper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper, "client", lambda service: Manager(away=10**6))
    with pytest.raises(SystemExit, match=r"cannot read flotilla/x: no route to host\. Fix: .*GetSecretValue"):
        helper.fetch_patiently(WANTED, False)


def test_the_values_of_the_last_start_serve_while_aws_is_away(helper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper, "client", lambda service: Manager(away=10**6))
    assert helper.fetch_patiently(WANTED, True) is None


def test_a_missing_field_names_those_there_are(helper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper, "client", lambda service: Manager())
    with pytest.raises(ValueError, match="no field 'pin'; it has: password, username"):
        helper.fetch({"pin": {"secret": "flotilla/x", "field": "pin"}})


def test_settings_are_read_as_an_environment_file(helper: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "aws.env").write_text("# managed\nAWS_REGION=eu-central-1\nAWS_ENDPOINT_URL=http://198.18.0.1:4577/?a=b\n")
    assert helper.settings(tmp_path / "aws.env") == {"AWS_REGION": "eu-central-1", "AWS_ENDPOINT_URL": "http://198.18.0.1:4577/?a=b"}


def engine(helper: ModuleType, monkeypatch: pytest.MonkeyPatch, same: str = "", any_one: str = "") -> list[tuple[str, ...]]:
    """Stand in for docker: the ids of running containers with the same configuration, and of any. Returns what was run beside questions."""
    acted: list[tuple[str, ...]] = []

    def docker(*arguments: str) -> str:
        if arguments[0] == "ps":
            return same if any("flotilla.configuration" in word for word in arguments) else any_one
        acted.append(arguments)
        return ""

    monkeypatch.setattr(helper, "docker", docker)
    return acted


def test_a_container_that_outlived_its_engine_goes_on(helper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    acted = engine(helper, monkeypatch, same="3f", any_one="3f")
    helper.container("web", "abc", "create", "--name", "flotilla-web")
    assert acted == []


def test_a_container_of_another_configuration_makes_way(helper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    acted = engine(helper, monkeypatch, any_one="3f")
    helper.container("web", "abc", "create", "--name", "flotilla-web")
    assert acted == [("rm", "--force", "flotilla-web"), ("create", "--name", "flotilla-web")]


def test_an_engine_that_is_away_is_told_and_nothing_is_removed(helper: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "docker"
    fake.write_text(f"#!/bin/sh\necho $1 >> {tmp_path}/seen\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(SystemExit, match="Cannot connect to the Docker daemon"):
        helper.container("web", "abc", "create", "--name", "flotilla-web")
    assert (tmp_path / "seen").read_text() == "ps\n"
