"""An engine with our settings that answers, restarts with its settings, and trusts the registry."""

import json
import time

REGISTRY = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"


def test_the_engine_runs_with_our_settings(host):
    engine = host.service("docker")
    assert engine.is_running, host.check_output("journalctl --no-pager -u docker -n 30")
    assert engine.is_enabled
    facts = json.loads(host.check_output("docker info --format '{{json .}}'"))
    assert facts["Driver"] == "overlay2"
    # Debian 12's guests have the machine's version of cgroups, those of Debian 13 always the second.
    assert facts["CgroupVersion"] == ("2" if host.run("test -e /sys/fs/cgroup/cgroup.controllers").rc == 0 else "1")
    assert facts["CgroupVersion"] == "2" or host.system_info.release.startswith("12")
    assert facts["LiveRestoreEnabled"] is True
    assert facts["LoggingDriver"] == "json-file"
    assert json.loads(host.file("/etc/docker/daemon.json").content_string)["log-opts"]["max-size"] == "10m"


def test_the_command_comes_from_where_this_debian_has_it(host):
    brings = host.check_output("dpkg-query --search /usr/bin/docker").split(":")[0]
    assert brings == {"12": "docker.io", "13": "docker-cli"}[host.system_info.release.split(".")[0]]


def test_the_registrys_authority_is_trusted(host):
    assert host.file(f"/etc/docker/certs.d/{REGISTRY}/ca.crt").contains("BEGIN CERTIFICATE")
    answer = host.run(f"docker pull {REGISTRY}/hello/web:none")
    assert "x509" not in answer.stderr, answer.stderr


def test_an_engine_that_hangs_is_ended_and_comes_back(host):
    before = host.check_output("systemctl show --property MainPID --value docker")
    host.check_output(f"kill -STOP {before}")
    deadline = time.monotonic() + 120
    while host.run("timeout 5 docker version").rc != 0:
        assert time.monotonic() < deadline, host.check_output("journalctl --no-pager -u docker -u flotilla-docker-watch -n 40")
        time.sleep(1)
    assert host.check_output("systemctl show --property MainPID --value docker") != before
