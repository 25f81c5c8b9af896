"""Templates of the host roles, rendered over their defaults and over scenarios, without a host; specifications equal to defaults."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROLES = Path(__file__).resolve().parents[3] / "roles"
HOST_ROLES = ["docker_engine", "host_baseline", "service"]
SERVICE = {"service_name": "web", "service_release": 3, "service_image": "registry/hello/web@sha256:1f", "service_port": 8080}
BASELINE = {"host_baseline_region": "eu-central-1", "inventory_hostname": "i-1"}


def trusted(value: Any) -> Any:
    """A value read from a role's file, its texts marked as templates, as ansible's own loader does."""
    if isinstance(value, str):
        return trust_as_template(value)
    if isinstance(value, dict):
        return {key: trusted(one) for key, one in value.items()}
    return [trusted(one) for one in value] if isinstance(value, list) else value


def variables(role: str, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"ansible_managed": "Ansible managed"}
    for part in ("defaults", "vars"):
        path = ROLES / role / part / "main.yml"
        if path.is_file():
            found |= trusted(yaml.safe_load(path.read_text()) or {})
    return {**found, **more}


def render(role: str, template: str, **more: Any) -> str:
    templar = Templar(DataLoader(), variables(role, **more))
    return str(templar.template(trust_as_template((ROLES / role / "templates" / template).read_text())))


def unit(**more: Any) -> str:
    return render("service", "unit.service.j2", **{**SERVICE, **more})


def settings(text: str) -> list[str]:
    """The lines that are no comments."""
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def container(**more: Any) -> list[str]:
    """The flags of a release's containers, one a line."""
    return render("service", "container.j2", **{**SERVICE, **more}).splitlines()


def test_the_unit_never_gives_up_and_stops_gently() -> None:
    text = unit()
    assert "Restart=always" in text
    assert "StartLimitIntervalSec=0" in text.split("[Service]")[0]
    assert "TimeoutStopSec=25" in text
    assert "ExecStop=/usr/bin/docker stop -t 10 flotilla-web" in text
    assert [line for line in settings(text) if line.startswith("ExecStartPre=")] == [
        "ExecStartPre=/usr/local/lib/flotilla/host.py secrets web",
        "ExecStartPre=/usr/local/lib/flotilla/host.py container web",
    ]


def test_a_container_is_confined_and_labelled() -> None:
    flags = container()
    wanted = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--user=10001:10001", "--memory=256m", "--init", "--tmpfs=/tmp"]
    assert set(wanted) <= set(flags)
    assert {"--label=flotilla.release=3", "--label=flotilla.digest=sha256:1f"} <= set(flags)
    assert all(re.match(r"--[a-z-]+(=\S+)?$", flag) for flag in flags)


def test_an_engine_that_is_restarted_does_not_stop_the_service() -> None:
    assert not [line for line in settings(unit()) if line.startswith("Requires=")]
    assert "Wants=docker.service" in unit()
    assert "StartLimitIntervalSec=0" in render("docker_engine", "docker.service.conf.j2").split("[Service]")[0]


def test_an_engine_that_hangs_is_ended_within_half_a_minute() -> None:
    """By default: the wait for the next look, three questions, and the pauses between them."""
    timer = dict(line.split("=", 1) for line in settings(render("docker_engine", "watch.timer.j2")) if "=" in line)
    service = render("docker_engine", "watch.service.j2")
    (pauses,) = re.findall(r"for pause in ([\d ]+);", service)
    (patience,) = re.findall(r"timeout (\d+) docker version", service)
    questions = [int(one) for one in pauses.split()]
    assert len(questions) == 3
    assert int(timer["OnUnitInactiveSec"]) + sum(questions) + len(questions) * int(patience) < 30


VOLUME = {"name": "data", "path": "/data", "mount": "/srv/flotilla/volumes/web/data", "tag": "shop-local-web-data"}
MEDIA = {"path": "/app/media", "mount": "/srv/flotilla/media/my-web", "file_system": "fs-1", "access_point": "fsap-1"}


