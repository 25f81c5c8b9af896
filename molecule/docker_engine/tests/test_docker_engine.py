"""An engine with our settings that answers, restarts with its settings, and trusts the registry."""

import json

REGISTRY = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"


def test_the_engine_runs_with_our_settings(host):
    engine = host.service("docker")
    assert engine.is_running, host.check_output("journalctl --no-pager -u docker -n 30")
    assert engine.is_enabled
    facts = json.loads(host.check_output("docker info --format '{{json .}}'"))
    assert facts["Driver"] == "overlay2"
    assert facts["LiveRestoreEnabled"] is True
    assert facts["LoggingDriver"] == "json-file"
    assert json.loads(host.file("/etc/docker/daemon.json").content_string)["log-opts"]["max-size"] == "10m"


def test_the_registrys_authority_is_trusted(host):
    assert host.file(f"/etc/docker/certs.d/{REGISTRY}/ca.crt").contains("BEGIN CERTIFICATE")
    answer = host.run(f"docker pull {REGISTRY}/hello/web:none")
    assert "x509" not in answer.stderr, answer.stderr
