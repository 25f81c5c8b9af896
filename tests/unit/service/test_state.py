"""What docker and systemd say, told in the words of releases."""

from __future__ import annotations

import socketserver
import threading
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.flotilla.ec2.plugins.module_utils.service import host, state

RUNNING = {
    "Id": "3f",
    "State": {"Running": True, "Status": "running", "StartedAt": "2026-01-01T10:00:00Z"},
    "Config": {"Labels": {"flotilla.release": "2", "flotilla.digest": "sha256:1f"}},
}


def test_a_running_service() -> None:
    assert state.described(RUNNING, {"ActiveState": "active"}, [1, 2]) == {
        "release": 2,
        "digest": "sha256:1f",
        "running": True,
        "unit": "active",
        "container_id": "3f",
        "started_at": "2026-01-01T10:00:00Z",
        "prepared": [1, 2],
    }


def test_a_configuration_is_that_of_what_runs() -> None:
    labels = {"Config": {"Labels": {"flotilla.configuration": "abc"}}}
    assert state.configured({**RUNNING, **labels}) == "abc"
    assert state.configured({"State": {"Running": False}, **labels}) is None
    assert state.configured(None) is None


def test_what_is_settled_stays_as_it_is() -> None:
    runs = {**RUNNING, "Config": {"Labels": {"flotilla.configuration": "abc"}}}
    active = {"ActiveState": "active"}
    assert state.settled(runs, active, "abc", True, False)
    for other in (
        (runs, active, "def", True, False),
        (runs, active, None, True, False),
        (runs, active, "abc", False, False),
        (runs, active, "abc", True, True),
    ):
        assert not state.settled(*other), "a restart would start another one, a reboot none, or a timer ends it"
    assert not state.settled(runs, {"ActiveState": "failed"}, "abc", True, False) and not state.settled(None, active, "abc", True, False)


@pytest.mark.parametrize("container", [None, {**RUNNING, "State": {"Running": False, "Status": "exited", "ExitCode": 1}}])
def test_what_does_not_run_has_no_release(container: dict[str, Any] | None) -> None:
    seen = state.described(container, None, [1])
    assert (seen["release"], seen["digest"], seen["running"], seen["unit"], seen["container_id"]) == (None, None, False, "inactive", None)
    assert seen["prepared"] == [1]


@pytest.mark.parametrize(
    ("container", "words"),
    [
        (None, ""),
        (RUNNING, ""),
        ({"State": {"Running": False, "Status": "created", "ExitCode": 0}}, ""),
        ({"State": {"Running": False, "Status": "exited", "ExitCode": 3}}, "exited with code 3"),
        ({"State": {"Running": False, "Status": "exited", "ExitCode": 137, "OOMKilled": True}}, "more memory than its limit"),
        ({"State": {"Running": False, "Status": "exited", "ExitCode": 127, "Error": "no such file"}}, "code 127 (no such file)"),
    ],
)
def test_how_a_container_ended(container: dict[str, Any] | None, words: str) -> None:
    assert words in state.exit_reason(container)
    assert bool(words) == bool(state.exit_reason(container))


def answers(monkeypatch: pytest.MonkeyPatch, script: dict[str, tuple[int, str, str]]) -> list[list[str]]:
    """Commands answer by their first words; returns what was run."""
    seen: list[list[str]] = []

    def run(arguments: list[str], timeout: float = 1) -> tuple[int, str, str]:
        seen.append(arguments)
        return next((answer for words, answer in script.items() if " ".join(arguments).startswith(words)), (0, "", ""))

    monkeypatch.setattr(host, "run", run)
    return seen


def test_the_engine_is_asked_over_its_socket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What there is, what there is not; its program where the answer makes no sense."""
    known = {"/containers/flotilla-web/json": (200, '{"Name": "/flotilla-web", "Id": "3f"}'), "/images/r/web@sha256:1/json": (200, "{}")}
    monkeypatch.setattr(host, "SOCKET", str(tmp_path / "docker.sock"))
    seen = answers(monkeypatch, {"docker": (1, "[]", "")})

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            path = self.rfile.readline().split()[1].decode()
            status, body = known.get(path, (404, "{}"))
            self.wfile.write(f"HTTP/1.0 {status} said\r\nA: b\r\n\r\n{body}".encode())

    with socketserver.ThreadingUnixStreamServer(host.SOCKET, Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert host.inspect(["flotilla-web", "flotilla-api"]) == {"flotilla-web": {"Name": "/flotilla-web", "Id": "3f"}}
        assert host.has_image("r/web@sha256:1") and not host.has_image("r/web@sha256:2")
        assert seen == []
        known["/containers/flotilla-web/json"] = (500, "")
        assert host.inspect(["flotilla-web"]) == {} and seen[0][:3] == ["docker", "container", "inspect"]
        server.shutdown()


def test_a_host_without_docker_and_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "SOCKET", "/nowhere/docker.sock")
    answers(monkeypatch, {"docker": (127, "", "docker: not installed"), "systemctl": (127, "", "")})
    assert host.inspect(["flotilla-web"]) == {}
    assert host.units(["flotilla-web.service"]) == {}
    assert not host.has_image("x@sha256:1")


def test_units_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, {"systemctl show": (0, "Id=a.service\nActiveState=active\n\nId=b.service\nActiveState=failed\n", "")})
    assert {name: row["ActiveState"] for name, row in host.units(["a.service", "b.service"]).items()} == {"a.service": "active", "b.service": "failed"}


IMAGE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/hello/web@sha256:1"


def test_a_pull_logs_in_with_the_hosts_role_and_leaves_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = answers(monkeypatch, {})
    host.pull(IMAGE)
    assert seen == [
        [host.HELPER, "registry-login", "123456789012.dkr.ecr.eu-central-1.amazonaws.com"],
        ["docker", "--config", host.CREDENTIALS, "pull", "--quiet", IMAGE],
        ["rm", "-rf", host.CREDENTIALS],
    ]


def test_a_pull_that_fails_is_tried_again_and_then_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = answers(monkeypatch, {"docker --config": (1, "", "connection refused")})
    waits: list[float] = []
    with pytest.raises(host.HostError, match="from the registry 123456789012.*connection refused"):
        host.pull(IMAGE, attempts=3, wait=waits.append)
    assert waits == [2.0, 4.0]
    assert seen[-1] == ["rm", "-rf", host.CREDENTIALS]


def test_a_digest_that_is_not_there_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, {"docker --config": (1, "", "manifest unknown: not found")})
    waits: list[float] = []
    with pytest.raises(host.HostError, match="manifest unknown"):
        host.pull(IMAGE, wait=waits.append)
    assert waits == []


def test_a_public_registry_needs_no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = answers(monkeypatch, {})
    host.pull("registry.example/web@sha256:1")
    assert seen[0] == ["docker", "pull", "--quiet", "registry.example/web@sha256:1"]