def test_what_a_service_keeps_is_mounted_before_its_container_is_made() -> None:
    text = unit(service_volumes=[VOLUME], service_media=MEDIA)
    assert settings(text).index("ExecStartPre=/usr/local/lib/flotilla/host.py storage web") < settings(text).index(
        "ExecStartPre=/usr/local/lib/flotilla/host.py container web"
    )
    assert r"After=srv-flotilla-media-my\x2dweb.mount" in settings(text)  # unmounted after the service at shutdown
    flags = container(service_volumes=[VOLUME], service_media=MEDIA)
    assert "--mount=type=bind,source=/srv/flotilla/volumes/web/data,target=/data" in flags
    assert "--mount=type=bind,source=/srv/flotilla/media/my-web,target=/app/media" in flags


def test_the_unit_of_a_service_with_everything() -> None:
    more = {"service_grace_seconds": 30, "service_tmpfs": ["/tmp", "/run"], "service_writable": ["/srv/data"], "service_memory_mb": 64}
    assert {"--tmpfs=/run", "--volume=/var/lib/flotilla/web/srv/data:/srv/data", "--memory=64m"} <= set(container(**more))
    text = unit(**more)
    assert "ExecStartPre=/usr/bin/install --directory --mode=0750 --owner=10001 --group=10001 /var/lib/flotilla/web/srv/data" in text
    assert "TimeoutStopSec=45" in text


@pytest.mark.parametrize("more", [{}, {"service_writable": ["/a", "/b"]}, {"service_volumes": [VOLUME], "service_media": MEDIA}])
def test_every_line_of_a_unit_is_one_that_systemd_reads(more: dict[str, Any]) -> None:
    text = unit(**more)
    assert "{" not in text
    for line in text.replace("\\\n", " ").splitlines():
        assert re.match(r"^(#.*|\[\w+\]|[A-Z]\w+=\S.*|)$", line), line
    assert not re.search(r"\\\n\s*\n", text), "an empty line ends a command"


def test_the_environment_file_has_one_line_for_each_variable_and_no_secret() -> None:
    text = render("service", "environment.j2", **SERVICE, service_environment={"B": "2", "A": "x y"}, service_secrets={"s": {"secret": "z"}})
    assert settings(text) == ["FLOTILLA_SERVICE=web", "FLOTILLA_RELEASE=3", "A=x y", "B=2"]


def test_settings_of_a_host() -> None:
    assert settings(render("host_baseline", "aws.env.j2", **BASELINE)) == ["AWS_REGION=eu-central-1"]
    with_endpoint = render("host_baseline", "aws.env.j2", **BASELINE, host_baseline_endpoint_url="http://198.18.0.1:4577")
    assert "AWS_ENDPOINT_URL=http://198.18.0.1:4577" in with_endpoint.splitlines()
    assert "FLOTILLA_HOST=i-1" in render("host_baseline", "host.env.j2", **BASELINE)
    assert "SystemMaxUse=200M" in render("host_baseline", "journald.conf.j2", **BASELINE)
    assert settings(render("host_baseline", "sysctl.conf.j2", **BASELINE, host_baseline_sysctls={"net.core.somaxconn": 4096})) == ["net.core.somaxconn = 4096"]
    assert 'Unattended-Upgrade "1";' in render("host_baseline", "unattended-upgrades.conf.j2", **BASELINE)
    leave = settings(render("host_baseline", "leave.service.j2", **BASELINE))
    assert "ExecStart=/usr/local/lib/flotilla/host.py leave" in leave and "Restart=always" in leave


def test_the_engines_configuration_is_json_with_live_restore_and_rotation() -> None:
    options = json.loads(render("docker_engine", "daemon.json.j2"))
    assert options["live-restore"] is True
    assert options["log-opts"] == {"max-size": "10m", "max-file": "3"}
    assert json.loads(render("docker_engine", "daemon.json.j2", docker_engine_options={"debug": False})) == {"debug": False}


@pytest.mark.parametrize("role", HOST_ROLES)
def test_the_specification_has_the_keys_of_the_defaults(role: str) -> None:
    options = yaml.safe_load((ROLES / role / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    defaults = yaml.safe_load((ROLES / role / "defaults" / "main.yml").read_text())
    assert {name for name, option in options.items() if not option.get("required")} == set(defaults)
